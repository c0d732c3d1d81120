//! Takes a twin back to a point.

use std::sync::Arc;
use std::time::Duration;

use safetytwin_crds::manifest::Manifest;

use super::{ExecuteError, Ports, connect, manifest_of, points, resume};
use crate::guest::Guest;
use crate::plan::steps::OperationIds;
use crate::vm::{PointRequest, PointTaken};

/// How long a reverted guest may take to answer: a Disk point boots.
const BOOT: Duration = Duration::from_secs(180);

/// A restore that is recorded in the twin's status.
#[derive(Clone, Copy, Debug)]
pub struct RestoreInput<'a> {
    /// UID of the twin, epoch and operation; the revision is what the point holds.
    pub ids: &'a OperationIds,
    /// Name of the point to go back to.
    pub target: &'a str,
    /// The point that keeps the present.
    pub present: &'a PointRequest,
}

/// What a restore did.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The point that keeps the present; absent when the revert had happened before.
    pub present: Option<PointTaken>,
    /// What the guest's manifest says now: the revision that runs.
    pub manifest: Manifest,
}

/// Performs a restore, or what is left of one.
///
/// # Errors
/// The operation could not be finished; it is tried again from its record.
pub async fn restore(input: &RestoreInput<'_>, ports: &Ports<'_>) -> Result<RestoreReport, ExecuteError> {
    if let Some((guest, manifest)) = already_done(input, ports).await {
        resume::release(guest.as_ref(), input.ids).await?;
        return Ok(RestoreReport {
            present: None,
            manifest,
        });
    }
    let present = points::take(ports.vm, ports.journal, input.present).await?;
    ports.journal.point_taken(&present).await?;
    ports.door.hang_up().await;
    ports.journal.guard().await?;
    ports.vm.revert(input.target, input.ids.epoch).await?;
    let has_clock = ports.vm.set_clock().await?;
    let guest = connect(ports, BOOT).await?;
    guest.lock(input.ids.epoch, input.ids.operation).await?;
    if !has_clock {
        guest.set_clock(ports.journal.now()).await?;
    }
    let manifest = settle(input, guest).await?;
    Ok(RestoreReport {
        present: Some(present),
        manifest,
    })
}

/// Writes epoch and operation into the guest that came back: from now on nobody older acts on it.
async fn settle(input: &RestoreInput<'_>, guest: Arc<dyn Guest>) -> Result<Manifest, ExecuteError> {
    let mut manifest = manifest_of(guest.as_ref(), &input.ids.twin_uid, input.ids.epoch).await?;
    manifest.epoch = input.ids.epoch;
    manifest.operation = input.ids.operation;
    guest.write_manifest(&manifest).await?;
    guest.write_operation(None).await?;
    guest.unlock(input.ids.epoch).await?;
    Ok(manifest)
}

/// The manifest, when this operation is already written in it: a crash came after the last effect.
async fn already_done(input: &RestoreInput<'_>, ports: &Ports<'_>) -> Option<(Arc<dyn Guest>, Manifest)> {
    // A guest that does not answer may be the reason for the restore.
    let guest = ports.door.connect(ports.address).await.ok()?;
    let manifest = guest.manifest().await.ok()??;
    (manifest.twin_uid == input.ids.twin_uid && manifest.operation == input.ids.operation)
        .then_some((guest, manifest))
}
