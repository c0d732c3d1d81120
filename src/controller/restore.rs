//! Driver of TwinRestore: once per name, the newest wins, and it holds while `hold` is true.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::digitaltwin::{ExecutedRestore, OperationKind};
use safetytwin_crds::{
    ConditionStatus, Conditions as _, DigitalTwin, TwinRestore, TwinRestoreStatus, TwinSnapshot,
};

use super::api;
use super::context::Context;
use super::error::Error;
use super::ledger::Ledger;
use super::operation::{Job, objects, restore};
use super::twin::home::{Home, uid_of};
use super::twin::permit;

/// One look at a restore.
pub async fn reconcile(found: Arc<TwinRestore>, ctx: Arc<Context>) -> Result<Action, Error> {
    let namespace = found.namespace().unwrap_or_default();
    let restores: Api<TwinRestore> = Api::namespaced(ctx.client.clone(), &namespace);
    let twins: Api<DigitalTwin> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(twin) = api::read("read the twin", &twins, &found.spec.twin_ref.name).await? else {
        let error = Error::NotYet {
            reason: "TwinNotFound",
            message: format!(
                "there is no DigitalTwin {} in this namespace",
                found.spec.twin_ref.name
            ),
        };
        say(
            &ctx,
            &restores,
            &found.name_any(),
            Verdict::no(error.reason(), error.to_string()),
        )
        .await?;
        return Err(error);
    };
    let lock = ctx.memory.lock_of(&uid_of(&twin)?);
    let _turn = lock.lock().await;
    // Both read again under the lock.
    let Some(found) = api::read("read the restore", &restores, &found.name_any()).await? else {
        return Ok(Action::await_change());
    };
    if found.metadata.deletion_timestamp.is_some() || permit::is_over(&found) {
        return Ok(Action::await_change());
    }
    let Some(twin) = api::read("read the twin", &twins, &twin.name_any()).await? else {
        return Ok(Action::requeue(Duration::from_secs(1)));
    };
    match execute(&ctx, &restores, twin, &found).await {
        Ok(verdict) => {
            say(&ctx, &restores, &found.name_any(), verdict).await?;
            ctx.memory.wake_twin(&namespace, &found.spec.twin_ref.name);
            Ok(Action::await_change())
        }
        Err(error) if error.is_conflict() => Err(error),
        Err(error) => {
            say(
                &ctx,
                &restores,
                &found.name_any(),
                Verdict::no(error.reason(), error.to_string()),
            )
            .await?;
            Err(error)
        }
    }
}

/// Executes a restore once; the answer is its condition for ever.
async fn execute(
    ctx: &Context,
    restores: &Api<TwinRestore>,
    twin: DigitalTwin,
    found: &TwinRestore,
) -> Result<Verdict, Error> {
    let name = found.name_any();
    let status = twin.status.clone().unwrap_or_default();
    let executed = status.executed_restores.iter().find(|e| e.name == name).cloned();
    if let Some(verdict) = refusal(ctx, &twin, found, executed.as_ref()).await? {
        return Ok(verdict);
    }
    ctx.may_act()?;
    let class = permit::class(ctx, &twin)
        .await?
        .map_err(|refusal| Error::NotYet {
            reason: refusal.reason,
            message: refusal.message,
        })?;
    let home = Home::open(ctx, &twin, &class).await?;
    let facts = match home.vm.observe().await? {
        Some(facts) => facts,
        None => home.vm.ensure().await?,
    };
    let ledger = Ledger::new(&ctx.client, twin.clone(), ctx.running.clone());
    let job = Job {
        ctx,
        ledger: &ledger,
        home: &home,
        facts: &facts,
    };
    match (&status.operation, &executed) {
        (Some(operation), _)
            if operation.kind == OperationKind::Restore && operation.restore_name.as_ref() == Some(&name) =>
        {
            restore::resume(&job, operation).await?;
        }
        (Some(_), _) => {
            return Err(Error::NotYet {
                reason: "OperationUnderWay",
                message: "another operation on the twin is being finished first".into(),
            });
        }
        (None, Some(_)) => {}
        (None, None) => match choose(ctx, restores, &twin, found).await? {
            Choice::Point(target) => {
                is_there(&job, &target)?;
                restore::begin(&job, found, &target).await?;
            }
            Choice::None(verdict) => return Ok(verdict),
        },
    }
    let chosen = api::read("read the restore", restores, &name)
        .await?
        .and_then(|r| r.status);
    if let Some(revision) = chosen.and_then(|s| s.revision) {
        restore::put_on_top(&job, revision).await?;
    }
    Ok(Verdict::yes("Restored", ""))
}

/// Refuses a snapshot whose point the VM does not have: one of an earlier twin of this name, or removed by hand.
fn is_there(job: &Job<'_>, target: &TwinSnapshot) -> Result<(), Error> {
    let point = target.status.as_ref().and_then(|s| s.point.as_ref());
    if job.facts.points.iter().any(|taken| Some(&taken.name) == point) {
        return Ok(());
    }
    Err(Error::Terminal {
        reason: "SnapshotGone",
        message: format!(
            "the VM has no point of snapshot {}: choose another one",
            target.name_any()
        ),
    })
}

