//! Runs operations on a twin: steps against the ports, one outcome per step.
//!
//! ```text
//! apply:   connect ─▶ manifest ─▶ preflight ─▶ plan::steps ─▶ step by step ─▶ manifest, unlock
//! restore: point of the present ─▶ revert (epoch first) ─▶ clock ─▶ connect ─▶ epoch into the guest
//! ```
//! Called by `controller` with an operation that is already recorded in the twin's status. Everything is
//! idempotent: the same call after a crash finds points by name, files by their bytes, restarts by their
//! InvocationID, and ends as the first call would have. Before every effect on the VM the [`Journal`] proves that
//! this process may still act.

pub mod apply;
pub mod drift;
mod perform;
pub mod points;
pub mod restore;
mod resume;
mod take_back;
#[cfg(test)]
mod tests;
mod verify;

pub use apply::{ApplyInput, ApplyReport, apply};
pub use restore::{RestoreInput, RestoreReport, restore};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use safetytwin_crds::manifest::{FORMAT, Manifest};

use crate::guest::{Guest, GuestAddress, GuestDoor, GuestError};
use crate::vm::{PointTaken, TwinVm, VmError};

/// What the controller does for a running operation.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Proves that this process still leads and that nobody else wrote the twin's status.
    async fn guard(&self) -> Result<(), Refused>;

    /// The operation's point exists: its TwinSnapshot can say so before anything changes in the guest.
    async fn point_taken(&self, point: &PointTaken) -> Result<(), Refused>;

    /// Now.
    fn now(&self) -> Timestamp;
}

/// The journal says that this process must not go on.
#[derive(Debug, thiserror::Error)]
#[error("the operation stops: {reason}: {message}")]
pub struct Refused {
    /// PascalCase reason.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// The parts of a twin that operations work on.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    /// The VM.
    pub vm: &'a dyn TwinVm,
    /// The way into the guest.
    pub door: &'a dyn GuestDoor,
    /// Where the guest is.
    pub address: &'a GuestAddress,
    /// The controller's record.
    pub journal: &'a dyn Journal,
}

/// Why an operation ended early. It stays recorded and is finished by the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The VM.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// This process must not go on.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The guest belongs to another twin.
    #[error("the guest belongs to the twin {owner}: release or rebuild it before this one uses it")]
    ForeignGuest {
        /// UID in its manifest, printable.
        owner: String,
    },
}

impl ExecuteError {
    /// Whether trying again without a user's help can succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Vm(error) => error.is_transient(),
            Self::Guest(error) => error.is_transient(),
            Self::Refused(_) => true,
            Self::ForeignGuest { .. } => false,
        }
    }

    /// PascalCase reason for conditions and events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Vm(error) => error.reason(),
            Self::Guest(error) => error.reason(),
            Self::Refused(refused) => refused.reason,
            Self::ForeignGuest { .. } => "ForeignGuest",
        }
    }
}

/// The guest's manifest; at first contact it is made, with the units that the guest has of its own, before
/// anything of ours is there.
pub async fn manifest_of(guest: &dyn Guest, twin_uid: &str, epoch: i64) -> Result<Manifest, ExecuteError> {
    if let Some(manifest) = guest.manifest().await? {
        check(&manifest, twin_uid, epoch)?;
        return Ok(manifest);
    }
    let mut own_units = guest.own_units().await?;
    own_units.sort();
    own_units.dedup();
    let manifest = Manifest {
        format: FORMAT,
        twin_uid: twin_uid.to_owned(),
        epoch,
        own_units,
        ..Manifest::default()
    };
    guest.write_manifest(&manifest).await?;
    Ok(manifest)
}

fn check(manifest: &Manifest, twin_uid: &str, epoch: i64) -> Result<(), ExecuteError> {
    if manifest.format > FORMAT {
        let known = FORMAT;
        return Err(GuestError::NewerManifest {
            found: manifest.format,
            known,
        }
        .into());
    }
    if manifest.twin_uid != twin_uid {
        let owner = safetytwin_crds::names::printable(&manifest.twin_uid, 64);
        return Err(ExecuteError::ForeignGuest { owner });
    }
    if manifest.epoch > epoch {
        return Err(GuestError::Fenced {
            holder: manifest.epoch,
            ours: epoch,
        }
        .into());
    }
    Ok(())
}

/// Connects until it works or `patience` is over: a guest that boots refuses connections for a while.
pub async fn connect(ports: &Ports<'_>, patience: Duration) -> Result<Arc<dyn Guest>, ExecuteError> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match ports.door.connect(ports.address).await {
            Ok(guest) => return Ok(guest),
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
