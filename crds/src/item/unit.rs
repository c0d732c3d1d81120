//! systemd units.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ItemId, RunClass};
use crate::digest::Digest;
use crate::names::UnitName;

/// A unit as the host's service manager has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitItem {
    /// Full name with its type suffix.
    pub name: UnitName,
    /// `LoadState` property: loaded, not-found, masked, bad-setting, error.
    pub load_state: String,
    /// Run state as a class.
    pub run: RunClass,
    /// `UnitFileState` property: enabled, disabled, static, masked …; empty without a unit file.
    pub enablement: String,
    /// `UnitFilePreset` property: enabled, disabled or ignored, what systemd.preset(5) files say of the unit;
    /// empty without a unit file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub preset: String,
    /// Where the main unit file comes from.
    pub origin: Origin,
    /// The main unit file; content only when `origin` is Local.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<UnitFile>,
    /// Drop-ins in systemd's order; content only below `/etc` and `/usr/local`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_ins: Vec<UnitFile>,
    /// Dependencies and ordering that the unit's files name, property name to sorted unit names. WantedBy,
    /// RequiredBy and UpheldBy are the links of its enablement. What systemd adds, and what other units say
    /// of this one, is in [`super::observed::ObservedUnit`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, Vec<String>>,
    /// Limits that differ from systemd's default, property name to value (MemoryMax, TasksMax, LimitNOFILE …):
    /// bytes, microseconds, numbers, `infinity`; lists as systemctl(1) shows them, joined by `, `.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// Present for service units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Present for timer units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// Present for socket units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<Socket>,
    /// Present for path units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathWatch>,
    /// Present for mount, automount and swap units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<Mount>,
}

impl UnitItem {
    /// Identity of the item.
    pub fn id(&self) -> ItemId {
        ItemId::unit(self.name.as_str())
    }
}

/// Who placed the main unit file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// In `/etc/systemd/system` or `/usr/local/lib/systemd`, or owned by no package.
    Local,
    /// Owned by this package.
    Package(String),
    /// Below `/usr/lib` or `/lib` and the package manager is unknown.
    Vendor,
    /// Written by a generator (`/run/systemd/generator*`).
    Generated,
    /// Made at run time over D-Bus (`/run/systemd/transient`).
    Transient,
    /// The unit has no file.
    NoFile,
}

/// A unit file or drop-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitFile {
    /// Absolute path on the host.
    pub path: String,
    /// Digest of the bytes on the host, redacted where `redactions` is not zero.
    pub digest: Digest,
    /// Text, when it may be replicated; at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// How many values were replaced by placeholders; see [`crate::redaction`].
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub redactions: u32,
    /// Why there is no content although there should be: not UTF-8, too large, unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a service runs, for the preflight in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// `Type` property: simple, exec, forking, oneshot, dbus, notify, notify-reload, idle.
    #[serde(rename = "type")]
    pub type_: String,
    /// `RemainAfterExit` property.
    #[serde(default)]
    pub remain_after_exit: bool,
    /// Executables of ExecStartPre, ExecStart and ExecStartPost, in order. A command whose failure
    /// is ignored (prefix `-`) is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
    /// User= with the ids it has on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Account>,
    /// Group= with the id it has on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Account>,
    /// WorkingDirectory= when set and required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// DynamicUser=.
    #[serde(default)]
    pub dynamic_user: bool,
    /// Names, never values, of Environment= assignments, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_names: Vec<String>,
    /// Paths of EnvironmentFile=, in order; `-` before one that may be missing. Never read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<String>,
    /// Names of PassEnvironment=, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_environment: Vec<String>,
}

/// When a timer elapses (systemd.timer(5)). Its next and last run are observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// `Unit` property: what it starts.
    pub unit: String,
    /// OnCalendar= expressions, sorted; in systemd's normal form when the timer is loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_calendar: Vec<String>,
    /// The other settings, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub monotonic: Vec<MonotonicTimer>,
    /// `Persistent` property.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persistent: bool,
    /// `WakeSystem` property.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wake_system: bool,
    /// `AccuracyUSec` property.
    pub accuracy_usec: u64,
    /// `RandomizedDelayUSec` property.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub randomized_delay_usec: u64,
}

/// A time after an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonotonicTimer {
    /// OnActiveUSec, OnBootUSec, OnStartupUSec, OnUnitActiveUSec or OnUnitInactiveUSec.
    pub base: String,
    /// Microseconds.
    pub usec: u64,
}

/// What a socket unit listens on (systemd.socket(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Socket {
    /// `Listen` property, in the order of the file descriptors.
    pub listen: Vec<Listen>,
    /// `Accept` property: an instance per connection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept: bool,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// Stream, Datagram, SequentialPacket, FIFO, Special, Netlink, MessageQueue or USBFunction.
    #[serde(rename = "type")]
    pub type_: String,
    /// Address, port or path.
    pub address: String,
}

/// What a path unit watches (systemd.path(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathWatch {
    /// `Unit` property: what it starts.
    pub unit: String,
    /// `Paths` property, sorted.
    pub paths: Vec<WatchedPath>,
    /// `MakeDirectory` property.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub make_directory: bool,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedPath {
    /// PathExists, PathExistsGlob, PathChanged, PathModified or DirectoryNotEmpty.
    #[serde(rename = "type")]
    pub type_: String,
    /// Absolute path.
    pub path: String,
}

/// What a mount, automount or swap unit attaches, as its file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// What=, redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Where=; empty for swap.
    #[serde(default, rename = "where", skip_serializing_if = "String::is_empty")]
    pub where_: String,
    /// Type=.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Options=, redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub options: String,
}

/// A user or group of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Login or group name.
    pub name: String,
    /// Numeric id; absent when the host does not know the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Primary group of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_group: Option<u32>,
}

fn is_no_time(usec: &u64) -> bool {
    *usec == 0
}
