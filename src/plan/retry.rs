//! Second and later attempts of items that failed: no change of the host, so they must not look or cost
//! like one.

use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::revision::DesiredItem;

use super::{Changes, preflight};
use crate::facts::Preflight;

/// Whether an item of `changed` is there only because its last attempt failed and another one is due.
fn is_retry(item: &DesiredItem, manifest: &Manifest) -> bool {
    manifest
        .item(&item.id)
        .is_some_and(|placed| placed.failure.is_some() && placed.rendered_digest == item.rendered_digest)
}

/// Whether all that differs are items that failed and are due again.
pub fn is_only_retries(changes: &Changes, manifest: &Manifest) -> bool {
    changes.added.is_empty()
        && changes.removed.is_empty()
        && !changes.changed.is_empty()
        && changes.changed.iter().all(|item| is_retry(item, manifest))
}

/// Whether the guest still lacks what each changed item failed for, by the answers to
/// [`preflight::query`]: another attempt would write the same failure again.
pub fn is_vain(changes: &Changes, manifest: &Manifest, answers: &Preflight) -> bool {
    changes.changed.iter().all(|item| {
        let before = manifest.item(&item.id).and_then(|placed| placed.failure.as_ref());
        let refusal = preflight::fit(item, answers).err();
        matches!((before, refusal), (Some(before), Some(now)) if before.reason == now.reason)
    })
}

/// What changed on the host: without the retries, unless there is nothing else.
pub fn news(changes: &Changes, manifest: &Manifest) -> Changes {
    let mut news = changes.clone();
    if !is_only_retries(changes, manifest) {
        news.changed.retain(|item| !is_retry(item, manifest));
    }
    news
}
