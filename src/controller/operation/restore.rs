//! The operation Restore: keeps the present as a point, then takes a twin back to another one.
//!
//! That it is executed is remembered in the twin's status together with the operation, before the
//! revert: a TwinRestore of the same name never reverts again.

use kube::ResourceExt as _;
use safetytwin_crds::digitaltwin::{Applied, ExecutedRestore, Operation, OperationKind};
use safetytwin_crds::item::ItemId;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::printable;
use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::{Digest, DigitalTwin, TwinRestore, TwinSnapshot};

use super::apply::{self, Wanted, choose_mode};
use super::journal::{OperationJournal, PointNote};
use super::{Job, history, name_of, objects, point_name};
use crate::controller::error::Error;
use crate::controller::twin::home::uid_of;
use crate::execute::{self, ExecuteError, Ports, RestoreInput};
use crate::plan::point_mode::ChosenMode;
use crate::plan::steps::OperationIds;
use crate::vm::{PointRequest, VmError};

/// How many executed restores are remembered.
const REMEMBERED: usize = 100;

/// Records a restore and performs it.
pub async fn begin(job: &Job<'_>, restore: &TwinRestore, target: &TwinSnapshot) -> Result<(), Error> {
    let epoch = job.claim(0).await?;
    let number = job.next_number(0).await?;
    let twin = job.ledger.twin().await;
    let revision = |s: &Option<i64>| s.unwrap_or(0);
    let operation = Operation {
        number,
        kind: OperationKind::Restore,
        base_revision: twin
            .status
            .as_ref()
            .and_then(|s| s.applied.as_ref())
            .map_or(0, |a| a.revision),
        target_revision: target.status.as_ref().map_or(0, |s| revision(&s.revision)),
        snapshot_name: target.name_any(),
        epoch,
        started_time: job.ctx.clock.now().to_string(),
        restore_name: Some(restore.name_any()),
        summary: printable(&format!("restored to {}", target.name_any()), 128),
    };
    let executed = ExecutedRestore {
        name: restore.name_any(),
        uid: restore.uid().unwrap_or_default(),
        snapshot: target.name_any(),
        failed: None,
    };
    let mode = choose_mode(job, &twin, PointMode::Auto, &point_name(&twin, number)?).await?;
    let begun = operation.clone();
    job.begin(begun, |status| {
        status.executed_restores.push(executed);
        let surplus = status.executed_restores.len().saturating_sub(REMEMBERED);
        status.executed_restores.drain(..surplus);
        status.held_by = restore.spec.hold.then(|| restore.name_any());
    })
    .await?;
    perform(job, &operation, mode).await
}

/// Finishes a restore that was begun.
pub async fn resume(job: &Job<'_>, operation: &Operation) -> Result<(), Error> {
    let claimed = job.claim(operation.epoch).await?;
    let operation = Operation {
        epoch: claimed,
        ..operation.clone()
    };
    let twin = job.ledger.twin().await;
    let present = point_name(&twin, operation.number)?;
    let mode = choose_mode(job, &twin, PointMode::Auto, &present).await?;
    perform(job, &operation, mode).await
}

async fn perform(job: &Job<'_>, operation: &Operation, mode: ChosenMode) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let target = point_of(job, &twin, &operation.snapshot_name).await?;
    let note = PointNote {
        snapshot: name_of(&twin, operation.number)?,
        point: point_name(&twin, operation.number)?,
        mode,
        revision: operation.base_revision,
        before: operation.summary.clone(),
    };
    let present = PointRequest {
        name: note.point.clone(),
        mode: note.mode.mode,
    };
    let ids = OperationIds {
        twin_uid: uid_of(&twin)?,
        epoch: operation.epoch,
        operation: operation.number,
        revision: operation.target_revision,
    };
    let journal = OperationJournal::new(job.ctx, job.ledger, twin.clone(), note);
    let address = job.home.address(job.facts);
    let ports = Ports {
        vm: job.home.vm.as_ref(),
        door: job.home.door.as_ref(),
        address: &address,
        journal: &journal,
    };
    let input = RestoreInput {
        ids: &ids,
        target: &target,
        present: &present,
    };
    let report = match execute::restore(&input, &ports).await {
        Ok(report) => report,
        Err(ExecuteError::Vm(error @ VmError::NotReverted { .. })) => {
            return Err(give_up(job, operation, error).await?);
        }
        Err(error) => return Err(error.into()),
    };
    finish(job, operation, &report.manifest).await?;
    job.ctx
        .events
        .normal(&twin, "RestoreCompleted", &operation.summary)
        .await;
    job.counted(operation, "restore", "Restored");
    Ok(())
}

