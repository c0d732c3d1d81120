//! The operation Point: a restore point on request.

use kube::{Api, ResourceExt as _};
use safetytwin_crds::digitaltwin::{Operation, OperationKind};
use safetytwin_crds::names::printable;
use safetytwin_crds::{DigitalTwinStatus, TwinSnapshot};

use super::apply::{asked, choose_mode};
use super::journal::{OperationJournal, PointNote};
use super::{Job, point_name};
use crate::controller::api;
use crate::controller::error::Error;
use crate::execute::{Journal as _, points};
use crate::vm::{PointRequest, VmFacts};

/// Records a point and takes it. Numbers come from status and points: the guest need not answer.
pub async fn begin(job: &Job<'_>, snapshot: &TwinSnapshot) -> Result<(), Error> {
    let epoch = job.claim(0).await?;
    let number = job.next_number(0).await?;
    let revision = job.ledger.status().await.applied.map_or(0, |a| a.revision);
    let description = printable(&snapshot.spec.description, 100);
    let operation = Operation {
        number,
        kind: OperationKind::Point,
        base_revision: revision,
        target_revision: revision,
        snapshot_name: snapshot.name_any(),
        epoch,
        started_time: job.ctx.clock.now().to_string(),
        restore_name: None,
        summary: format!("(manual) {description}").trim_end().to_owned(),
    };
    job.begin(operation.clone(), |_| {}).await?;
    perform(job, &operation, snapshot).await
}

/// Finishes a point that was begun; one whose object is gone is given up.
pub async fn resume(job: &Job<'_>, operation: &Operation) -> Result<(), Error> {
    let namespace = job.ledger.twin().await.namespace().unwrap_or_default();
    let snapshots: Api<TwinSnapshot> = Api::namespaced(job.ctx.client.clone(), &namespace);
    match api::read("read the snapshot", &snapshots, &operation.snapshot_name).await? {
        Some(snapshot) => perform(job, operation, &snapshot).await,
        None => job.ledger.update(|s| s.operation = None).await,
    }
}

async fn perform(job: &Job<'_>, operation: &Operation, snapshot: &TwinSnapshot) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let mode = choose_mode(job, &twin, snapshot.spec.mode).await?;
    let note = PointNote {
        snapshot: operation.snapshot_name.clone(),
        point: point_name(&twin, operation.number)?,
        mode_reason: mode.reason,
        revision: operation.base_revision,
        before: operation.summary.clone(),
    };
    let request = PointRequest {
        name: note.point.clone(),
        mode: asked(mode.mode),
    };
    let journal = OperationJournal::new(job.ctx, job.ledger, twin.clone(), note);
    let taken = points::take(job.home.vm.as_ref(), &journal, &request).await?;
    journal
        .point_taken(&taken)
        .await
        .map_err(crate::execute::ExecuteError::from)?;
    let facts = job.home.vm.observe().await?;
    job.ledger
        .update(|status| {
            status.operation = None;
            keep_incarnation(status, facts);
        })
        .await?;
    let note = format!("{}: {:?}", operation.snapshot_name, taken.mode);
    job.ctx.events.normal(&twin, "SnapshotTaken", &note).await;
    Ok(())
}

/// A point that we take or remove changes the machine's incarnation: that is no change made by hand.
/// The guest's boot stays.
pub fn keep_incarnation(status: &mut DigitalTwinStatus, facts: Option<VmFacts>) {
    let known = status.vm.as_mut().and_then(|vm| vm.incarnation.as_mut());
    if let (Some(known), Some(facts)) = (known, facts) {
        let boot = known.rsplit_once(' ').map(|(_, boot)| boot.to_owned());
        *known = format!("{} {}", facts.incarnation, boot.unwrap_or_default());
    }
}
