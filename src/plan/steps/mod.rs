//! From changes and the guest's own answers to steps, in the order of design §4.
//!
//! Units are classed by what the guest says before anything is written: not loaded (write, start,
//! no reload), property only, loaded (one reload for all), masked, removed. Units of untouched items
//! stand in no step. An operation that was cut short is planned again from the same revision and
//! manifest; [`Resumed`] then says what was true before its first effect.

mod work;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use safetytwin_crds::item::{ItemId, Reason, RunClass};
use safetytwin_crds::manifest::{FORMAT, ItemFailure, Manifest, ManifestItem, TakenBack};
use safetytwin_crds::names::{UnitName, printable};
use safetytwin_crds::revision::{Content, DesiredItem};

use super::preflight::{self, Fitted};
use super::{Changes, Step, retry};
use crate::facts::{Preflight, UnitFacts};
use crate::render::Refusal;
use work::Work;

/// Wait before the second attempt of a failed item; doubled each time.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(60);
/// Longest wait between two attempts of a failed item.
const LAST_RETRY: SignedDuration = SignedDuration::from_hours(6);

/// Numbers and names of the operation that the steps belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationIds {
    /// UID of the twin.
    pub twin_uid: String,
    /// Epoch of this controller.
    pub epoch: i64,
    /// Operation number.
    pub operation: i64,
    /// Number of the revision that is applied.
    pub revision: i64,
}

/// What the guest's operation record says about an operation that was cut short after its Lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// InvocationID before the operation of every unit that it was to start or restart.
    pub invocations: BTreeMap<String, String>,
    /// Files of loaded units were to be written and no reload came after.
    pub reload_owed: bool,
    /// Units that were enabled before the operation.
    pub enabled: BTreeSet<String>,
    /// The guest has booted since: what runs is of that boot, and only `enabled` is still true.
    pub rebooted: bool,
    /// The operation took no point.
    pub without_point: bool,
}

/// What steps are made from.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// What differs.
    pub changes: &'a Changes,
    /// The content of the revision.
    pub content: &'a Content,
    /// What the guest has; at first contact the default with `own_units`.
    pub manifest: &'a Manifest,
    /// Answers to [`preflight::query`].
    pub preflight: &'a Preflight,
    /// Facts about [`preflight::units`].
    pub units: &'a [UnitFacts],
    /// Present when this operation's record is already in the guest.
    pub resumed: Option<&'a Resumed>,
    /// Names of the operation.
    pub ids: &'a OperationIds,
    /// `spec.reRender`.
    pub re_render: Option<&'a str>,
    /// Now, for the next attempt of failed items.
    pub now: Timestamp,
}

/// An item that is not applied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedItem {
    /// The item.
    pub id: ItemId,
    /// As it stands in the manifest of [`Step::Record`].
    pub failure: ItemFailure,
}

/// What to do, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// Empty when nothing is to be done, not even to be recorded.
    pub steps: Vec<Step>,
    /// Items that the guest cannot have; the others go on.
    pub failures: Vec<FailedItem>,
    /// Something in the guest changes. Otherwise only the manifest is written.
    pub has_effects: bool,
    /// What failed before is started again and nothing else is done: the point before the change that
    /// brought it is still the one to go back to, so no other is taken.
    pub without_point: bool,
}

/// The steps of one apply. The last [`Step::Record`] holds the manifest as it is when everything
/// succeeds; `execute` adds what failed with [`record_failures`].
pub fn steps(input: &StepInput<'_>) -> StepPlan {
    if input.changes.is_empty() {
        return StepPlan::default();
    }
    let mut work = Work::new(input);
    let mut placed: Vec<ManifestItem> = input.changes.untouched.clone();
    placed.extend(input.changes.kept.iter().cloned());
    let mut failures = Vec::new();
    for item in input.changes.added.iter().chain(&input.changes.changed) {
        match preflight::fit(item, input.preflight) {
            Ok(fitted) => placed.push(work.place(&fitted)),
            Err(refusal) => {
                let entry = not_placed(input, item, &refusal);
                failures.extend(entry.failure.clone().map(|failure| FailedItem {
                    id: item.id.clone(),
                    failure,
                }));
                placed.push(entry);
            }
        }
    }
    placed.sort_by(|a, b| a.id.cmp(&b.id));
    for item in &input.changes.removed {
        work.remove(item, &placed);
    }
    work.forget_files_in_use(&placed);
    let has_effects = work.has_effects();
    let without_point = has_effects
        && match input.resumed {
            Some(resumed) => resumed.without_point,
            None => work.has_only_jobs() && retry::is_only_retries(input.changes, input.manifest),
        };
    let mut manifest = manifest(input, placed);
    if !has_effects {
        manifest.taken_back.clone_from(&input.manifest.taken_back);
    }
    StepPlan {
        steps: order(work, has_effects, without_point, manifest),
        failures,
        has_effects,
        without_point,
    }
}

