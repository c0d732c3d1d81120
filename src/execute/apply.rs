//! Brings the guest to a revision.

use std::time::Duration;

use jiff::Timestamp;
use safetytwin_crds::item::Reason;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::Content;

use super::perform::{Ended, Performance};
use super::{ExecuteError, Ports, connect, drift, manifest_of};
use crate::guest::{Guest, OperationRecord, Traffic};
use crate::plan::steps::{OperationIds, Resumed, StepInput, quarantine, record_failures};
use crate::plan::{Changes, Step, StepPlan, UnitJob, diff, preflight, steps};
use crate::vm::{PointRequest, PointTaken};

/// How long a guest may take to answer before the operation is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest may take to answer after it was taken back: a Disk point boots.
const BOOT: Duration = Duration::from_secs(120);

/// An apply that is recorded in the twin's status.
#[derive(Clone, Copy, Debug)]
pub struct ApplyInput<'a> {
    /// UID of the twin, epoch, operation and revision.
    pub ids: &'a OperationIds,
    /// Content of the revision.
    pub content: &'a Content,
    /// The point that is taken before; its name is found again after a crash.
    pub point: &'a PointRequest,
    /// `spec.reRender`.
    pub re_render: Option<&'a str>,
    /// Look for changes made by hand in the guest, and set them right with the rest.
    pub repair: bool,
    /// `spec.onFailure: Restore`: an item that fails takes the whole twin back.
    pub restore_on_failure: bool,
}

/// What an apply did.
#[derive(Clone, Debug, Default)]
pub struct ApplyReport {
    /// What the guest's manifest says now.
    pub manifest: Manifest,
    /// The point before; absent when nothing but the manifest changed.
    pub point: Option<PointTaken>,
    /// Items that were new, changed, removed and left alone.
    pub counts: Counts,
    /// daemon-reloads.
    pub reloads: u64,
    /// What went over the connection; all since it was made.
    pub traffic: Traffic,
    /// Each step that ran and its milliseconds.
    pub steps: Vec<(&'static str, u64)>,
    /// Why the twin was taken back to the point before.
    pub taken_back: Option<String>,
}

/// Numbers of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New in the twin.
    pub added: usize,
    /// Changed.
    pub changed: usize,
    /// Gone.
    pub removed: usize,
    /// As they were.
    pub untouched: usize,
}

impl Counts {
    fn of(changes: &Changes) -> Self {
        Self {
            added: changes.added.len(),
            changed: changes.changed.len(),
            removed: changes.removed.len(),
            untouched: changes.untouched.len() + changes.kept.len(),
        }
    }
}

/// Performs an apply, or what is left of one.
///
/// # Errors
/// The operation could not be finished; it is tried again from its record. An item's failure is no error: it is
/// in the manifest.
pub async fn apply(input: &ApplyInput<'_>, ports: &Ports<'_>) -> Result<ApplyReport, ExecuteError> {
    let guest = connect(ports, PATIENCE).await?;
    let now = ports.journal.now();
    let before = manifest_of(guest.as_ref(), &input.ids.twin_uid, input.ids.epoch).await?;
    let record = guest
        .operation()
        .await?
        .filter(|record| record.number == input.ids.operation);
    if before.operation == input.ids.operation {
        return finish(input, guest.as_ref(), before).await;
    }
    let seen = if input.repair {
        drift::marked(guest.as_ref(), input.content, &before).await?
    } else {
        before.clone()
    };
    let changes = diff::recorded(input.content, &seen, input.re_render, now);
    let answers = guest.preflight(&preflight::query(&changes)).await?;
    let units = guest.units(&preflight::units(&changes)).await?;
    let resumed = record.as_ref().map(|record| Resumed {
        invocations: record.invocations.clone(),
        reload_owed: record.reload_owed,
    });
    let step_input = StepInput {
        changes: &changes,
        content: input.content,
        manifest: &seen,
        preflight: &answers,
        units: &units,
        resumed: resumed.as_ref(),
        ids: input.ids,
        re_render: input.re_render,
        now,
    };
    let plan = steps(&step_input);
    let mut performance = Performance::new(
        ports,
        guest,
        input,
        record.unwrap_or_else(|| first_record(input, &plan)),
    );
    let ended = run(&mut performance, &plan, &before, now).await?;
    let mut report = performance.report(Counts::of(&changes));
    match ended {
        Outcome::Recorded(manifest) => report.manifest = manifest,
        Outcome::Unbearable(message) => {
            report.manifest = take_back(input, ports, &step_input, &message).await?;
            report.taken_back = Some(message);
        }
    }
    Ok(report)
}

