//! When an item that is missing on the host leaves the twin: only after two complete observations,
//! never many at once without being asked for.
//!
//! An item is missing when its section is Complete and does not list it, not even as refused. The
//! first observation is kept in `status.pendingRemoval`; a later head (higher sequence, or another
//! boot id) that still lacks it confirms. Confirmed removals of more than 3 items and 30 % of what
//! the twin has of a section, or of all of several, wait for the annotation
//! `safetytwin.com/approve-removal: <digest>`.

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::digest::Digest;
use safetytwin_crds::digitaltwin::{PendingRemoval, Replicate};
use safetytwin_crds::item::{ItemId, ItemKind, Reason};
use safetytwin_crds::manifest::{Manifest, ManifestItem};
use safetytwin_crds::names::printable;
use safetytwin_crds::revision::Content;
use safetytwin_crds::section::{RefusedItem, SectionState};

use super::HostItems;

/// Most items that `status.pendingRemoval` lists; the others wait for their turn.
const MAX_PENDING: usize = 1000;
/// This many removals of a section never need approval, unless they are all it has.
const FREE_REMOVALS: usize = 3;
/// Share of a section, in percent, beyond which removals need approval.
const FREE_PERCENT: usize = 30;

/// Which head the items are from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Boot id of the host.
    pub boot_id: String,
    /// Sequence of the head.
    pub sequence: i64,
}

impl Observation {
    /// Whether this head was written after the pending one's.
    fn is_later_than(&self, pending: &PendingRemoval) -> bool {
        self.boot_id != pending.boot_id || self.sequence > pending.sequence
    }
}

/// What a plan waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// A later head that still lacks these items; come back after the host's `intervalSeconds`.
    SecondObservation {
        /// How many items are missing.
        items: usize,
    },
    /// An administrator's word, because so many items would go.
    Approval {
        /// Value of the annotation `safetytwin.com/approve-removal`.
        digest: Digest,
        /// How many items would go.
        items: usize,
    },
}

/// The verdict on all items that the manifest has and the content has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// To be removed now.
    pub removed: Vec<ManifestItem>,
    /// Kept as they are.
    pub kept: Vec<ManifestItem>,
    /// For `status.pendingRemoval`; `None` clears it.
    pub pending: Option<PendingRemoval>,
    /// Why something is kept that is missing on the host.
    pub waiting: Option<WaitingOn>,
}

/// What removals are judged by.
#[derive(Clone, Copy, Debug)]
pub struct RemovalInput<'a> {
    /// The twin's desired content.
    pub content: &'a Content,
    /// What the guest has.
    pub manifest: &'a Manifest,
    /// Items of the host, with the state of each section.
    pub items: &'a HostItems,
    /// Which head they are from.
    pub observation: &'a Observation,
    /// `status.pendingRemoval`.
    pub pending: Option<&'a PendingRemoval>,
    /// Value of the annotation that approves a mass removal.
    pub approved: Option<&'a str>,
    /// `spec.replicate`: items of a kind that it leaves out are removed at once.
    pub replicate: &'a Replicate,
}

/// Judges every item of the manifest that is not in the content.
pub fn judge(input: &RemovalInput<'_>) -> Removals {
    let excluded = excluded_by_user(input.content);
    let present: BTreeSet<&str> = input.content.excluded.iter().map(|e| e.item.as_str()).collect();
    let mut removals = Removals::default();
    let mut missing = Vec::new();
    for item in &input.manifest.items {
        let name = printable(&item.id.to_string(), 300);
        if has(input.content, &item.id) {
            continue;
        } else if excluded.contains(name.as_str()) || !is_replicated(input.replicate, item.id.kind) {
            removals.removed.push(item.clone());
        } else if present.contains(name.as_str()) || !is_missing(input.items, &item.id) {
            removals.kept.push(item.clone());
        } else {
            missing.push(item);
        }
    }
    judge_missing(input, missing, &mut removals);
    removals
}

fn has(content: &Content, id: &ItemId) -> bool {
    content.items.binary_search_by(|i| i.id.cmp(id)).is_ok()
}

fn excluded_by_user(content: &Content) -> BTreeSet<&str> {
    content
        .excluded
        .iter()
        .filter(|e| e.reason == Reason::Excluded)
        .map(|e| e.item.as_str())
        .collect()
}

fn is_replicated(replicate: &Replicate, kind: ItemKind) -> bool {
    match kind {
        ItemKind::Unit => replicate.services.is_some(),
        ItemKind::Container => replicate.containers.is_some(),
        ItemKind::Process => replicate.processes.is_some(),
    }
}

