//! Kernel modules: the opt-in section `modules`.

use serde::{Deserialize, Serialize};

/// A module that is loaded, or that is to be loaded at boot; by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleItem {
    /// Name as lsmod(8) shows it, with underscores: the identity.
    pub name: String,
    /// Whether the kernel has it.
    pub state: ModuleState,
    /// modules-load.d(5) files that name it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<String>,
}

/// Whether the kernel has a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleState {
    /// Loaded.
    Live,
    /// Part of the kernel itself.
    BuiltIn,
    /// Configured, and not there.
    Absent,
}