/// The manifest after an operation that could not be finished and was taken back to `point`: what was there stays,
/// and the changed items are set aside, half of them for twice as long, so that the next attempts find the culprit.
pub fn quarantine(input: &StepInput<'_>, point: &str, message: &str) -> Manifest {
    let refusal = Refusal::new(Reason::FailedToApply, message);
    let mut items: Vec<ManifestItem> = input.changes.untouched.clone();
    items.extend(input.changes.kept.iter().chain(&input.changes.removed).cloned());
    let asked = input.changes.added.iter().chain(&input.changes.changed);
    let half = (input.changes.added.len() + input.changes.changed.len()).div_ceil(2);
    items.extend(asked.enumerate().map(|(place, item)| {
        let later = if place < half {
            SignedDuration::ZERO
        } else {
            FIRST_RETRY
        };
        let now = input.now.checked_add(later).unwrap_or(input.now);
        not_placed(&StepInput { now, ..*input }, item, &refusal)
    }));
    items.sort_by(|a, b| a.id.cmp(&b.id));
    Manifest {
        taken_back: Some(TakenBack {
            operation: input.ids.operation,
            point: point.to_owned(),
            why: printable(message, 256),
        }),
        ..manifest(input, items)
    }
}

/// The order of design §4; steps without content are left out.
fn order(work: Work<'_>, has_effects: bool, without_point: bool, manifest: Manifest) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend((has_effects && !without_point).then_some(Step::TakePoint));
    steps.push(Step::Lock);
    // Without effects only Verify is left: what is up already may not stay so.
    steps.extend(work.into_steps());
    steps.extend(has_effects.then_some(Step::ProveChannel));
    steps.extend([Step::Record(manifest), Step::Unlock]);
    steps
}

fn manifest(input: &StepInput<'_>, items: Vec<ManifestItem>) -> Manifest {
    Manifest {
        format: FORMAT,
        renderer: input.content.renderer,
        twin_uid: input.ids.twin_uid.clone(),
        epoch: input.ids.epoch,
        operation: input.ids.operation,
        revision: input.ids.revision,
        items,
        own_units: input.manifest.own_units.clone(),
        re_render: input.re_render.map(str::to_owned),
        taken_back: None,
    }
}

/// The manifest's entry of an item that was placed as asked for.
fn placed_item(input: &StepInput<'_>, fitted: &Fitted<'_>, enabled_by_us: bool) -> ManifestItem {
    let item = fitted.item;
    ManifestItem {
        id: item.id.clone(),
        item_digest: item.item_digest,
        rendered_digest: item.rendered_digest,
        files_digest: (!fitted.files.is_empty()).then(|| DesiredItem::digest_of_files(fitted.files)),
        renderer: input.content.renderer,
        unit: item.unit.clone(),
        files: fitted.files.iter().map(|f| f.path.clone()).collect(),
        run: item.run,
        enabled_by_us,
        vendor: is_vendor(input.manifest, item),
        fallback: fitted.fallback,
        failure: None,
    }
}

/// The unit was there before us.
fn is_vendor(manifest: &Manifest, item: &DesiredItem) -> bool {
    let name = item.unit.as_str();
    item.needs.vendor_unit.is_some()
        || manifest
            .own_units
            .binary_search_by(|u| u.as_str().cmp(name))
            .is_ok()
}

/// The manifest's entry of an item that the guest cannot have: what it had before stays.
fn not_placed(input: &StepInput<'_>, item: &DesiredItem, refusal: &Refusal) -> ManifestItem {
    let before = input.manifest.item(&item.id);
    ManifestItem {
        id: item.id.clone(),
        item_digest: item.item_digest,
        rendered_digest: item.rendered_digest,
        files_digest: before.and_then(|b| b.files_digest),
        renderer: input.content.renderer,
        unit: item.unit.clone(),
        files: before.map(|b| b.files.clone()).unwrap_or_default(),
        run: item.run,
        enabled_by_us: before.is_some_and(|b| b.enabled_by_us),
        vendor: is_vendor(input.manifest, item),
        fallback: before.is_some_and(|b| b.fallback),
        failure: Some(failure(
            before,
            item.rendered_digest,
            refusal.reason,
            &refusal.message,
            input.now,
        )),
    }
}

fn failure(
    before: Option<&ManifestItem>,
    rendered: safetytwin_crds::digest::Digest,
    reason: Reason,
    message: &str,
    now: Timestamp,
) -> ItemFailure {
    let attempts = before
        .filter(|b| b.rendered_digest == rendered)
        .and_then(|b| b.failure.as_ref())
        .map_or(0, |f| f.attempts.max(0))
        .saturating_add(1);
    let doublings = u32::try_from(attempts - 1).unwrap_or_default().min(16);
    let wait = FIRST_RETRY
        .checked_mul(1_i32 << doublings)
        .map_or(LAST_RETRY, |wait| wait.min(LAST_RETRY));
    ItemFailure {
        reason,
        message: printable(message, 256),
        attempts,
        retry_after: now.checked_add(wait).unwrap_or(Timestamp::MAX).to_string(),
    }
}

/// Writes into the manifest of [`Step::Record`] which units failed while they were applied:
/// `before` is the manifest that the plan was made from. A unit that the host has failed may fail
/// to start: that is what was asked for.
pub fn record_failures(
    manifest: &mut Manifest,
    before: &Manifest,
    failed: &[(UnitName, Reason, String)],
    now: Timestamp,
) {
    for item in &mut manifest.items {
        let as_on_host = |reason: Reason| item.run == RunClass::Failed && reason == Reason::FailedToStart;
        let found = failed
            .iter()
            .find(|(unit, reason, _)| *unit == item.unit && !as_on_host(*reason));
        if let Some((_, reason, message)) = found {
            let previous = before.item(&item.id);
            item.failure = Some(failure(previous, item.rendered_digest, *reason, message, now));
        }
    }
}
