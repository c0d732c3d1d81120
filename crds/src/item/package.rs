//! Installed packages: the opt-in section `packages`.

use serde::{Deserialize, Serialize};

/// A package that the host's package manager knows, sorted by name and architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageItem {
    /// Package name; with `architecture` the identity.
    pub name: String,
    /// Architecture as the manager writes it: amd64, all.
    pub architecture: String,
    /// Full version: epoch, upstream, revision. Empty when only traces are left.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The manager.
    pub manager: PackageManager,
    /// State when it is not `installed`: config-files, half-installed, unpacked … (dpkg(1)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Held back from upgrades by the administrator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// Package managers whose database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    /// Debian's.
    Dpkg,
}
