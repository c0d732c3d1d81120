//! Cron jobs: the opt-in section `cron`.

use serde::{Deserialize, Serialize};

/// A line of a crontab(5) that runs a command, sorted by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronItem {
    /// Source, digest of what else is here, and ordinal among equals: the identity.
    pub key: String,
    /// The crontab's path.
    pub source: String,
    /// Five fields, or a nickname such as `@reboot`.
    pub schedule: String,
    /// Who it runs as.
    pub user: String,
    /// The command line, redacted where `redactions` is not zero.
    pub command: String,
    /// How many values were replaced by `<redacted>`.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub redactions: u32,
    /// Names, never values, of the variables that the crontab sets above it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_names: Vec<String>,
}
