//! Brings the guest to a revision.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use safetytwin_crds::item::Reason;
use safetytwin_crds::manifest::{Manifest, TakenBack};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::Content;

use super::perform::{Ended, Performance};
use super::resume;
use super::take_back::{is_lost, take_back};
use super::{ExecuteError, Ports, connect, drift, manifest_of};
use crate::guest::{Guest, GuestError, Traffic};
use crate::plan::steps::{OperationIds, StepInput, record_failures};
use crate::plan::{Changes, Step, StepPlan, diff, preflight, steps};
use crate::vm::{PointRequest, PointTaken};

/// How long a guest may take to answer before the operation is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much longer a guest may be silent that answered before this operation changed it.
const SILENCE: Duration = Duration::from_secs(60);

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
    /// What is applied already is tried again, because items failed.
    pub again: bool,
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
    /// The point that the twin was taken back to, and why.
    pub taken_back: Option<TakenBack>,
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
    let guest = match reach(input, ports).await? {
        Reached::Guest(guest) => guest,
        Reached::Lost(message) => {
            let manifest = take_back(input, ports, &message, None).await?;
            return Ok(ApplyReport {
                taken_back: manifest.taken_back.clone(),
                manifest,
                ..ApplyReport::default()
            });
        }
    };
    let now = ports.journal.now();
    let (before, past) = futures::try_join!(
        manifest_of(guest.as_ref(), &input.ids.twin_uid, input.ids.epoch),
        resume::look(guest.as_ref(), input.ids.operation)
    )?;
    if before.operation == input.ids.operation {
        return finish(input, ports, guest.as_ref(), before).await;
    }
    let seen = if input.repair {
        drift::marked(guest.as_ref(), input.content, &before).await?
    } else {
        before.clone()
    };
    let changes = diff::recorded(input.content, &seen, input.re_render, now);
    let (query, names) = (preflight::query(&changes), preflight::units(&changes));
    let (answers, units) = futures::try_join!(guest.preflight(&query), guest.units(&names))?;
    let plan = steps(&StepInput {
        changes: &changes,
        content: input.content,
        manifest: &seen,
        preflight: &answers,
        units: &units,
        resumed: past.resumed().as_ref(),
        ids: input.ids,
        re_render: input.re_render,
        now,
    });
    let record = past.record(input.ids, &plan, &units);
    let mut performance = Performance::new(ports, guest, input, record);
    let ended = run(&mut performance, &plan, &before, now).await?;
    let mut report = performance.report(Counts::of(&changes));
    match ended {
        Outcome::Recorded(manifest) => report.manifest = manifest,
        Outcome::Unbearable(message) => {
            report.manifest = take_back(input, ports, &message, Some(&before)).await?;
            report.taken_back.clone_from(&report.manifest.taken_back);
        }
    }
    Ok(report)
}

enum Reached {
    Guest(Arc<dyn Guest>),
    Lost(String),
}

/// Connects. A guest that answered when this operation took its point, or began to try again, and has been silent
/// since for long, was cut off by the operation.
async fn reach(input: &ApplyInput<'_>, ports: &Ports<'_>) -> Result<Reached, ExecuteError> {
    let error = match connect(ports, PATIENCE).await {
        Ok(guest) => return Ok(Reached::Guest(guest)),
        Err(error) if is_lost(&error) => error,
        Err(error) => return Err(error),
    };
    let facts = ports.vm.observe().await?;
    let begun = facts.is_some_and(|facts| {
        let own = facts.points.iter().any(|point| point.name == input.point.name);
        facts.running && (own || (input.again && facts.points.iter().any(|point| point.current)))
    });
    if !begun {
        return Err(error);
    }
    match connect(ports, SILENCE).await {
        Ok(guest) => Ok(Reached::Guest(guest)),
        Err(error) if is_lost(&error) => Ok(Reached::Lost(format!(
            "the guest does not answer since the change: {error}"
        ))),
        Err(error) => Err(error),
    }
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
        let ended = match performance.perform(step).await {
            Ok(ended) => ended,
            Err(error) => judge(performance, step, error).await?,
        };
        match ended {
            Ended::Done => {}
            Ended::ItemsFailed(more) => {
                // The last look at a unit says most.
                failed.retain(|(unit, ..)| more.iter().all(|(other, ..)| other != unit));
                failed.extend(more);
            }
            Ended::Unbearable(message) => return Ok(Outcome::Unbearable(message)),
        }
        if performance.restores_on_failure() && matches!(step, Step::Verify(_)) && !failed.is_empty() {
            let names: Vec<&str> = failed.iter().map(|(unit, ..)| unit.as_str()).collect();
            return Ok(Outcome::Unbearable(format!("{} failed", names.join(", "))));
        }
    }
    Ok(Outcome::Recorded(recorded))
}

/// What a failed step means: the channel may be gone by what was just started, and files that the guest
/// refuses to take leave half a generation; both cannot stay. Anything else is tried again from the record.
async fn judge(
    performance: &mut Performance<'_>,
    step: &Step,
    error: ExecuteError,
) -> Result<Ended, ExecuteError> {
    let activated = matches!(step, Step::Activate(_) | Step::Verify(_) | Step::ProveChannel);
    if activated && is_lost(&error) {
        return match performance.prove().await? {
            Ended::Unbearable(message) => Ok(Ended::Unbearable(message)),
            _ => Err(error),
        };
    }
    let writing = matches!(step, Step::WriteFiles(_) | Step::RemoveFiles(_) | Step::Reload);
    match error {
        ExecuteError::Guest(error @ GuestError::Failed { .. }) if writing => Ok(Ended::Unbearable(format!(
            "the change could not be written as a whole: {error}"
        ))),
        error => Err(error),
    }
}

/// The manifest of this operation was written already: only the lock is left. Whether there was a point is
/// what the hypervisor says.
async fn finish(
    input: &ApplyInput<'_>,
    ports: &Ports<'_>,
    guest: &dyn Guest,
    manifest: Manifest,
) -> Result<ApplyReport, ExecuteError> {
    resume::release(guest, input.ids).await?;
    let points = ports.vm.observe().await?.map(|facts| facts.points);
    let taken = points
        .iter()
        .flatten()
        .find(|point| point.name == input.point.name);
    let taken_back = manifest.taken_back.clone();
    Ok(ApplyReport {
        manifest,
        taken_back: taken_back.filter(|t| t.operation == input.ids.operation),
        point: taken.map(|point| PointTaken {
            mode: point.mode,
            milliseconds: 0,
            size_bytes: 0,
            existed: true,
        }),
        traffic: guest.traffic(),
        ..ApplyReport::default()
    })
}
