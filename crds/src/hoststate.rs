//! HostState: the head of a host's state, rewritten every beat, or every heartbeat of a large fleet's hosts.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::condition::Condition;
use crate::digest::{Digest, PartDigest};
use crate::names::HostName;
use crate::section::{SectionName, SectionState, Slot};

/// The head of a host's state: who the host is, how it fares, and which sections hold what it
/// runs. At most 2 KiB typically, 4 KiB hard.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "HostState",
    plural = "hoststates",
    derive = "PartialEq",
    status = "HostStateStatus",
    category = "safetytwin",
    shortname = "hosts",
    shortname = "hs",
    doc = "The head of a host's state, rewritten by its agent every beat.",
    printcolumn(name = "Seen", type_ = "date", json_path = ".spec.observedTime", description = "Time since the last beat"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".spec.complete", description = "Complete sections of all"),
    printcolumn(name = "Services", type_ = "integer", json_path = ".spec.counts.services"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".spec.counts.failed"),
    printcolumn(name = "Containers", type_ = "integer", json_path = ".spec.counts.containers"),
    printcolumn(name = "Processes", type_ = "integer", json_path = ".spec.counts.processes"),
    printcolumn(name = "AI", type_ = "integer", json_path = ".spec.counts.ai"),
    printcolumn(name = "OS", type_ = "string", json_path = ".spec.machine.os"),
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.agentVersion", priority = 1),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".spec.machine.kernel", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == self.spec.host").message("metadata.name must equal spec.host")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(validation = Rule::new("self.source == oldSelf.source").message("spec.source is immutable: delete the HostState to change how the host is enrolled"))]
#[x_kube(validation = Rule::new("self.bootId != oldSelf.bootId || self.sequence >= oldSelf.sequence").message("spec.sequence must not go back within one boot"))]
pub struct HostStateSpec {
    /// Name of the host; equals metadata.name.
    pub host: HostName,
    /// Longest time from one head to the next, in seconds; three of them, at least 30 s, make the host stale.
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// How the agent proves who it is; immutable.
    pub source: Source,
    /// Kernel boot id.
    #[schemars(length(min = 1, max = 64))]
    pub boot_id: String,
    /// Milliseconds of CLOCK_BOOTTIME; grows within one boot.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// When this was observed by the host's clock, RFC 3339.
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub observed_time: String,
    /// Version of the agent.
    #[schemars(length(max = 64))]
    pub agent_version: String,
    /// Complete sections of all: "4/5".
    #[schemars(length(max = 8))]
    pub complete: String,
    /// How many items; a missing number is an unavailable section, never zero.
    #[serde(default)]
    pub counts: Counts,
    /// Who and what the machine is.
    #[serde(default)]
    pub machine: MachineSummary,
    /// Load, quantised.
    #[serde(default)]
    pub load: Load,
    /// The sections and the slots that hold them.
    #[schemars(length(max = 16))]
    #[serde(default, deserialize_with = "known_sections")]
    pub sections: Vec<Section>,
    /// The `status.resendRequest` that the agent last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resend_answered: Option<String>,
}

/// The sections whose names this build knows: those of a newer agent are left out, a broken one is an error.
fn known_sections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Section>, D::Error> {
    let all: Vec<serde_json::Value> = Vec::deserialize(deserializer)?;
    let known = |section: &serde_json::Value| {
        let name = section.get("name").cloned().unwrap_or_default();
        serde_json::from_value::<SectionName>(name).is_ok()
    };
    let known = all.into_iter().filter(known).map(serde_json::from_value);
    known.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// How an agent proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Source {
    /// A token bound to the node, whose node-name claim is the host's name.
    Node,
    /// A service account of its own; the name begins with `ext-`.
    Enrolled,
}

/// Numbers of items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Services that are loaded and not inactive, as `systemctl list-units` shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub services: Option<i32>,
    /// Failed units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub failed: Option<i32>,
    /// Containers, running or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub containers: Option<i32>,
    /// Independent processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub processes: Option<i32>,
    /// AI runtimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ai: Option<i32>,
}

/// Who and what the machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineSummary {
    /// Derived from `/etc/machine-id`; pinned by twins.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub machine_id: String,
    /// DMI product UUID; empty when unreadable; pinned by twins.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub system_uuid: String,
    /// Operating system and version: "Debian 12".
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub os: String,
    /// Kernel release.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub kernel: String,
    /// Architecture, as the first agents wrote it; the machine section has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub architecture: Option<String>,
    /// Logical CPUs.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub cpus: i32,
    /// MemTotal in MiB.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub memory_mib: i64,
}

/// Load in coarse steps, so that an idle host's head compresses well. Never causes an apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// CPU in use since the last beat, percent of all cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu_percent: Option<i32>,
    /// Memory in use (MemTotal − MemAvailable), percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory_percent: Option<i32>,
    /// One-minute load average in hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub load1_centi: Option<i32>,
    /// PSI: some cpu avg10, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu_pressure_percent: Option<i32>,
    /// PSI: some memory avg10, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory_pressure_percent: Option<i32>,
    /// PSI: some io avg10, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub io_pressure_percent: Option<i32>,
}

/// One section of the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Which section.
    pub name: SectionName,
    /// Its parts in order: which slot holds the current content.
    #[schemars(length(max = 16))]
    pub parts: Vec<PartRef>,
    /// Number of items.
    #[schemars(range(min = 0))]
    pub items: i32,
    /// How much of the truth it holds.
    pub state: SectionState,
    /// Of a section that is not Complete: when its content or state last changed, RFC 3339. The content of a Complete
    /// one is of the head's `observedTime` (that of `observed` up to two minutes older).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub collected_time: Option<String>,
    /// Why it is not Complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}

/// Where the current content of a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartRef {
    /// Slot that holds it.
    pub slot: Slot,
    /// Digest of its canonical JSON, the first 32 of 64 hex digits of blake3.
    pub digest: PartDigest,
}

impl HostStateSpec {
    /// The section of this name.
    pub fn section(&self, name: SectionName) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// blake3 over name, state and part digests of the given sections: changes when, and only
    /// when, something that a twin of these sections replicates may have changed.
    pub fn root_digest(&self, replicated: &[SectionName]) -> Digest {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        for name in replicated {
            fields.push(name.as_str().as_bytes().to_vec());
            if let Some(section) = self.section(*name) {
                fields.push(format!("{:?}", section.state).into_bytes());
                fields.extend(section.parts.iter().map(|p| p.digest.to_string().into_bytes()));
            }
        }
        Digest::of_fields(fields.iter().map(Vec::as_slice))
    }
}

/// What the controller says about a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct HostStateStatus {
    /// Fresh. Without observedGeneration: each beat is a generation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Token of the latest request to write all sections again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resend_request: Option<String>,
    /// Twins of this host as `namespace/name`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 320)))]
    pub twins: Vec<String>,
}
