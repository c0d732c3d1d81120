//! Items: what a host runs, one by one.
//!
//! An item has an identity that survives restarts and a *declared* part, which goes into digests.
//! What changes by itself (pids, counters, times) is *observed* and kept apart in [`observed`].

pub mod account;
pub mod ai;
pub mod container;
pub mod cron;
pub mod file;
pub mod hostname;
pub mod in_force;
pub mod machine;
pub mod module;
pub mod observed;
pub mod package;
pub mod process;
pub mod sysctl;
pub mod unit;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use account::AccountItem;
pub use ai::AiItem;
pub use container::ContainerItem;
pub use cron::CronItem;
pub use file::FileItem;
pub use hostname::HostnameItem;
pub use in_force::InForce;
pub use machine::Machine;
pub use module::ModuleItem;
pub use observed::Observed;
pub use package::PackageItem;
pub use process::ProcessItem;
pub use sysctl::SysctlItem;
pub use unit::UnitItem;

/// Numbers that older agents did not write are left out where they are zero.
fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Which kind of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ItemKind {
    /// A systemd unit.
    Unit,
    /// A container of Docker or Podman.
    Container,
    /// A process of its own: in no service and no container.
    Process,
}

/// Identity of an item within its host: `unit/nginx.service`, `container/docker:web`,
/// `process/3f0a…`. The text form is used in manifests, revisions and status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId {
    /// Which kind of item.
    pub kind: ItemKind,
    /// Unit name; `engine:name` of a container; identity digest (16 hex digits) of a process.
    pub name: String,
}

impl ItemId {
    /// Identity of a unit.
    pub fn unit(name: &str) -> Self {
        Self {
            kind: ItemKind::Unit,
            name: name.into(),
        }
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ItemKind::Unit => "unit",
            ItemKind::Container => "container",
            ItemKind::Process => "process",
        };
        write!(f, "{kind}/{}", self.name)
    }
}

impl FromStr for ItemId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').ok_or("an item id is kind/name")?;
        let kind = match kind {
            "unit" => ItemKind::Unit,
            "container" => ItemKind::Container,
            "process" => ItemKind::Process,
            _ => return Err("the kind of an item is unit, container or process".into()),
        };
        Ok(Self {
            kind,
            name: name.into(),
        })
    }
}

impl Serialize for ItemId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ItemId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Run state as a class, so that a restart is no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunClass {
    /// Active, reloading, or activating, auto-restart included.
    Up,
    /// Inactive and not on demand.
    Down,
    /// Failed.
    Failed,
    /// Started by a socket, timer, path or the bus, or a oneshot without RemainAfterExit:
    /// observed only, the twin neither starts nor stops it.
    OnDemand,
}

/// Bytes that are nearly always text: a JSON string when UTF-8, else `{"base64": "…"}`.
/// Lossless, because argv may hold any byte but NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// For people; bytes that are not UTF-8 are replaced.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TextForm {
    Utf8(String),
    Bytes { base64: String },
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => TextForm::Bytes {
                base64: STANDARD.encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextForm::deserialize(deserializer)? {
            TextForm::Utf8(text) => Ok(Self(text.into_bytes())),
            TextForm::Bytes { base64 } => STANDARD
                .decode(base64)
                .map(Self)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// How closely the twin runs an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Fidelity {
    /// The same.
    Equal,
    /// Something stands in for what the twin lacks or must not have.
    Substituted,
    /// Not in the twin.
    NotReplicable,
}

/// Why an item is not, or not quite, in the twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// The twin's spec excludes it.
    Excluded,
    /// A unit that the twin needs as its own: systemd, network, ssh, firewall, runtimes, agents.
    Protected,
    /// A unit type that is never copied: device, mount, swap, scope, slice.
    UnsupportedType,
    /// Made by a generator, at run time, or another name of a unit.
    GeneratedOrTransient,
    /// A pod's container or kubelet's process: the cluster manages it.
    ManagedByKubernetes,
    /// The unit comes from a package that the twin lacks.
    MissingPackage,
    /// The file that would be run does not exist in the twin.
    MissingExecutable,
    /// The container image does not exist in the twin.
    MissingImage,
    /// The container engine does not exist in the twin.
    MissingEngine,
    /// The user or group does not exist in the twin.
    MissingUser,
    /// The working directory does not exist in the twin.
    MissingDirectory,
    /// The agent could not read which file the process runs.
    ExecutableUnknown,
    /// The running file was deleted or replaced on the host.
    ExecutableDeleted,
    /// One line would be longer than 64 KiB.
    ArgvTooLong,
    /// A value was redacted on the host, the twin runs with the placeholder.
    Redacted,
    /// The name or content is not acceptable.
    InvalidItem,
    /// The item was cut on the host because it is too large.
    TooLarge,
    /// It asks for something a twin never gives: host paths, devices, privileges.
    NotPermitted,
    /// A directive that the guest's systemd does not know.
    UnsupportedDirective,
    /// It did not reach its run state in the twin.
    FailedToStart,
    /// Writing or activating it in the guest failed.
    FailedToApply,
    /// Per-user service managers are not replicated yet.
    UserManager,
    /// Host and twin use different engines.
    EngineSubstituted,
}