/// Whether the host, by a whole list, does not have the item.
fn is_missing(items: &HostItems, id: &ItemId) -> bool {
    let section = match id.kind {
        ItemKind::Unit => items.units.as_ref().map(|s| (s.state, &s.refused)),
        ItemKind::Container => items.containers.as_ref().map(|s| (s.state, &s.refused)),
        ItemKind::Process => items.processes.as_ref().map(|s| (s.state, &s.refused)),
    };
    section.is_some_and(|(state, refused)| {
        state == SectionState::Complete && !refused.iter().any(|r| could_be(r, id))
    })
}

/// Whether a refused item could be the one that is looked for. One without a name could be any.
fn could_be(refused: &RefusedItem, id: &ItemId) -> bool {
    let name = id.name.as_str();
    let bare = match id.kind {
        ItemKind::Container => name.rsplit_once(':').map_or(name, |(_, name)| name),
        ItemKind::Unit | ItemKind::Process => name,
    };
    refused.name.starts_with("item ") || refused.name == printable(bare, 80)
}

fn judge_missing(input: &RemovalInput<'_>, missing: Vec<&ManifestItem>, removals: &mut Removals) {
    let confirmed = |item: &ManifestItem| {
        input.pending.is_some_and(|pending| {
            input.observation.is_later_than(pending) && pending.items.contains(&item.id.to_string())
        })
    };
    let (confirmed, unconfirmed): (Vec<_>, Vec<_>) = missing.into_iter().partition(|item| confirmed(item));
    let guarded = guarded_kinds(input.manifest, &confirmed);
    let (held, free): (Vec<_>, Vec<_>) = confirmed
        .into_iter()
        .partition(|item| guarded.contains(&item.id.kind));
    let digest = list_digest(&held);
    let approved = input.approved == Some(digest.to_string().as_str());
    removals.removed.extend(free.into_iter().cloned());
    let waits = if approved {
        removals.removed.extend(held.iter().map(|i| (*i).clone()));
        unconfirmed
    } else {
        if !held.is_empty() {
            removals.waiting = Some(WaitingOn::Approval {
                digest,
                items: held.len(),
            });
        }
        [held, unconfirmed].concat()
    };
    removals.removed.sort_by(|a, b| a.id.cmp(&b.id));
    if waits.is_empty() {
        return;
    }
    removals.pending = Some(pending(input, &waits));
    removals
        .waiting
        .get_or_insert(WaitingOn::SecondObservation { items: waits.len() });
    removals.kept.extend(waits.into_iter().cloned());
    removals.kept.sort_by(|a, b| a.id.cmp(&b.id));
}

/// Kinds of which so much would go that an administrator has to say yes.
fn guarded_kinds(manifest: &Manifest, going: &[&ManifestItem]) -> BTreeSet<ItemKind> {
    let count = |items: &mut dyn Iterator<Item = ItemKind>| {
        let mut counts: BTreeMap<ItemKind, usize> = BTreeMap::new();
        for kind in items {
            *counts.entry(kind).or_default() += 1;
        }
        counts
    };
    let all = count(&mut manifest.items.iter().map(|i| i.id.kind));
    count(&mut going.iter().map(|i| i.id.kind))
        .into_iter()
        .filter(|(kind, going)| {
            let all = all.get(kind).copied().unwrap_or_default();
            let many = *going > FREE_REMOVALS && going * 100 > all * FREE_PERCENT;
            many || (*going == all && all > 1)
        })
        .map(|(kind, _)| kind)
        .collect()
}

/// What waits, with the observation that it was first missing in. A new name begins anew for all,
/// since the list has one observation.
fn pending(input: &RemovalInput<'_>, waits: &[&ManifestItem]) -> PendingRemoval {
    let mut items: Vec<String> = waits.iter().map(|i| i.id.to_string()).collect();
    items.sort();
    items.truncate(MAX_PENDING);
    let known = input
        .pending
        .filter(|pending| items.iter().all(|item| pending.items.contains(item)));
    let first = known.map_or_else(
        || input.observation.clone(),
        |p| Observation {
            boot_id: p.boot_id.clone(),
            sequence: p.sequence,
        },
    );
    PendingRemoval {
        boot_id: first.boot_id,
        sequence: first.sequence,
        digest: list_digest(waits),
        items,
    }
}

/// Digest of the ids, in order: what an administrator approves.
fn list_digest(items: &[&ManifestItem]) -> Digest {
    let mut ids: Vec<String> = items.iter().map(|i| i.id.to_string()).collect();
    ids.sort();
    Digest::of_fields(ids.iter().map(String::as_bytes))
}
