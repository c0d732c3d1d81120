//! AI runtimes: programs that serve a model, found among the units, containers and processes of a host.

use serde::{Deserialize, Serialize};

use super::{ItemId, RunClass};

/// A runtime that serves a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AiItem {
    /// The unit, container or process that runs it; unique within the section.
    pub key: ItemId,
    /// Which runtime, by the agent's table: `ollama`, `vllm`, `llama.cpp` …
    pub runtime: String,
    /// The API that it answers: `openai`, `ollama`, `kserve`, `comfyui` …; empty when it is of its own kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Run state as a class; a process of its own is Up.
    pub run: RunClass,
    /// The model, as far as the command line says it; environment values are never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Where it serves on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<ServedPort>,
    /// What it is given of the host's accelerators: `device /dev/kfd`, `gpus all`, `--tensor-parallel-size 2`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<String>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name in a hub or registry, or the base name of the file.
    pub name: String,
    /// Its file or directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of the file where its name says it (Ollama's blobs); the file is never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A TCP port and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServedPort {
    /// Port on the host.
    pub number: u16,
    /// How it is known.
    pub evidence: PortEvidence,
}

/// How a port is known, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortEvidence {
    /// A socket listens.
    Listening,
    /// The engine publishes it.
    Published,
    /// The command line names it.
    Declared,
    /// It is the runtime's default.
    Default,
}
