//! Something may have changed: reads host and guest, plans, and applies when there is a difference.

use std::time::Duration;

use kube::ResourceExt as _;
use safetytwin_crds::condition::Verdict;
use safetytwin_crds::digitaltwin::{Applied, Drift};
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::APPROVE_REMOVAL;
use safetytwin_crds::revision::Content;
use safetytwin_crds::{DigitalTwin, HostState};

use super::conditions::{Findings, Stop};
use super::gather;
use super::home::uid_of;
use super::permit::identity;
use super::publish::Next;
use crate::controller::error::Error;
use crate::controller::operation::apply::{self, Wanted};
use crate::controller::operation::{Job, objects};
use crate::controller::sections::{self, HostRead, replicated};
use crate::execute::drift;
use crate::guest::{Guest, GuestAddress};
use crate::plan::diff::DiffInput;
use crate::plan::removal::WaitingOn;
use crate::plan::{self, Changes, Diff, Observation, preflight, quantity, retry, summary};

/// How long a difference in the guest must last before it counts as drift: units start one by one.
const DRIFT_LASTS: Duration = Duration::from_secs(3);

/// Short and long form of what drift repair does.
const BY_HAND: [&str; 2] = ["changes made by hand", "changes made by hand set right"];

/// Brings the twin to what its host runs, or says what is waited for.
pub async fn work(job: &Job<'_>, host: HostState, findings: &mut Findings) -> Result<Next, Error> {
    let twin = job.ledger.twin().await;
    let uid = uid_of(&twin)?;
    let address = job.home.address(job.facts);
    let guest = job.home.door.connect(&address).await?;
    findings.guest_reachable = Some(Verdict::yes("Reachable", ""));
    let manifest = guest.manifest().await?.unwrap_or_default();
    let wanted = replicated(&twin.spec);
    let read = sections::read_host(&job.ctx.client, host, &wanted).await?;
    complain(job, &twin, &read).await;
    let mut content = plan::desired(&read.items, &twin.spec);
    let diff = compare(job, &twin, &read, &content, &manifest);
    content.removed = diff.changes.removed.iter().map(|i| i.id.clone()).collect();
    content.removed.sort();
    job.ctx.memory.set_audited(&uid, job.ctx.clock.now());
    note(job, &read, &diff, &address).await?;
    if findings.stop.as_ref().is_none_or(|stop| stop.harmless) {
        findings.stop = diff.waiting.as_ref().map(waiting).or(findings.stop.take());
    }
    let root = read.head.spec.root_digest(&wanted);
    let retry = retry::is_only_retries(&diff.changes, &manifest);
    let vain = retry && is_vain(guest.as_ref(), &diff.changes, &manifest).await?;
    let changed = !diff.changes.is_empty() && !vain;
    let drifted = !changed && has_drifted(job, &twin, guest.as_ref(), &content, &manifest, findings).await?;
    if changed || drifted {
        if let Some(wait) = too_soon(job, &twin) {
            return Ok(Next::After(wait));
        }
        let (short, long) = match changed {
            true => told(&diff.changes, &manifest),
            false => BY_HAND.map(str::to_owned).into(),
        };
        let wanted = Wanted {
            content: &content,
            root_digest: root,
            summary: short,
            details: long,
            manifest_operation: manifest.operation,
            manifest_epoch: manifest.epoch,
            base: manifest.revision,
            pending: diff.pending.clone(),
            again: retry && changed && is_applied(job, &twin, &content, &manifest).await?,
            taken_back: manifest.taken_back.as_ref(),
        };
        apply::begin(job, &wanted).await?;
    } else {
        record(job, &twin, &content, &manifest, root).await?;
        if vain {
            job.ctx.memory.put_off_retry(&uid, job.ctx.clock.now());
        }
    }
    Ok(next(job, &twin, &read, &diff))
}

/// What a look leaves in status, whether or not something is to be done.
async fn note(job: &Job<'_>, read: &HostRead, diff: &Diff, address: &GuestAddress) -> Result<(), Error> {
    // A removal that was confirmed stays pending until the operation that carries it out is recorded.
    let confirmed = !diff.changes.removed.is_empty();
    let pending = diff.pending.clone();
    let who = identity(&read.head);
    let answers = address.addresses.first();
    job.ledger
        .update(|status| {
            if !confirmed {
                status.pending_removal = pending;
            }
            // Older agents published the machine id itself, which does not stay here either.
            let pinned = status.host.get_or_insert_with(|| who.clone());
            pinned.machine_id = who.machine_id;
            if let (Some(vm), Some(answers)) = (&mut status.vm, answers) {
                vm.address = Some(answers.to_string());
            }
        })
        .await
}

/// Short and long form of what changed on the host.
fn told(changes: &Changes, manifest: &Manifest) -> (String, String) {
    let news = retry::news(changes, manifest);
    (summary::short(&news), summary::long(&news))
}

/// Whether the guest still lacks what all these items failed for.
async fn is_vain(guest: &dyn Guest, changes: &Changes, manifest: &Manifest) -> Result<bool, Error> {
    let answers = guest.preflight(&preflight::query(changes)).await?;
    Ok(retry::is_vain(changes, manifest, &answers))
}

