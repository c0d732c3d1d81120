//! Kernel parameters that somebody set: the opt-in section `sysctl`.

use serde::{Deserialize, Serialize};

/// A parameter that a sysctl.d(5) or sysctl.conf(5) file sets, by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SysctlItem {
    /// Key as sysctl(8) shows it, or a pattern of keys: the identity.
    pub name: String,
    /// The value of the last file that sets it; none when files only exclude it from patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<String>,
    /// The kernel's value now; absent for a pattern, a secret, a key that the kernel lacks, and one
    /// that the agent's namespaces hide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// The file that decides.
    pub source: String,
    /// The value is a secret: `<redacted>`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}
