//! What differs between what a twin is to run and what its guest's manifest says.
//!
//! Rendered bytes, run class and enablement decide, all in one digest. A difference that comes only
//! from a newer renderer waits for the item's next change or `spec.reRender`.

use std::cmp::Ordering;

use jiff::Timestamp;
use safetytwin_crds::digitaltwin::{PendingRemoval, Replicate};
use safetytwin_crds::manifest::{Manifest, ManifestItem};
use safetytwin_crds::revision::{Content, DesiredItem};

use super::removal::{self, Observation, RemovalInput, WaitingOn};
use super::{Changes, HostItems};

/// What a diff is made from.
#[derive(Clone, Copy, Debug)]
pub struct DiffInput<'a> {
    /// The twin's desired content.
    pub content: &'a Content,
    /// What the guest has; the default at first contact.
    pub manifest: &'a Manifest,
    /// Items of the host, with the state of each section.
    pub items: &'a HostItems,
    /// Which head they are from.
    pub observation: &'a Observation,
    /// `status.pendingRemoval`.
    pub pending: Option<&'a PendingRemoval>,
    /// Value of the annotation `safetytwin.com/approve-removal`.
    pub approved: Option<&'a str>,
    /// `spec.replicate`: items of a kind that it leaves out are removed at once.
    pub replicate: &'a Replicate,
    /// `spec.reRender`.
    pub re_render: Option<&'a str>,
    /// Now, for retries of failed items.
    pub now: Timestamp,
}

/// The answer of [`diff`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// What differs.
    pub changes: Changes,
    /// For `status.pendingRemoval`; `None` clears it.
    pub pending: Option<PendingRemoval>,
    /// Removals wait for this; everything else goes on.
    pub waiting: Option<WaitingOn>,
    /// When the first failed item is due for its next attempt; `None` when none waits.
    pub retry_at: Option<Timestamp>,
}

impl Changes {
    /// Nothing is to be done in the guest.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Whether failed items are tried again as they are, and nothing else is done.
pub fn is_retry(changes: &Changes, manifest: &Manifest) -> bool {
    let failed_so = |item: &DesiredItem| {
        manifest
            .item(&item.id)
            .is_some_and(|placed| placed.failure.is_some() && placed.rendered_digest == item.rendered_digest)
    };
    changes.added.is_empty() && changes.removed.is_empty() && changes.changed.iter().all(failed_so)
}

/// What decides how an item stands.
#[derive(Clone, Copy)]
struct Criteria<'a> {
    content: &'a Content,
    manifest: &'a Manifest,
    re_render: Option<&'a str>,
    now: Timestamp,
}

impl<'a> From<&DiffInput<'a>> for Criteria<'a> {
    fn from(input: &DiffInput<'a>) -> Self {
        Self {
            content: input.content,
            manifest: input.manifest,
            re_render: input.re_render,
            now: input.now,
        }
    }
}

/// How one desired item stands to what the guest has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Untouched,
    Changed,
    /// Failed, and not due before this time.
    BackedOff(Timestamp),
}

/// The changes of an operation whose revision is recorded: from the revision and the manifest alone, so that an
/// interrupted apply is finished as it was decided, whatever the host says meanwhile.
pub fn recorded(content: &Content, manifest: &Manifest, re_render: Option<&str>, now: Timestamp) -> Changes {
    let criteria = Criteria {
        content,
        manifest,
        re_render,
        now,
    };
    let mut changes = Changes::default();
    for (item, placed) in pairs(&content.items, &manifest.items) {
        match placed.map(|placed| (standing(&criteria, item, placed), placed)) {
            None => changes.added.push(item.clone()),
            Some((Standing::Changed, _)) => changes.changed.push(item.clone()),
            Some((_, placed)) => changes.untouched.push(placed.clone()),
        }
    }
    let wanted = |id| content.items.binary_search_by(|item| item.id.cmp(id)).is_ok();
    for placed in manifest.items.iter().filter(|placed| !wanted(&placed.id)) {
        let list = match content.removed.binary_search(&placed.id) {
            Ok(_) => &mut changes.removed,
            Err(_) => &mut changes.kept,
        };
        list.push(placed.clone());
    }
    changes
}

/// Compares content and manifest; judges removals.
pub fn diff(input: &DiffInput<'_>) -> Diff {
    let mut changes = Changes::default();
    let mut retry_at = None;
    for (item, placed) in pairs(&input.content.items, &input.manifest.items) {
        let Some(placed) = placed else {
            changes.added.push(item.clone());
            continue;
        };
        match standing(&input.into(), item, placed) {
            Standing::Changed => changes.changed.push(item.clone()),
            Standing::Untouched => changes.untouched.push(placed.clone()),
            Standing::BackedOff(until) => {
                retry_at = Some(retry_at.map_or(until, |at: Timestamp| at.min(until)));
                changes.untouched.push(placed.clone());
            }
        }
    }
    let removals = removal::judge(&RemovalInput {
        content: input.content,
        manifest: input.manifest,
        items: input.items,
        observation: input.observation,
        pending: input.pending,
        approved: input.approved,
        replicate: input.replicate,
    });
    changes.removed = removals.removed;
    changes.kept = removals.kept;
    Diff {
        changes,
        pending: removals.pending,
        waiting: removals.waiting,
        retry_at,
    }
}

/// Whether the guest has exactly this content and nothing waits: the answer nearly always, without
/// building anything.
pub fn in_sync(input: &DiffInput<'_>) -> bool {
    input.pending.is_none()
        && input.content.items.len() == input.manifest.items.len()
        && input
            .content
            .items
            .iter()
            .zip(&input.manifest.items)
            .all(|(item, placed)| {
                item.id == placed.id && standing(&input.into(), item, placed) == Standing::Untouched
            })
}

fn standing(input: &Criteria<'_>, item: &DesiredItem, placed: &ManifestItem) -> Standing {
    let same = item.rendered_digest == placed.rendered_digest;
    if !same && !is_only_newer_renderer(input, item, placed) {
        return Standing::Changed;
    }
    let Some(failure) = &placed.failure else {
        return Standing::Untouched;
    };
    match failure.retry_after.parse::<Timestamp>() {
        Ok(until) if until > input.now => Standing::BackedOff(until),
        _ => Standing::Changed,
    }
}

fn is_only_newer_renderer(input: &Criteria<'_>, item: &DesiredItem, placed: &ManifestItem) -> bool {
    item.item_digest == placed.item_digest
        && placed.run == item.run
        && input.content.renderer > placed.renderer
        && input.re_render == input.manifest.re_render.as_deref()
}

/// Each desired item with what the manifest has of it. Both lists are sorted by id.
fn pairs<'a>(
    items: &'a [DesiredItem],
    placed: &'a [ManifestItem],
) -> impl Iterator<Item = (&'a DesiredItem, Option<&'a ManifestItem>)> {
    let mut placed = placed.iter().peekable();
    items.iter().map(move |item| {
        while let Some(next) = placed.peek() {
            match next.id.cmp(&item.id) {
                Ordering::Less => {
                    placed.next();
                }
                Ordering::Equal => return (item, placed.next()),
                Ordering::Greater => break,
            }
        }
        (item, None)
    })
}
