//! The operation Point: a restore point on request.

use kube::{Api, ResourceExt as _};
use safetytwin_crds::digitaltwin::{Operation, OperationKind};
use safetytwin_crds::names::printable;
use safetytwin_crds::{DigitalTwinStatus, TwinSnapshot};

use super::apply::choose_mode;
use super::journal::{OperationJournal, PointNote};
use super::{Job, point_name};
use crate::controller::api;
use crate::controller::error::Error;
use crate::execute::{Journal as _, points};
use crate::plan::point_mode::ChosenMode;
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
    let twin = job.ledger.twin().await;
    let mode = choose_mode(job, &twin, snapshot.spec.mode, &point_name(&twin, number)?).await?;
    job.begin(operation.clone(), |_| {}).await?;
    perform(job, &operation, mode).await
}

/// Finishes a point that was begun; one whose object is gone, or goes before it was taken, is given up.
pub async fn resume(job: &Job<'_>, operation: &Operation) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let namespace = twin.namespace().unwrap_or_default();
    let snapshots: Api<TwinSnapshot> = Api::namespaced(job.ctx.client.clone(), &namespace);
    let point = point_name(&twin, operation.number)?;
    let is_taken = job.facts.points.iter().any(|taken| taken.name == point);
    let found = api::read("read the snapshot", &snapshots, &operation.snapshot_name).await?;
    match found.filter(|s| is_taken || s.metadata.deletion_timestamp.is_none()) {
        Some(snapshot) => {
            let mode = choose_mode(job, &twin, snapshot.spec.mode, &point).await?;
            perform(job, operation, mode).await
        }
        None => job.ledger.update(|s| s.operation = None).await,
    }
}

async fn perform(job: &Job<'_>, operation: &Operation, mode: ChosenMode) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let note = PointNote {
        snapshot: operation.snapshot_name.clone(),
        point: point_name(&twin, operation.number)?,
        mode,
        revision: operation.base_revision,
        before: operation.summary.clone(),
    };
    let request = PointRequest {
        name: note.point.clone(),
        mode: note.mode.mode,
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
    job.counted(operation, "point", "Taken");
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
