//! What changes by itself: pids, sub-states, counters. Never part of the root digest.

use std::collections::BTreeMap;

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
    /// `ActiveEnterTimestamp` property: when it became active, in microseconds since 1970; 0 for never.
    #[serde(default, skip_serializing_if = "is_never")]
    pub active_enter_timestamp: u64,
    /// Present for timers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<ObservedTimer>,
    /// Dependencies and ordering in force, in both directions (WantedBy, RequiredBy, ConflictedBy …),
    /// property name to sorted unit names, at most 1024 of each. They follow what other units say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, Vec<String>>,
}

/// Runs of a timer; 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedTimer {
    /// `NextElapseUSecRealtime` property: the next run by calendar, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "is_never")]
    pub next_elapse_usec_realtime: u64,
    /// `NextElapseUSecMonotonic` property: the next run by another setting, in microseconds since boot.
    #[serde(default, skip_serializing_if = "is_never")]
    pub next_elapse_usec_monotonic: u64,
    /// `LastTriggerUSec` property: the last run, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "is_never")]
    pub last_trigger_usec: u64,
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

fn is_never(usec: &u64) -> bool {
    *usec == 0
}
