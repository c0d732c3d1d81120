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
    /// Where the main unit file comes from.
    pub origin: Origin,
    /// The main unit file; content only when `origin` is Local.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<UnitFile>,
    /// Drop-ins in systemd's order; content only below `/etc` and `/usr/local`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_ins: Vec<UnitFile>,
    /// Dependencies and ordering, property name to sorted unit names:
    /// Requires, Requisite, Wants, BindsTo, PartOf, Conflicts, After, Before, TriggeredBy, Triggers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, Vec<String>>,
    /// Limits that differ from systemd's default, property name to value (MemoryMax, TasksMax, LimitNOFILE …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// Present for service units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
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
    #[serde(default, skip_serializing_if = "is_zero")]
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

fn is_zero(n: &u32) -> bool {
    *n == 0
}
