//! The end of a twin: its automatic snapshots, then VM, disks with all points, and key. Waits while a pinned or manual
//! snapshot remains; `Retain` and adopted domains keep everything on the hypervisor; of adopted ones the mark goes.

use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::digitaltwin::DeletionPolicy;
use safetytwin_crds::names::{FORCE_DELETE, TWIN_FINALIZER};
use safetytwin_crds::{Conditions as _, DigitalTwin, TwinClass};

use super::home::{Home, uid_of};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::ledger::Ledger;
use crate::controller::operation::{objects, prune::is_automatic};
use crate::controller::{api, keys};
use crate::vm::MARK;

/// How soon a deletion that waits for snapshots is looked at again.
const RECHECK: Duration = Duration::from_secs(10);
/// Attempts after which the mark is left on an adopted domain: about a minute, in which a hypervisor may be back.
const ATTEMPTS: u32 = 6;

/// Removes what belongs to a twin, then its finalizer.
pub async fn reconcile(ctx: &Context, twin: DigitalTwin) -> Result<Action, Error> {
    if !twin.finalizers().iter().any(|f| f == TWIN_FINALIZER) {
        return Ok(Action::await_change());
    }
    let forced = twin
        .annotations()
        .get(FORCE_DELETE)
        .is_some_and(|value| value == "true");
    let keeps = keeps_vm(&twin);
    if !forced
        && !keeps
        && let Some(wait) = clear_snapshots(ctx, &twin).await?
    {
        return Ok(wait);
    }
    if !keeps || is_adopted(&twin) {
        let removed = remove_vm(ctx, &twin).await;
        match removed {
            Ok(()) => {}
            Err(error @ Error::Stopped(_)) => return Err(error),
            Err(error) if forced => {
                let note = format!(
                    "deleted by force, this is left behind: {} ({error})",
                    domain_of(&twin)
                );
                ctx.events.warning(&twin, "Leaked", &note).await;
            }
            Err(error) if is_adopted(&twin) && ctx.backoffs.in_a_row(&uid_of(&twin)?) >= ATTEMPTS => {
                ctx.events
                    .warning(&twin, "Leaked", &mark_left(&twin, &error))
                    .await;
            }
            Err(error) => {
                report(ctx, &twin, error.reason(), &error.to_string()).await?;
                // An adopted twin is soon tried again, whatever it is: it does not wait for long.
                return Err(match is_adopted(&twin) {
                    true => Error::NotYet {
                        reason: error.reason(),
                        message: error.to_string(),
                    },
                    false => error,
                });
            }
        }
    }
    let uid = uid_of(&twin)?;
    keys::remove(&ctx.client, &ctx.namespace, &uid).await?;
    let twins: Api<DigitalTwin> = Api::namespaced(ctx.client.clone(), &twin.namespace().unwrap_or_default());
    let Some(twin) = api::read("read the twin", &twins, &twin.name_any()).await? else {
        return Ok(Action::await_change());
    };
    api::set_finalizer(&twins, &twin, TWIN_FINALIZER, false).await?;
    ctx.memory.forget_twin(&uid);
    tracing::info!(twin = twin.name_any(), "deleted");
    Ok(Action::await_change())
}

/// Whether a twin that goes leaves its VM, with all its points, on the hypervisor.
pub fn keeps_vm(twin: &DigitalTwin) -> bool {
    twin.spec.deletion_policy == DeletionPolicy::Retain || is_adopted(twin)
}

/// Its VM was there before it. It stays, and is nobody's again: the mark of the twin is taken off.
fn is_adopted(twin: &DigitalTwin) -> bool {
    let vm = twin.status.as_ref().and_then(|s| s.vm.as_ref());
    vm.is_some_and(|vm| vm.adopted)
}

/// Which domain keeps the mark of its twin, and how it is taken off.
fn mark_left(twin: &DigitalTwin, error: &Error) -> String {
    let vm = twin.status.as_ref().and_then(|s| s.vm.as_ref());
    let (domain, uri) = vm.map_or(("", ""), |vm| (vm.domain_uuid.as_str(), vm.uri.as_str()));
    format!(
        "the domain still has the mark of the twin ({error}): virsh -c {uri} metadata {domain} {MARK} --remove --config"
    )
}

/// Deletes automatic snapshots; answers how long to wait while any snapshot is there.
async fn clear_snapshots(ctx: &Context, twin: &DigitalTwin) -> Result<Option<Action>, Error> {
    let snapshots = objects::list_snapshots(&ctx.client, twin).await?;
    let goes = |s: &safetytwin_crds::TwinSnapshot| s.metadata.deletion_timestamp.is_some();
    let kept: Vec<String> = snapshots
        .iter()
        .filter(|s| !goes(s) && (s.spec.pinned || !is_automatic(s)))
        .map(ResourceExt::name_any)
        .collect();
    if !kept.is_empty() {
        let message = format!(
            "these snapshots are pinned or manual, delete them first: {}",
            kept.join(", ")
        );
        report(ctx, twin, "SnapshotsRetained", &message).await?;
        return Ok(Some(Action::requeue(RECHECK)));
    }
    for snapshot in snapshots.iter().filter(|s| !goes(s)) {
        objects::delete_snapshot(&ctx.client, snapshot).await?;
    }
    Ok((!snapshots.is_empty()).then(|| Action::requeue(Duration::from_secs(1))))
}

async fn remove_vm(ctx: &Context, twin: &DigitalTwin) -> Result<(), Error> {
    if twin.status.as_ref().is_none_or(|s| s.vm.is_none()) {
        return Ok(());
    }
    let classes: Api<TwinClass> = Api::all(ctx.client.clone());
    let Some(class) = api::read("read the class", &classes, &twin.spec.class_name).await? else {
        return Err(Error::NotYet {
            reason: "ClassNotFound",
            message: format!(
                "TwinClass {} is needed to delete {}: create it again, or annotate the twin with {FORCE_DELETE}=true",
                twin.spec.class_name,
                domain_of(twin)
            ),
        });
    };
    ctx.may_act()?;
    let home = Home::open(ctx, twin, &class).await?;
    home.door.hang_up().await;
    Ok(home.vm.delete().await?)
}

fn domain_of(twin: &DigitalTwin) -> String {
    let vm = twin.status.as_ref().and_then(|s| s.vm.as_ref());
    vm.map_or_else(
        || "nothing".into(),
        |vm| {
            format!(
                "domain {} at {}, with its volumes in pool {}",
                vm.domain_name, vm.uri, vm.pool
            )
        },
    )
}

async fn report(ctx: &Context, twin: &DigitalTwin, reason: &str, message: &str) -> Result<(), Error> {
    let ledger = Ledger::new(&ctx.client, twin.clone(), ctx.running.clone());
    let generation = twin.metadata.generation;
    let now = ctx.clock.now();
    let known = |t: &DigitalTwin| {
        let ready = t.status.as_ref()?.conditions.find(types::READY)?;
        Some(ready.reason.clone())
    };
    let new = known(twin).as_deref() != Some(reason);
    ledger
        .update(|s| {
            s.conditions
                .set(types::READY, Verdict::no(reason, message), generation, now);
        })
        .await?;
    if new {
        ctx.events.warning(twin, reason, message).await;
    }
    Ok(())
}