fn compare(
    job: &Job<'_>,
    twin: &DigitalTwin,
    read: &HostRead,
    content: &Content,
    manifest: &Manifest,
) -> Diff {
    let observation = Observation {
        boot_id: read.head.spec.boot_id.clone(),
        sequence: read.head.spec.sequence,
    };
    plan::diff(&DiffInput {
        content,
        manifest,
        items: &read.items,
        observation: &observation,
        replicate: &twin.spec.replicate,
        pending: twin.status.as_ref().and_then(|s| s.pending_removal.as_ref()),
        approved: twin.annotations().get(APPROVE_REMOVAL).map(String::as_str),
        re_render: twin.spec.re_render.as_deref(),
        now: job.ctx.clock.now(),
    })
}

/// Whether the revision in the guest is the one that is wanted.
async fn is_applied(
    job: &Job<'_>,
    twin: &DigitalTwin,
    content: &Content,
    manifest: &Manifest,
) -> Result<bool, Error> {
    let applied = objects::read_revision(&job.ctx.client, twin, manifest.revision).await?;
    Ok(applied
        .is_some_and(|(_, applied)| applied.items == content.items && applied.excluded == content.excluded))
}

/// Names what could not be read, once per content, and asks for it again.
async fn complain(job: &Job<'_>, twin: &DigitalTwin, read: &HostRead) {
    for (section, why) in &read.unreadable {
        job.ctx.memory.want_resend(&read.head.name_any());
        let note =
            format!("section {section} of the host is not readable, its items stay as they are: {why}");
        job.ctx.events.warning(twin, "SectionUnreadable", &note).await;
    }
    for (section, item) in sections::refused(&read.items) {
        let note = format!("{section}: {} is refused: {}", item.name, item.why);
        job.ctx.events.warning(twin, "ItemRefused", &note).await;
    }
}

/// Whether the guest was changed by hand and is to be set right.
async fn has_drifted(
    job: &Job<'_>,
    twin: &DigitalTwin,
    guest: &dyn Guest,
    content: &Content,
    manifest: &Manifest,
    findings: &mut Findings,
) -> Result<bool, Error> {
    if twin.spec.drift == Drift::Ignore || drift::look(guest, content, manifest).await?.is_empty() {
        return Ok(false);
    }
    tokio::time::sleep(DRIFT_LASTS).await;
    let found = drift::look(guest, content, manifest).await?;
    if found.is_empty() {
        return Ok(false);
    }
    let names: Vec<String> = found
        .files
        .union(&found.states)
        .map(ToString::to_string)
        .take(5)
        .collect();
    let note = format!("changed by hand in the twin: {}", names.join(", "));
    job.ctx.events.warning(twin, "Drifted", &note).await;
    if twin.spec.drift == Drift::Report {
        findings.stop = Some(Stop {
            harmless: true,
            ..Stop::new("Drifted", note)
        });
        return Ok(false);
    }
    Ok(true)
}

/// How much of the least distance between two automatic points is left.
fn too_soon(job: &Job<'_>, twin: &DigitalTwin) -> Option<Duration> {
    let least = quantity::milliseconds(&twin.spec.snapshots.coalesce).unwrap_or(0);
    let last: jiff::Timestamp = twin.status.as_ref()?.changed_time.as_ref()?.parse().ok()?;
    let since = job.ctx.clock.now().duration_since(last);
    let since = Duration::try_from(since).unwrap_or_default();
    Duration::from_millis(least)
        .checked_sub(since)
        .filter(|d| !d.is_zero())
}

/// The guest has it all: status says so.
async fn record(
    job: &Job<'_>,
    twin: &DigitalTwin,
    content: &Content,
    manifest: &Manifest,
    root: safetytwin_crds::Digest,
) -> Result<(), Error> {
    let uid = uid_of(twin)?;
    let items = plan::status::items(content, manifest);
    let incarnation = apply::incarnation(job, &uid).await?;
    job.ctx.memory.set_retry(&uid, apply::next_retry(manifest));
    let applied = Applied {
        revision: manifest.revision,
        root_digest: root,
        generation: twin.metadata.generation.unwrap_or(0),
    };
    job.ledger
        .update(|status| {
            status.running = Some(items.fraction());
            status.not_replicated = items.not_replicated;
            status.applied = Some(applied);
            if let (Some(vm), Some(incarnation)) = (&mut status.vm, incarnation) {
                vm.incarnation = Some(incarnation);
            }
        })
        .await
}

fn waiting(on: &WaitingOn) -> Stop {
    match on {
        WaitingOn::SecondObservation { items } => Stop {
            harmless: true,
            ..Stop::new(
                "SecondObservation",
                format!("items that left the host go when a later head confirms it: {items}"),
            )
        },
        WaitingOn::Approval { digest, items } => Stop::new(
            "RemovalNeedsApproval",
            format!(
                "{items} items left the host at once: if that is right, kubectl annotate digitaltwin NAME {APPROVE_REMOVAL}={digest}"
            ),
        ),
    }
}

fn next(job: &Job<'_>, twin: &DigitalTwin, read: &HostRead, diff: &Diff) -> Next {
    match (&diff.waiting, diff.retry_at) {
        (Some(WaitingOn::SecondObservation { .. }), _) => {
            let interval = u64::try_from(read.head.spec.interval_seconds).unwrap_or(10);
            Next::After(Duration::from_secs(interval) + Duration::from_millis(500))
        }
        (_, Some(at)) => Next::After(gather::until(job.ctx, at)),
        _ => gather::rest(job.ctx, twin),
    }
}
