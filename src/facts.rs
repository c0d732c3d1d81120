//! Facts about a guest and its VM: what ports answer and what `plan` decides on. Data, and the
//! order in it that several layers need.

pub mod lineage;

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::item::unit::Account;
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::Image;

/// A unit in the guest, as its service manager has it. Asking loads nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFacts {
    /// Name that was asked for.
    pub name: UnitName,
    /// Whether and how it is loaded.
    pub load: Load,
    /// `ActiveState`.
    pub active: Active,
    /// `SubState`.
    pub sub: String,
    /// `UnitFileState`: enabled, disabled, static, masked …; empty without a unit file.
    pub file_state: String,
    /// `InvocationID` in hex; empty when it never ran. A new one means that it was (re)started.
    pub invocation: String,
    /// `MainPID` of a service.
    pub main_pid: u32,
    /// `Result` of a service: success, exit-code, timeout …
    pub result: String,
    /// `ExecMainStatus` of a service.
    pub exit_status: i32,
}

/// Whether and how the guest's service manager has a unit loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Not in memory (`GetUnit` answers NoSuchUnit): writing its file needs no reload.
    NotLoaded,
    /// In memory.
    Loaded,
    /// In memory as a name only.
    NotFound,
    /// Masked.
    Masked,
    /// Its file is wrong.
    Error,
}

/// `ActiveState` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Active {
    Active,
    Reloading,
    Inactive,
    Failed,
    Activating,
    Deactivating,
}

/// Everything that a plan asks of the guest before it writes, in one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreflightQuery {
    /// Files that must be executable.
    pub executables: BTreeSet<String>,
    /// Directories that must exist.
    pub directories: BTreeSet<String>,
    /// User names.
    pub users: BTreeSet<String>,
    /// Group names.
    pub groups: BTreeSet<String>,
    /// Unit files that must exist below the guest's unit paths.
    pub unit_files: BTreeSet<String>,
    /// Images by engine.
    pub images: Vec<Image>,
}

/// The guest's answers. A name that is not in a set does not exist there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    /// Executables that exist.
    pub executables: BTreeSet<String>,
    /// Directories that exist.
    pub directories: BTreeSet<String>,
    /// Users that exist, with their ids.
    pub users: BTreeMap<String, u32>,
    /// Groups that exist, with their ids.
    pub groups: BTreeMap<String, u32>,
    /// Unit files that exist.
    pub unit_files: BTreeSet<String>,
    /// Images that exist, as asked for.
    pub images: Vec<Image>,
    /// Container clients that exist: `docker`, `podman`.
    pub engines: BTreeSet<String>,
}

/// Accounts to make in the guest with the host's ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Users.
    pub users: Vec<Account>,
    /// Groups.
    pub groups: Vec<Account>,
}

/// How a unit job ended (`JobRemoved` result).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutcome {
    /// The unit.
    pub unit: UnitName,
    /// `None` when done; else what the service manager said.
    pub failure: Option<String>,
}
