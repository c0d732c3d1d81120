//! What status says of a twin's items: running x/y, and those that are not, or not quite, there.

use std::collections::BTreeMap;

use safetytwin_crds::digitaltwin::NotReplicated;
use safetytwin_crds::item::{Fidelity, Reason, RunClass};
use safetytwin_crds::manifest::{Manifest, ManifestItem};
use safetytwin_crds::names::printable;
use safetytwin_crds::revision::{Content, DesiredItem};

/// Most entries of `status.notReplicated`.
pub const MAX_LISTED: usize = 200;

/// Items of a twin as status shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemStatus {
    /// How many of the items that run on the host, and are to be replicated, run in the twin.
    pub running: usize,
    /// How many of them there are.
    pub of: usize,
    /// At most [`MAX_LISTED`], sorted by item; those that a user can do something about go first.
    pub not_replicated: Vec<NotReplicated>,
    /// How many more there are.
    pub unlisted: usize,
    /// Items that failed to be written or to reach their run state: the twin is not Ready.
    pub failed: Vec<String>,
}

impl ItemStatus {
    /// `status.running`: "14/14".
    pub fn fraction(&self) -> String {
        format!("{}/{}", self.running, self.of)
    }
}

/// Whether this is a failure of applying, not a lack that the twin's image has.
pub fn is_failure(reason: Reason) -> bool {
    matches!(reason, Reason::FailedToStart | Reason::FailedToApply)
}

/// What to show of a content and of what the guest's manifest says became of it.
pub fn items(content: &Content, manifest: &Manifest) -> ItemStatus {
    let placed: BTreeMap<_, &ManifestItem> = manifest.items.iter().map(|i| (&i.id, i)).collect();
    let mut status = ItemStatus::default();
    let mut listed = Vec::new();
    for item in &content.items {
        let entry = placed.get(&item.id).copied();
        if item.run == RunClass::Up {
            status.of += 1;
            status.running +=
                usize::from(entry.is_some_and(|e| e.failure.is_none() && e.run == RunClass::Up));
        }
        if entry
            .and_then(|e| e.failure.as_ref())
            .is_some_and(|f| is_failure(f.reason))
        {
            status.failed.push(printable(&item.id.to_string(), 300));
        }
        listed.extend(entry.and_then(|entry| differs(item, entry)));
    }
    listed.extend(content.excluded.iter().filter(|e| is_shown(e.reason)).cloned());
    listed.sort_by(|a, b| (rank(a.reason), &a.item).cmp(&(rank(b.reason), &b.item)));
    status.unlisted = listed.len().saturating_sub(MAX_LISTED);
    listed.truncate(MAX_LISTED);
    listed.sort_by(|a, b| a.item.cmp(&b.item));
    status.not_replicated = listed;
    status
}

fn differs(item: &DesiredItem, entry: &ManifestItem) -> Option<NotReplicated> {
    let (fidelity, reason, message) = match (&entry.failure, &item.fallback) {
        (Some(failure), _) => (Fidelity::NotReplicable, failure.reason, failure.message.as_str()),
        (None, Some(fallback)) if entry.fallback => (
            Fidelity::Substituted,
            fallback.substituted,
            fallback.detail.as_str(),
        ),
        (None, _) => (Fidelity::Substituted, item.substituted?, item.detail.as_str()),
    };
    Some(NotReplicated {
        item: printable(&item.id.to_string(), 300),
        fidelity,
        reason,
        message: printable(message, 256),
    })
}

/// What belongs to every machine, and what the user excluded, is no news.
fn is_shown(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::UnsupportedType | Reason::GeneratedOrTransient | Reason::Excluded
    )
}

/// What a user can do something about comes first when the list is cut.
fn rank(reason: Reason) -> u8 {
    match reason {
        reason if is_failure(reason) => 0,
        Reason::Protected | Reason::ManagedByKubernetes | Reason::UserManager => 2,
        _ => 1,
    }
}
