//! The operation Apply: brings a twin to a revision, with a point of the state before.

use kube::ResourceExt as _;
use safetytwin_crds::condition::Verdict;
use safetytwin_crds::digitaltwin::{Applied, OnFailure, Operation, OperationKind, PendingRemoval};
use safetytwin_crds::manifest::{Manifest, TakenBack};
use safetytwin_crds::revision::Content;
use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::TakenMode;
use safetytwin_crds::{Digest, DigitalTwin};

use super::journal::{OperationJournal, PointNote};
use super::objects::{self, NewRevision};
use super::{Job, dotless, history, name_of, prune};
use crate::controller::error::Error;
use crate::controller::twin::home::uid_of;
use crate::execute::{self, ApplyInput, ApplyReport, Ports};
use crate::plan::number;
use crate::plan::point_mode::{self, ChosenMode, PointFacts};
use crate::plan::status;
use crate::plan::steps::OperationIds;
use crate::vm::PointRequest;

/// What is to be applied.
pub struct Wanted<'a> {
    /// The desired content.
    pub content: &'a Content,
    /// Root digest of the host state that it comes from.
    pub root_digest: Digest,
    /// Short form of what changes.
    pub summary: String,
    /// Long form.
    pub details: String,
    /// Operation number in the guest's manifest.
    pub manifest_operation: i64,
    /// Epoch in the guest's manifest.
    pub manifest_epoch: i64,
    /// Revision in the guest's manifest.
    pub base: i64,
    /// Removals that wait beyond this operation.
    pub pending: Option<PendingRemoval>,
    /// Items of the revision in the guest's manifest failed, and are tried again as they are.
    pub again: bool,
    /// What the guest's manifest says was taken back.
    pub taken_back: Option<&'a TakenBack>,
}

/// Records a new apply and performs it. A retry is of the revision that is applied already: it writes
/// none of its own.
pub async fn begin(job: &Job<'_>, wanted: &Wanted<'_>) -> Result<ApplyReport, Error> {
    let epoch = job.claim(wanted.manifest_epoch).await?;
    let number = job.next_number(wanted.manifest_operation).await?;
    let twin = job.ledger.twin().await;
    let operation = Operation {
        number,
        kind: OperationKind::Apply,
        base_revision: wanted.base,
        target_revision: if wanted.again { wanted.base } else { number },
        snapshot_name: name_of(&twin, shared_point(job, &twin, wanted).unwrap_or(number))?,
        epoch,
        started_time: job.ctx.clock.now().to_string(),
        restore_name: None,
        summary: wanted.summary.clone(),
    };
    let mode = choose_mode(job, &twin, PointMode::Auto, &dotless(&operation.snapshot_name)).await?;
    if !wanted.again {
        let revision = NewRevision {
            number,
            content: wanted.content,
            root_digest: wanted.root_digest,
            summary: &wanted.details,
        };
        objects::write_revision(&job.ctx.client, &twin, &revision).await?;
    }
    let pending = wanted.pending.clone();
    job.begin(operation.clone(), |status| status.pending_removal = pending)
        .await?;
    let source = Source {
        content: wanted.content,
        root_digest: wanted.root_digest,
        generation: twin.metadata.generation,
    };
    perform(job, &operation, mode, source).await
}

/// The number of the point that a retry shares with the attempt before it: the twin was taken back to that
/// point, so another one would only be its copy.
fn shared_point(job: &Job<'_>, twin: &DigitalTwin, wanted: &Wanted<'_>) -> Option<i64> {
    let taken_back = wanted.taken_back.filter(|_| wanted.again)?;
    let current = job.facts.points.iter().find(|point| point.current)?;
    let uid = twin.uid().unwrap_or_default();
    (current.name == taken_back.point)
        .then(|| number::parse(&current.name, &dotless(&twin.name_any()), &uid))
        .flatten()
}