/// Why this restore is not carried out: once per name, not where its point could not be loaded, and the newest wins.
async fn refusal(
    ctx: &Context,
    twin: &DigitalTwin,
    found: &TwinRestore,
    executed: Option<&ExecutedRestore>,
) -> Result<Option<Verdict>, Error> {
    if executed.is_some_and(|e| Some(&e.uid) != found.uid().as_ref()) {
        let message = "a TwinRestore of this name was executed before: use another name to restore again";
        return Ok(Some(Verdict::no("AlreadyExecuted", message)));
    }
    if let Some(why) = executed.and_then(|e| e.failed.as_ref()) {
        return Ok(Some(Verdict::no("RevertFailed", why)));
    }
    let newest = permit::newest_restore(ctx, twin).await?;
    let superseded = executed.is_none() && newest.is_some_and(|n| n.uid() != found.uid());
    Ok(superseded.then(|| Verdict::no("Superseded", "a newer TwinRestore of this twin exists")))
}

enum Choice {
    Point(Box<TwinSnapshot>),
    None(Verdict),
}

/// The point to go back to, written to status before the revert, chosen once.
async fn choose(
    ctx: &Context,
    restores: &Api<TwinRestore>,
    twin: &DigitalTwin,
    found: &TwinRestore,
) -> Result<Choice, Error> {
    let snapshots = objects::list_snapshots(&ctx.client, twin).await?;
    let chosen = found.status.as_ref().and_then(|s| s.snapshot.clone());
    let named = chosen.or_else(|| found.spec.snapshot_ref.as_ref().map(|r| r.name.clone()));
    let as_of = found
        .spec
        .as_of
        .as_ref()
        .and_then(|t| t.parse::<Timestamp>().ok());
    let target = match (&named, as_of) {
        (Some(name), _) => snapshots
            .into_iter()
            .find(|s| s.name_any() == *name && is_ready(s)),
        (None, Some(as_of)) => newest_before(snapshots, as_of),
        (None, None) => None,
    };
    let Some(target) = target else {
        return match (named, &found.spec.as_of) {
            (Some(name), _) => Err(Error::NotYet {
                reason: "SnapshotNotReady",
                message: format!("there is no Ready TwinSnapshot {name} of this twin"),
            }),
            (None, time) => {
                let time = time.clone().unwrap_or_default();
                Ok(Choice::None(Verdict::no(
                    "NoPointBefore",
                    format!("no Ready point was taken at or before {time}"),
                )))
            }
        };
    };
    let revision = match as_of {
        Some(as_of) => revision_at(ctx, twin, as_of).await?,
        None => None,
    };
    let name = target.name_any();
    write(restores, &found.name_any(), |status| {
        status.snapshot = Some(name);
        status.revision = revision;
    })
    .await?;
    Ok(Choice::Point(Box::new(target)))
}

fn is_ready(snapshot: &TwinSnapshot) -> bool {
    snapshot.metadata.deletion_timestamp.is_none()
        && snapshot
            .status
            .as_ref()
            .is_some_and(|s| s.point.is_some() && s.conditions.is_true(types::READY))
}

/// The newest Ready point taken at or before `as_of`.
fn newest_before(snapshots: Vec<TwinSnapshot>, as_of: Timestamp) -> Option<TwinSnapshot> {
    let taken = |s: &TwinSnapshot| s.status.as_ref()?.taken_time.as_ref()?.parse::<Timestamp>().ok();
    snapshots
        .into_iter()
        .filter(is_ready)
        .filter(|s| taken(s).is_some_and(|t| t <= as_of))
        .max_by_key(taken)
}

/// The revision that was applied at `as_of`: the newest whose Applied became True by then.
async fn revision_at(ctx: &Context, twin: &DigitalTwin, as_of: Timestamp) -> Result<Option<i64>, Error> {
    let revisions = objects::revisions(&ctx.client, twin);
    let params = kube::api::ListParams::default().fields(&format!("spec.twinRef.name={}", twin.name_any()));
    let list = api::within("list revisions", revisions.list(&params)).await?;
    let applied = |r: &safetytwin_crds::TwinRevision| {
        let status = r.status.as_ref()?;
        let condition = status.conditions.find(types::APPLIED)?;
        let then: Timestamp = condition.last_transition_time.parse().ok()?;
        (condition.status == ConditionStatus::True && then <= as_of).then_some(r.spec.number)
    };
    Ok(list.items.iter().filter_map(applied).max())
}

async fn say(ctx: &Context, restores: &Api<TwinRestore>, name: &str, verdict: Verdict) -> Result<(), Error> {
    let now = ctx.clock.now();
    let generation = api::read("read the restore", restores, name)
        .await?
        .and_then(|r| r.metadata.generation);
    write(restores, name, |status| {
        let done = verdict.status == ConditionStatus::True;
        status.observed_generation = generation;
        status.conditions.set(types::RESTORED, verdict, generation, now);
        if done && status.completion_time.is_none() {
            status.completion_time = Some(format!("{now:.0}"));
        }
    })
    .await
}

async fn write(
    restores: &Api<TwinRestore>,
    name: &str,
    change: impl FnOnce(&mut TwinRestoreStatus),
) -> Result<(), Error> {
    let Some(mut restore) = api::read("read the restore", restores, name).await? else {
        return Ok(());
    };
    let mut status = restore.status.clone().unwrap_or_default();
    change(&mut status);
    if restore.status.as_ref() != Some(&status) {
        restore.status = Some(status);
        api::write_status("write the restore's status", restores, &restore).await?;
    }
    Ok(())
}
