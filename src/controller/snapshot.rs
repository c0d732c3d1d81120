//! Driver of TwinSnapshot: takes manual points, and removes the point when the object goes.
//! Automatic ones are written by the operations of their twin.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::digitaltwin::OperationKind;
use safetytwin_crds::names::{SNAPSHOT_FINALIZER, TWIN_UID_LABEL};
use safetytwin_crds::{Conditions as _, DigitalTwin, TwinClass, TwinSnapshot};

use super::api;
use super::context::Context;
use super::error::Error;
use super::ledger::Ledger;
use super::operation::{Job, point, prune::is_automatic};
use super::twin::home::{Home, uid_of};
use super::twin::{delete, permit};
use crate::facts::lineage;

/// How soon a snapshot whose twin is not there is looked at again.
const RECHECK: Duration = Duration::from_secs(30);

/// One look at a snapshot.
pub async fn reconcile(snapshot: Arc<TwinSnapshot>, ctx: Arc<Context>) -> Result<Action, Error> {
    let namespace = snapshot.namespace().unwrap_or_default();
    let snapshots: Api<TwinSnapshot> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(snapshot) = api::read("read the snapshot", &snapshots, &snapshot.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let twins: Api<DigitalTwin> = Api::namespaced(ctx.client.clone(), &namespace);
    let twin = api::read("read the twin", &twins, &snapshot.spec.twin_ref.name).await?;
    let lock = match &twin {
        Some(twin) => ctx.memory.lock_of(&uid_of(twin)?),
        None => Arc::default(),
    };
    let _turn = lock.lock().await;
    // Read again under the lock: its twin's driver may have finished the point meanwhile.
    let Some(snapshot) = api::read("read the snapshot", &snapshots, &snapshot.name_any()).await? else {
        return Ok(Action::await_change());
    };
    if snapshot.metadata.deletion_timestamp.is_some() {
        let removed = remove(&ctx, &snapshots, &twins, &snapshot).await;
        return heard(&ctx, &snapshots, &snapshot, removed).await;
    }
    let ready = |s: &TwinSnapshot| {
        s.status
            .as_ref()
            .is_some_and(|s| s.conditions.is_true(types::READY))
    };
    if is_automatic(&snapshot) || ready(&snapshot) {
        return Ok(Action::await_change());
    }
    let snapshot = api::set_finalizer(&snapshots, &snapshot, SNAPSHOT_FINALIZER, true).await?;
    let taken = take(&ctx, &twins, &snapshot).await;
    heard(&ctx, &snapshots, &snapshot, taken).await
}

/// Lets users hear of an error, too.
async fn heard(
    ctx: &Context,
    snapshots: &Api<TwinSnapshot>,
    snapshot: &TwinSnapshot,
    outcome: Result<Action, Error>,
) -> Result<Action, Error> {
    if let Err(error) = &outcome
        && !error.is_conflict()
    {
        say(ctx, snapshots, &snapshot.name_any(), error).await?;
    }
    outcome
}

/// Takes a manual point, or finishes it.
async fn take(ctx: &Context, twins: &Api<DigitalTwin>, snapshot: &TwinSnapshot) -> Result<Action, Error> {
    let name = &snapshot.spec.twin_ref.name;
    // Read under the lock.
    let Some(twin) = api::read("read the twin", twins, name).await? else {
        return Err(Error::NotYet {
            reason: "TwinNotFound",
            message: format!("there is no DigitalTwin {name} in this namespace"),
        });
    };
    ctx.may_act()?;
    let class = match permit::class(ctx, &twin).await? {
        Ok(class) => class,
        Err(refusal) => {
            return Err(Error::NotYet {
                reason: refusal.reason,
                message: refusal.message,
            });
        }
    };
    let home = Home::open(ctx, &twin, &class).await?;
    let facts = home.vm.observe().await?.filter(|f| f.running);
    let Some(facts) = facts.filter(|_| twin.status.as_ref().is_some_and(|s| s.vm.is_some())) else {
        return Err(Error::NotYet {
            reason: "TwinNotRunning",
            message: format!("the VM of twin {name} does not run yet"),
        });
    };
    let under_way = twin.status.as_ref().and_then(|s| s.operation.clone());
    let ledger = Ledger::new(&ctx.client, twin, ctx.running.clone());
    let job = Job {
        ctx,
        ledger: &ledger,
        home: &home,
        facts: &facts,
    };
    match under_way {
        None => point::begin(&job, snapshot).await?,
        Some(operation)
            if operation.kind == OperationKind::Point && operation.snapshot_name == snapshot.name_any() =>
        {
            point::resume(&job, &operation).await?;
        }
        Some(_) => {
            return Err(Error::NotYet {
                reason: "OperationUnderWay",
                message: format!("another operation on twin {name} is being finished first"),
            });
        }
    }
    Ok(Action::await_change())
}

async fn say(ctx: &Context, snapshots: &Api<TwinSnapshot>, name: &str, error: &Error) -> Result<(), Error> {
    let Some(mut snapshot) = api::read("read the snapshot", snapshots, name).await? else {
        return Ok(());
    };
    let generation = snapshot.metadata.generation;
    let mut status = snapshot.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let verdict = Verdict::no(error.reason(), error.to_string());
    status
        .conditions
        .set(types::READY, verdict, generation, ctx.clock.now());
    if snapshot.status.as_ref() != Some(&status) {
        snapshot.status = Some(status);
        api::write_status("write the snapshot's status", snapshots, &snapshot).await?;
    }
    Ok(())
}

/// Removes the point, then the finalizer. Without its twin the hypervisor is left alone; a twin that goes with its VM
/// takes the points with it, so none is merged first, and none that cannot be merged holds the twin back.
async fn remove(
    ctx: &Context,
    snapshots: &Api<TwinSnapshot>,
    twins: &Api<DigitalTwin>,
    snapshot: &TwinSnapshot,
) -> Result<Action, Error> {
    let twin = api::read("read the twin", twins, &snapshot.spec.twin_ref.name).await?;
    let label = snapshot.labels().get(TWIN_UID_LABEL);
    let twin = twin.filter(|t| label.is_none() || label == t.uid().as_ref());
    let point = snapshot.status.as_ref().and_then(|s| s.point.clone());
    let goes_with_its_vm = |twin: &DigitalTwin| {
        let goes = twin.metadata.deletion_timestamp.is_some();
        goes && !delete::keeps_vm(twin)
    };
    if let (Some(twin), Some(point)) = (twin.filter(|twin| !goes_with_its_vm(twin)), point) {
        // The operation of a twin that goes is never finished.
        let stays = twin.metadata.deletion_timestamp.is_none();
        let busy = twin.status.as_ref().and_then(|s| s.operation.as_ref());
        if stays && busy.is_some_and(|o| o.snapshot_name == snapshot.name_any()) {
            return Ok(Action::requeue(RECHECK / 10));
        }
        remove_point(ctx, twin, &point).await?;
    }
    api::set_finalizer(snapshots, snapshot, SNAPSHOT_FINALIZER, false).await?;
    Ok(Action::await_change())
}

async fn remove_point(ctx: &Context, twin: DigitalTwin, point: &str) -> Result<(), Error> {
    let classes: Api<TwinClass> = Api::all(ctx.client.clone());
    let Some(class) = api::read("read the class", &classes, &twin.spec.class_name).await? else {
        return Err(Error::NotYet {
            reason: "ClassNotFound",
            message: format!(
                "TwinClass {} is needed to remove point {point}",
                twin.spec.class_name
            ),
        });
    };
    let home = Home::open(ctx, &twin, &class).await?;
    if let Some(facts) = home.vm.observe().await? {
        let first = lineage::blockers(&facts.points, point);
        if !first.is_empty() {
            return Err(Error::NotYet {
                reason: "PointNeeded",
                message: format!(
                    "other points branch off {point}: it goes after {}, delete their snapshots",
                    first.join(", ")
                ),
            });
        }
    }
    let ledger = Ledger::new(&ctx.client, twin, ctx.running.clone());
    ledger.guard().await?;
    home.vm.delete_point(point).await?;
    let facts = home.vm.observe().await?;
    ledger
        .update(|status| point::keep_incarnation(status, facts))
        .await
}