/// Ends a restore whose point cannot be loaded: tried again, it would only stop the VM again. The twin follows its host
/// on from what it was.
async fn give_up(job: &Job<'_>, operation: &Operation, error: VmError) -> Result<Error, Error> {
    let why = printable(&error.to_string(), 512);
    job.ledger
        .update(|status| {
            let ours =
                |executed: &&mut ExecutedRestore| Some(&executed.name) == operation.restore_name.as_ref();
            if let Some(executed) = status.executed_restores.iter_mut().rev().find(ours) {
                executed.failed = Some(why);
            }
            status.held_by = None;
            status.operation = None;
        })
        .await?;
    Ok(error.into())
}

/// Name on the hypervisor of the point of a snapshot.
async fn point_of(job: &Job<'_>, twin: &DigitalTwin, snapshot: &str) -> Result<String, Error> {
    let snapshots = objects::snapshots(&job.ctx.client, twin);
    let found = crate::controller::api::read("read the snapshot", &snapshots, snapshot).await?;
    found
        .and_then(|s| s.status?.point)
        .ok_or_else(|| Error::Terminal {
            reason: "SnapshotGone",
            message: format!("snapshot {snapshot} has no point any more"),
        })
}

async fn finish(job: &Job<'_>, operation: &Operation, manifest: &Manifest) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let now = job.ctx.clock.now();
    let incarnation = apply::incarnation(job, &uid_of(&twin)?).await?;
    let own_point = name_of(&twin, operation.number)?;
    let found = objects::read_revision(&job.ctx.client, &twin, manifest.revision).await?;
    let items = found
        .as_ref()
        .map(|(_, content)| crate::plan::status::items(content, manifest));
    // The digest of nothing: after the hold everything is compared anew.
    let root_digest = Digest::of(b"restored");
    job.ledger
        .update(|status| {
            status.applied = Some(Applied {
                revision: manifest.revision,
                root_digest,
                generation: twin.metadata.generation.unwrap_or(0),
            });
            if let Some(items) = items {
                status.running = Some(items.fraction());
                status.not_replicated = items.not_replicated;
            }
            if let (Some(vm), Some(incarnation)) = (&mut status.vm, incarnation) {
                vm.incarnation = Some(incarnation);
            }
            status.pending_removal = None;
            let done = Operation {
                snapshot_name: own_point,
                ..operation.clone()
            };
            history::finish(status, &done, "Restored", manifest.revision, now);
        })
        .await
}

/// Puts the content of a revision on top of a restored point, for asOf. What the point has beyond it goes.
/// Done already when the applied revision has the same items.
pub async fn put_on_top(job: &Job<'_>, number: i64) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let Some((revision, mut content)) = objects::read_revision(&job.ctx.client, &twin, number).await? else {
        return Ok(());
    };
    let guest = job.home.door.connect(&job.home.address(job.facts)).await?;
    let manifest = guest.manifest().await?.unwrap_or_default();
    let applied = objects::read_revision(&job.ctx.client, &twin, manifest.revision).await?;
    if applied.is_some_and(|(_, applied)| applied.items == content.items) {
        return Ok(());
    }
    let stays = |id: &ItemId| content.items.binary_search_by(|item| item.id.cmp(id)).is_ok();
    let all = manifest.items.iter().map(|item| &item.id);
    content.removed = all.filter(|id| !stays(id)).cloned().collect();
    let wanted = Wanted {
        content: &content,
        root_digest: revision.spec.root_digest,
        summary: format!("revision {number} on top"),
        details: revision.spec.summary.clone(),
        manifest_operation: manifest.operation,
        manifest_epoch: manifest.epoch,
        base: manifest.revision,
        pending: job.ledger.status().await.pending_removal,
        again: false,
        taken_back: None,
    };
    apply::begin(job, &wanted).await?;
    Ok(())
}