/// Finishes an apply that another run, or another process, began.
pub async fn resume(job: &Job<'_>, operation: &Operation) -> Result<(), Error> {
    let twin = job.ledger.twin().await;
    let found = objects::read_revision(&job.ctx.client, &twin, operation.target_revision).await?;
    let Some((revision, content)) = found else {
        job.ctx
            .events
            .warning(
                &twin,
                "RevisionMissing",
                "the revision of the operation under way was deleted; planning anew",
            )
            .await;
        return job.ledger.update(|s| s.operation = None).await;
    };
    tracing::info!(
        twin = twin.name_any(),
        number = operation.number,
        "finishing an apply"
    );
    let claimed = job.claim(operation.epoch).await?;
    let operation = Operation {
        epoch: claimed,
        ..operation.clone()
    };
    let mode = choose_mode(job, &twin, PointMode::Auto, &dotless(&operation.snapshot_name)).await?;
    let source = Source {
        content: &content,
        root_digest: revision.spec.root_digest,
        generation: Some(revision.spec.generation),
    };
    perform(job, &operation, mode, source).await?;
    Ok(())
}

/// What an apply brings the twin to, and where it comes from.
struct Source<'a> {
    content: &'a Content,
    /// Of the host state.
    root_digest: Digest,
    /// Of the twin.
    generation: Option<i64>,
}

async fn perform(
    job: &Job<'_>,
    operation: &Operation,
    mode: ChosenMode,
    source: Source<'_>,
) -> Result<ApplyReport, Error> {
    let twin = job.ledger.twin().await;
    let note = PointNote {
        snapshot: operation.snapshot_name.clone(),
        point: dotless(&operation.snapshot_name),
        mode,
        revision: operation.base_revision,
        before: operation.summary.clone(),
    };
    let ids = OperationIds {
        twin_uid: uid_of(&twin)?,
        epoch: operation.epoch,
        operation: operation.number,
        revision: operation.target_revision,
    };
    let point = PointRequest {
        name: note.point.clone(),
        mode: note.mode.mode,
    };
    let input = ApplyInput {
        ids: &ids,
        content: source.content,
        point: &point,
        re_render: twin.spec.re_render.as_deref(),
        repair: twin.spec.drift == safetytwin_crds::digitaltwin::Drift::Repair,
        restore_on_failure: twin.spec.on_failure == OnFailure::Restore,
        again: operation.base_revision == operation.target_revision,
    };
    let journal = OperationJournal::new(job.ctx, job.ledger, twin.clone(), note);
    let address = job.home.address(job.facts);
    let ports = Ports {
        vm: job.home.vm.as_ref(),
        door: job.home.door.as_ref(),
        address: &address,
        journal: &journal,
    };
    let report = execute::apply(&input, &ports).await?;
    let applied = Applied {
        revision: report.manifest.revision,
        root_digest: source.root_digest,
        generation: source.generation.unwrap_or(0),
    };
    finish(job, operation, source.content, &report, applied).await?;
    Ok(report)
}

/// Prunes, and writes what an apply left: revision, status, events, metrics.
async fn finish(
    job: &Job<'_>,
    operation: &Operation,
    content: &Content,
    report: &ApplyReport,
    applied: Applied,
) -> Result<(), Error> {
    let now = job.ctx.clock.now();
    let twin = job.ledger.twin().await;
    let items = status::items(content, &report.manifest);
    let result = match (&report.taken_back, items.failed.is_empty()) {
        (Some(_), _) => "Failed",
        (None, true) => "Applied",
        (None, false) => "ItemsFailed",
    };
    let verdict = match &report.taken_back {
        None => Verdict::yes("Applied", ""),
        Some(back) => Verdict::no("TakenBack", back.why.clone()),
    };
    objects::mark_revision(&job.ctx.client, &twin, operation.target_revision, verdict, now).await?;
    let incarnation = incarnation(job, &uid_of(&twin)?).await?;
    job.ctx
        .memory
        .set_retry(&uid_of(&twin)?, next_retry(&report.manifest));
    if has_changed(report) {
        // Before the operation ends: whoever takes it up prunes, too.
        prune::surplus(job, &twin).await?;
    }
    job.ledger
        .update(|status| {
            status.running = Some(items.fraction());
            status.not_replicated = items.not_replicated.clone();
            status.applied = Some(applied);
            if let (Some(vm), Some(incarnation)) = (&mut status.vm, incarnation) {
                vm.incarnation = Some(incarnation);
            }
            if has_changed(report) {
                history::finish(status, operation, result, report.manifest.revision, now);
            } else {
                status.operation = None;
            }
        })
        .await?;
    announce(job, &twin, operation, report, result).await;
    Ok(())
}

