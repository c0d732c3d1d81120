//! What a TwinClass says of restore points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which restore points are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PointMode {
    /// Full where memory, pause and space allow, else Disk; the reason is in the TwinSnapshot.
    #[default]
    Auto,
    /// Memory and disk.
    Full,
    /// Disk only.
    Disk,
}

/// Limits of restore points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointLimits {
    /// Auto, Full or Disk.
    #[serde(default)]
    pub mode: PointMode,
    /// Auto takes Disk points of guests with more memory.
    #[serde(default = "four_gib")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)?$"))]
    pub full_max_memory: String,
    /// Auto takes Disk points after a Full one paused the guest longer than this.
    #[serde(default = "one_second")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub full_max_pause: String,
    /// With less free space in the pool nothing is snapshotted or applied.
    #[serde(default = "ten_gib")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)?$"))]
    pub min_free_space: String,
}

impl Default for PointLimits {
    fn default() -> Self {
        Self {
            mode: PointMode::Auto,
            full_max_memory: four_gib(),
            full_max_pause: one_second(),
            min_free_space: ten_gib(),
        }
    }
}

fn four_gib() -> String {
    "4Gi".into()
}

fn one_second() -> String {
    "1s".into()
}

fn ten_gib() -> String {
    "10Gi".into()
}
