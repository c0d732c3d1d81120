//! What changes by itself: pids, sub-states, counters. Never part of the root digest.

use serde::{Deserialize, Serialize};

use super::InForce;

/// The `observed` section, rewritten at most every 60 s. It has several of these, each of some collectors, and more of a
/// host on which thousands of things run: see [`Observed::add`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Units by name.
    pub units: Vec<ObservedUnit>,
    /// Containers by item name.
    pub containers: Vec<ObservedContainer>,
    /// Processes by key.
    pub processes: Vec<ObservedProcess>,
    /// Starts and ends of processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_events: Option<ProcessEvents>,
    /// What running services and containers use, by unit name; a container's is `docker-ID.scope`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<UnitUsage>,
    /// What moves of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<ObservedMachine>,
    /// Load, finer than in the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<ObservedLoad>,
    /// What could not be read, and why: `usage: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

impl Observed {
    /// Adds what another collector observed.
    pub fn add(&mut self, other: Self) {
        self.units.extend(other.units);
        self.containers.extend(other.containers);
        self.processes.extend(other.processes);
        self.usage.extend(other.usage);
        self.process_events = other.process_events.or(self.process_events.take());
        self.machine = other.machine.or(self.machine.take());
        self.load = other.load.or(self.load.take());
        self.unknown.extend(other.unknown);
    }

    /// Takes the second half of each list out, so that both, added up, are what this was; none when no list has
    /// two entries.
    pub fn split(&mut self) -> Option<Self> {
        fn half<T>(list: &mut Vec<T>) -> Vec<T> {
            list.split_off(list.len().div_ceil(2))
        }
        let second = Self {
            units: half(&mut self.units),
            containers: half(&mut self.containers),
            processes: half(&mut self.processes),
            usage: half(&mut self.usage),
            unknown: half(&mut self.unknown),
            ..Self::default()
        };
        (second != Self::default()).then_some(second)
    }
}

/// Moment of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Dependencies and ordering in force, in both directions (WantedBy, RequiredBy, ConflictedBy …), at most
    /// 1024 names of each. They follow what other units say.
    #[serde(default, skip_serializing_if = "InForce::is_empty")]
    pub dependencies: InForce,
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
    /// Parent's process id.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub parent_pid: i32,
    /// Package that its executable comes from, by dpkg's lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// CPU time in clock ticks, without its children's, as of a look at most a minute ago, four where it did not use the
    /// processor before; stands still until that is 4 % away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ticks: Option<u64>,
    /// Resident memory in pages, as of the same look, or where its only thread has not run since, one about half an hour
    /// ago; stands still until that is 4 % away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_pages: Option<u64>,
}

/// What was heard of processes since the agent started, those that lived for an instant included.
/// A number stands still until the true one is 4 % away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessEvents {
    /// Connector: the kernel tells. Scan: only what is there at a scan is seen, and nothing is counted.
    pub source: String,
    /// Why it is not the connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Forked, without threads.
    pub started: u64,
    /// Ran another program.
    pub executed: u64,
    /// Ended, without threads.
    pub ended: u64,
    /// How often the kernel told more than could be taken in; a scan follows.
    pub lost: u64,
}

/// What a unit uses, by the counters of its control group; named as systemd's properties are.
/// A number stands still until the true one is 4 % away. Where the group did not use the processor, all but CPU time is
/// at most five minutes old, and so is that while all such groups of a slice use less than about 5 ms together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitUsage {
    /// Unit name.
    pub name: String,
    /// CPU time in nanoseconds since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_nsec: Option<u64>,
    /// Memory in bytes, page cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_current: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_current: Option<u64>,
    /// Bytes read from block devices since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Bytes written to block devices since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
}

/// What moves of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedMachine {
    /// Whether systemd-timesyncd has set the clock; absent when it does not run and nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_synchronized: Option<bool>,
    /// Interfaces of the machine item, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<ObservedInterface>,
    /// GPUs whose driver tells in sysfs what they do (amdgpu), by slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<ObservedGpu>,
}

/// Moment of a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedGpu {
    /// Address on the PCI bus.
    pub slot: String,
    /// Memory of its own, bytes.
    pub memory_bytes: u64,
    /// In use of it, bytes; stands still until the true number is 4 % away.
    pub memory_used_bytes: u64,
}

/// Moment of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedInterface {
    /// Kernel name.
    pub name: String,
    /// `operstate`: up, down, dormant, unknown …
    pub state: String,
    /// Speed in Mbit/s, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    /// Bytes received; stands still until the true number is 4 % away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// Bytes sent, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
}

/// Load of the machine. Counters stand still until the true ones are 4 % away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedLoad {
    /// Memory in use (MemTotal − MemAvailable), bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Swap in use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used_bytes: Option<u64>,
    /// Load averages of 1, 5 and 15 minutes in hundredths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_centi: Vec<u64>,
    /// Pressure stall information: cpu, io, memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pressure: Vec<Pressure>,
    /// Whole disks by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskUsage>,
}

/// Share of time in which work waited for a resource, avg60 in hundredths of a percent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pressure {
    /// cpu, io or memory.
    pub resource: String,
    /// Some tasks waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub some_centi: Option<u64>,
    /// All tasks waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_centi: Option<u64>,
}

/// Bytes moved since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct DiskUsage {
    pub name: String,
    pub read_bytes: u64,
    pub written_bytes: u64,
}

fn is_never(usec: &u64) -> bool {
    *usec == 0
}
