//! Names of the host: the opt-in section `hostname`, one item.

use serde::{Deserialize, Serialize};

/// The names that hostnamectl(1) shows; empty ones are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostnameItem {
    /// The kernel's host name.
    pub name: String,
    /// hostname(5): what it is set to at boot.
    #[serde(default, rename = "static", skip_serializing_if = "String::is_empty")]
    pub static_name: String,
    /// `PRETTY_HOSTNAME` of machine-info(5).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pretty: String,
}
