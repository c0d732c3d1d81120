//! What changes by itself: pids, sub-states, counters. Never part of the root digest.

use serde::{Deserialize, Serialize};

/// The `observed` section, rewritten at most every 60 s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Units by name.
    pub units: Vec<ObservedUnit>,
    /// Containers by item name.
    pub containers: Vec<ObservedContainer>,
    /// Processes by key.
    pub processes: Vec<ObservedProcess>,
}

/// Moment of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedUnit {
    /// Unit name.
    pub name: String,
    /// `ActiveState` property.
    pub active_state: String,
    /// `SubState` property.
    pub sub_state: String,
    /// Main pid of a service; 0 for none.
    #[serde(default)]
    pub main_pid: u32,
    /// `NRestarts` property.
    #[serde(default)]
    pub restarts: u32,
    /// `Result` property.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
}

/// Moment of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedContainer {
    /// `engine:name`.
    pub name: String,
    /// Engine's id of the container.
    pub id: String,
    /// Main pid; 0 when it does not run.
    pub pid: i64,
    /// healthy, unhealthy, starting or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub health: String,
}

/// Moment of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedProcess {
    /// Key of the item.
    pub key: String,
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks after boot.
    pub start_ticks: u64,
}
