//! The port to a twin's guest.
//!
//! One connection per twin: files over SFTP, unit operations over D-Bus, pipelined. No data from a
//! host reaches a shell. Implementations: SSH, and a fake that passes the same conformance suite.
//! [`GuestDoor`] makes connections; [`Guest`] is one.

pub mod accounts;
#[cfg(test)]
pub mod conformance;
pub mod fake;
mod paths;
mod records;
pub mod ssh;

use std::sync::Arc;

use async_trait::async_trait;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::DesiredFile;

use crate::facts::{Accounts, JobOutcome, Preflight, PreflightQuery, UnitFacts};

/// Where and as whom to connect.
#[derive(Clone)]
pub struct GuestAddress {
    /// Addresses to try in turn; believed only after the pinned host key answers.
    pub addresses: Vec<std::net::IpAddr>,
    /// Port of sshd.
    pub port: u16,
    /// Login name: root for VMs that we make.
    pub user: String,
    /// OpenSSH private key.
    pub private_key: String,
    /// Pinned host key, OpenSSH public key format.
    pub host_key: String,
}

/// A guest call that failed.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Nothing answers; try again.
    #[error("guest does not answer at {address}: {message}")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        message: String,
    },
    /// Another host key than the pinned one: no authentication byte was sent.
    #[error(
        "guest at {address} shows host key {found}, pinned is another: nothing was sent; put the Secret with the pinned key back, or, if the VM was rebuilt on purpose, delete the twin and create it again"
    )]
    HostKeyRefused {
        /// Where.
        address: String,
        /// Fingerprint shown.
        found: String,
    },
    /// The pinned key answered but our login was refused.
    #[error("guest at {address} refuses the twin's key")]
    LoginRefused {
        /// Where.
        address: String,
    },
    /// The connection was lost, or a call took too long; outcome unknown.
    #[error("connection to the guest was lost while trying to {call}: {message}")]
    Lost {
        /// Which call.
        call: &'static str,
        /// What happened.
        message: String,
    },
    /// A higher epoch holds the guest: another controller acts on it.
    #[error("guest is held by epoch {holder}, ours is {ours}")]
    Fenced {
        /// Epoch in the guest.
        holder: i64,
        /// Our epoch.
        ours: i64,
    },
    /// The manifest's format is newer than this build: read-only.
    #[error("manifest format {found} is newer than {known}: use a newer controller")]
    NewerManifest {
        /// Format found.
        found: i32,
        /// Newest known.
        known: i32,
    },
    /// The guest answered with an error.
    #[error("guest failed to {call}: {message}")]
    Failed {
        /// Which call.
        call: &'static str,
        /// What it said, printable.
        message: String,
    },
}

impl GuestError {
    /// Whether trying again without a user's help can succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::HostKeyRefused { .. } | Self::LoginRefused { .. } | Self::NewerManifest { .. }
        )
    }

    /// PascalCase reason for conditions and events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => "GuestUnreachable",
            Self::HostKeyRefused { .. } => "HostKeyRefused",
            Self::LoginRefused { .. } => "LoginRefused",
            Self::Fenced { .. } => "Fenced",
            Self::NewerManifest { .. } => "ManifestTooNew",
            Self::Failed { .. } => "GuestFailed",
        }
    }
}

/// The operation under way, as the guest remembers it (`operation.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationRecord {
    /// Operation number.
    pub number: i64,
    /// Epoch that began it.
    pub epoch: i64,
    /// InvocationID of each unit before its start or restart: a redo does not run the job twice.
    pub invocations: std::collections::BTreeMap<String, String>,
    /// A reload is owed: files of loaded units were written after the last one.
    pub reload_owed: bool,
    /// Everything is written and reloaded, the jobs begin: `invocations` are of this moment.
    #[serde(default)]
    pub sealed: bool,
    /// Boot id of the guest when this was written: InvocationIDs do not outlive a boot.
    #[serde(default)]
    pub boot_id: String,
    /// Units that were enabled before: those are not ours to disable.
    #[serde(default)]
    pub enabled: std::collections::BTreeSet<String>,
    /// It only tries again what failed before, and took no point.
    #[serde(default)]
    pub without_point: bool,
}