/// Whether the twin is not as it was before: a vain attempt, and one that only tried again, are no change.
fn has_changed(report: &ApplyReport) -> bool {
    report.point.is_some() || report.taken_back.is_some()
}

/// Events and metrics of a finished apply.
async fn announce(
    job: &Job<'_>,
    twin: &DigitalTwin,
    operation: &Operation,
    report: &ApplyReport,
    result: &'static str,
) {
    let took = job.counted(operation, "apply", result).as_millis();
    tracing::info!(
        twin = twin.name_any(), number = operation.number, result, took_ms = took,
        point_ms = report.point.as_ref().map_or(0, |p| p.milliseconds), summary = operation.summary,
        steps = ?report.steps, "applied"
    );
    if let Some(point) = report.point.as_ref().filter(|point| !point.existed) {
        let name = &operation.snapshot_name;
        let text = format!(
            "{name}: {:?}, {}",
            point.mode,
            history::seconds(point.milliseconds.try_into().unwrap_or(0))
        );
        job.ctx.events.normal(twin, "SnapshotTaken", &text).await;
    }
    if !has_changed(report) {
        return;
    }
    let c = report.counts;
    let text = format!(
        "{}: {} changed, {} untouched, {} reload, {}",
        operation.summary,
        c.added + c.changed + c.removed,
        c.untouched,
        report.reloads,
        history::seconds(i64::try_from(took).unwrap_or(0))
    );
    match &report.taken_back {
        None => job.ctx.events.normal(twin, "UnitsApplied", &text).await,
        Some(back) => job.ctx.events.warning(twin, "TakenBack", &back.why).await,
    }
}

/// The first time at which a failed item is due again.
pub fn next_retry(manifest: &Manifest) -> Option<jiff::Timestamp> {
    let failures = manifest.items.iter().filter_map(|i| i.failure.as_ref());
    failures.filter_map(|f| f.retry_after.parse().ok()).min()
}

/// Which incarnation of machine and guest is set right now. The own point changes the machine's.
pub async fn incarnation(job: &Job<'_>, uid: &str) -> Result<Option<String>, Error> {
    let Some(facts) = job.home.vm.observe().await? else {
        return Ok(None);
    };
    job.ctx.memory.saw_machine(uid, &facts.incarnation);
    let address = job.home.address(job.facts);
    let guest = job.home.door.connect(&address).await?;
    let boot = guest.boot_id().await?;
    job.ctx.memory.is_new_connection(uid, &guest);
    job.ctx.memory.saw_boot(uid, &boot);
    Ok(Some(format!("{} {boot}", facts.incarnation)))
}

/// The mode of a point, or why there is no space for one. Asked before an operation is recorded: one that is under way
/// has its point, and is finished whatever space is left.
pub async fn choose_mode(
    job: &Job<'_>,
    twin: &DigitalTwin,
    asked: PointMode,
    point: &str,
) -> Result<ChosenMode, Error> {
    let limits = &job.home.class.spec.snapshots;
    if !job.facts.points.iter().any(|taken| taken.name == point) {
        point_mode::check_space(limits, job.facts.free_bytes).map_err(|full| Error::NotYet {
            reason: "LowSpace",
            message: full.to_string(),
        })?;
    }
    let snapshots = objects::list_snapshots(&job.ctx.client, twin).await?;
    let last_full = snapshots
        .iter()
        .filter_map(|s| s.status.as_ref())
        .filter(|s| s.mode == Some(TakenMode::Full))
        .filter_map(|s| Some((s.taken_time.clone()?, s.pause_milliseconds?)))
        .max();
    let facts = PointFacts {
        asked,
        memory_bytes: job.facts.memory_bytes,
        last_full_milliseconds: last_full.and_then(|(_, ms)| u64::try_from(ms).ok()),
        free_bytes: job.facts.free_bytes,
    };
    Ok(point_mode::choose(limits, &facts))
}