enum Outcome {
    Recorded(Manifest),
    Unbearable(String),
}

async fn run(
    performance: &mut Performance<'_>,
    plan: &StepPlan,
    before: &Manifest,
    now: Timestamp,
) -> Result<Outcome, ExecuteError> {
    let mut failed: Vec<(UnitName, Reason, String)> = Vec::new();
    let mut recorded = before.clone();
    for step in &plan.steps {
        let step = match step {
            Step::Record(manifest) => {
                recorded = manifest.clone();
                record_failures(&mut recorded, before, &failed, now);
                &Step::Record(recorded.clone())
            }
            other => other,
        };
        match performance.perform(step).await? {
            Ended::Done => {}
            Ended::ItemsFailed(more) => failed.extend(more),
            Ended::Unbearable(message) => return Ok(Outcome::Unbearable(message)),
        }
        if performance.restores_on_failure() && matches!(step, Step::Verify(_)) && !failed.is_empty() {
            let names: Vec<&str> = failed.iter().map(|(unit, ..)| unit.as_str()).collect();
            return Ok(Outcome::Unbearable(format!("{} failed", names.join(", "))));
        }
    }
    Ok(Outcome::Recorded(recorded))
}

/// The record that is written with the lock: what a redo has to know of the time before.
fn first_record(input: &ApplyInput<'_>, plan: &StepPlan) -> OperationRecord {
    let jobs = plan.steps.iter().filter_map(|step| match step {
        Step::Activate(jobs) => Some(jobs),
        _ => None,
    });
    let restarts = jobs.flatten().filter_map(|job| match job {
        UnitJob::Restart { unit, before } => Some((unit.to_string(), before.clone())),
        UnitJob::Start(_) | UnitJob::Stop(_) => None,
    });
    OperationRecord {
        number: input.ids.operation,
        epoch: input.ids.epoch,
        invocations: restarts.collect(),
        reload_owed: plan.steps.contains(&Step::Reload),
    }
}

/// The manifest of this operation was written already: only the lock is left.
async fn finish(
    input: &ApplyInput<'_>,
    guest: &dyn Guest,
    manifest: Manifest,
) -> Result<ApplyReport, ExecuteError> {
    guest.write_operation(None).await?;
    guest.unlock(input.ids.epoch).await?;
    Ok(ApplyReport {
        manifest,
        traffic: guest.traffic(),
        ..ApplyReport::default()
    })
}

/// Takes the whole twin back to the point before, and sets the changed items aside.
async fn take_back(
    input: &ApplyInput<'_>,
    ports: &Ports<'_>,
    plan: &StepInput<'_>,
    message: &str,
) -> Result<Manifest, ExecuteError> {
    ports.door.hang_up().await;
    ports.journal.guard().await?;
    ports.vm.revert(&input.point.name, input.ids.epoch).await?;
    let has_clock = ports.vm.set_clock().await?;
    let guest = connect(ports, BOOT).await?;
    guest.lock(input.ids.epoch, input.ids.operation).await?;
    if !has_clock {
        guest.set_clock(ports.journal.now()).await?;
    }
    let manifest = quarantine(plan, message);
    guest.write_manifest(&manifest).await?;
    guest.write_operation(None).await?;
    guest.unlock(input.ids.epoch).await?;
    Ok(manifest)
}
