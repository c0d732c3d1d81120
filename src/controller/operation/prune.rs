//! After an operation: automatic points beyond `keepLast`, and revisions that nothing needs, go.
//! Points go in two phases: the TwinSnapshot is deleted here, its finalizer removes the point.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use kube::api::ListParams;
use safetytwin_crds::condition::types;
use safetytwin_crds::names::AUTOMATIC_LABEL;
use safetytwin_crds::{Conditions as _, DigitalTwin, TwinSnapshot};

use super::{Job, objects};
use crate::controller::api;
use crate::controller::error::Error;
use crate::controller::twin::permit;
use crate::plan::number;
use crate::plan::retention::{PointInfo, prune};

/// How many revisions are kept besides those that a point needs.
const KEPT_REVISIONS: i64 = 100;

/// Deletes what is surplus.
pub async fn surplus(job: &Job<'_>, twin: &DigitalTwin) -> Result<(), Error> {
    let snapshots = objects::list_snapshots(&job.ctx.client, twin).await?;
    let points = job.home.vm.observe().await?.map(|f| f.points).unwrap_or_default();
    let awaited = permit::awaited_snapshot(job.ctx, twin).await?;
    let name = twin.name_any().replace('.', "-");
    let uid = twin.uid().unwrap_or_default();
    let infos: Vec<PointInfo> = points
        .iter()
        .map(|point| {
            let object = snapshots.iter().find(|s| of_point(s, &point.name));
            PointInfo {
                name: point.name.clone(),
                parent: point.parent.clone(),
                current: point.current,
                number: number::parse(&point.name, &name, &uid).unwrap_or(0),
                automatic: object.is_some_and(is_automatic),
                pinned: object.is_none_or(|s| s.spec.pinned),
                in_use: object.is_some_and(|s| awaited.as_ref() == Some(&s.name_any())),
                ready: object
                    .and_then(|s| s.status.as_ref())
                    .is_some_and(|s| s.conditions.is_true(types::READY)),
            }
        })
        .collect();
    let keep = usize::try_from(twin.spec.snapshots.keep_last).unwrap_or(10);
    for gone in prune(&infos, keep) {
        if let Some(snapshot) = snapshots.iter().find(|s| of_point(s, &gone)) {
            objects::delete_snapshot(&job.ctx.client, snapshot).await?;
        }
    }
    old_revisions(job, twin, &snapshots).await
}

/// Whether a snapshot is an automatic one.
pub fn is_automatic(snapshot: &TwinSnapshot) -> bool {
    snapshot.labels().contains_key(AUTOMATIC_LABEL)
}

fn of_point(snapshot: &TwinSnapshot, point: &str) -> bool {
    snapshot.status.as_ref().and_then(|s| s.point.as_deref()) == Some(point)
}

/// Revisions beyond the newest, but for those that a point, the twin or an operation needs.
async fn old_revisions(job: &Job<'_>, twin: &DigitalTwin, snapshots: &[TwinSnapshot]) -> Result<(), Error> {
    let status = job.ledger.status().await;
    if status.last_operation <= KEPT_REVISIONS {
        return Ok(());
    }
    let mut needed: BTreeSet<i64> = snapshots
        .iter()
        .filter_map(|s| s.status.as_ref()?.revision)
        .collect();
    needed.extend(status.applied.map(|a| a.revision));
    needed.extend(status.operation.map(|o| o.target_revision));
    let revisions = objects::revisions(&job.ctx.client, twin);
    let params = ListParams::default().fields(&format!("spec.twinRef.name={}", twin.name_any()));
    let list = api::within("list revisions", revisions.list_metadata(&params)).await?;
    for revision in list.items {
        let name = revision.name_any();
        let number = number::parse(&name, &twin.name_any(), &twin.uid().unwrap_or_default());
        let old = |n: &i64| *n <= status.last_operation - KEPT_REVISIONS && !needed.contains(n);
        if number.as_ref().is_some_and(old) {
            objects::delete_revision(&job.ctx.client, twin, &name).await?;
        }
    }
    Ok(())
}