/// Kind of unit job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// StartUnit, mode replace.
    Start,
    /// RestartUnit, mode replace.
    Restart,
    /// StopUnit, mode replace.
    Stop,
}

/// Numbers that prove how little was done; since the connection was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Files written.
    pub files_written: u64,
    /// Unit jobs queued.
    pub jobs: u64,
    /// daemon-reloads.
    pub reloads: u64,
}

/// Makes connections to one twin's guest.
#[async_trait]
pub trait GuestDoor: Send + Sync {
    /// The live connection, made when there is none. `address` says where the guest is now.
    async fn connect(&self, address: &GuestAddress) -> Result<Arc<dyn Guest>, GuestError>;

    /// Makes a **new** connection, authenticates, and closes it: proves that the next one will work.
    async fn prove(&self, address: &GuestAddress) -> Result<(), GuestError>;

    /// Drops the live connection, for instance before a revert.
    async fn hang_up(&self);
}

/// A connection to a guest.
#[async_trait]
pub trait Guest: Send + Sync {
    /// Kernel boot id.
    async fn boot_id(&self) -> Result<String, GuestError>;

    /// The manifest; `None` at first contact.
    async fn manifest(&self) -> Result<Option<Manifest>, GuestError>;

    /// Writes the manifest: new file, fsync, rename.
    async fn write_manifest(&self, manifest: &Manifest) -> Result<(), GuestError>;

    /// The operation record.
    async fn operation(&self) -> Result<Option<OperationRecord>, GuestError>;

    /// Writes, or with `None` removes, the operation record.
    async fn write_operation(&self, record: Option<&OperationRecord>) -> Result<(), GuestError>;

    /// Takes the lock, also from a lower epoch; the same epoch may take it again.
    async fn lock(&self, epoch: i64, operation: i64) -> Result<(), GuestError>;

    /// Gives the lock back if it is ours; a missing one is success.
    async fn unlock(&self, epoch: i64) -> Result<(), GuestError>;

    /// Names of all unit files and loaded units that the guest has (first contact only).
    async fn own_units(&self) -> Result<Vec<String>, GuestError>;

    /// What the guest has of what a plan needs, in one batch.
    async fn preflight(&self, query: &PreflightQuery) -> Result<Preflight, GuestError>;

    /// The state of units; loads nothing.
    async fn units(&self, names: &[UnitName]) -> Result<Vec<UnitFacts>, GuestError>;

    /// Makes users and groups with the given ids; existing ones stay as they are.
    async fn make_accounts(&self, accounts: &Accounts) -> Result<(), GuestError>;

    /// Writes files (0644, root): those whose bytes are there already are not written. Answers the
    /// number written.
    async fn write_files(&self, files: &[DesiredFile]) -> Result<usize, GuestError>;

    /// Removes files, and the drop-in directories that get empty; missing is success.
    async fn remove_files(&self, paths: &[String]) -> Result<(), GuestError>;

    /// The bytes of a file of ours, for drift; `None` when it is missing.
    async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, GuestError>;

    /// One daemon-reload.
    async fn reload(&self) -> Result<(), GuestError>;

    /// Enables unit files without a reload. Per-unit failures are answered, not raised.
    async fn enable(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError>;

    /// Disables unit files without a reload.
    async fn disable(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError>;

    /// Masks units.
    async fn mask(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError>;

    /// Unmasks units.
    async fn unmask(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError>;

    /// Queues all jobs without waiting in between, then waits until each has ended or its time is up.
    async fn run_jobs(&self, jobs: &[(JobKind, UnitName)]) -> Result<Vec<JobOutcome>, GuestError>;

    /// Clears the failed state, so that a start is not refused by the start limit.
    async fn reset_failed(&self, units: &[UnitName]) -> Result<(), GuestError>;

    /// Sets the guest's clock (after a revert, where the VM has no guest agent).
    async fn set_clock(&self, now: jiff::Timestamp) -> Result<(), GuestError>;

    /// What went over this connection.
    fn traffic(&self) -> Traffic;
}
