//! Finds changes made by hand in the guest.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::{ItemId, RunClass};
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::{Content, DesiredFile, DesiredItem};

use super::ExecuteError;
use crate::facts::Active;
use crate::guest::Guest;

/// Items that are not as the manifest says they were left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// A file of ours has other bytes, or is gone.
    pub files: BTreeSet<ItemId>,
    /// The unit is not in its run state.
    pub states: BTreeSet<ItemId>,
}

impl Drift {
    /// Nothing was changed by hand.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.states.is_empty()
    }
}

/// Compares the guest with its manifest. Items that failed are not looked at: their own retry does.
///
/// # Errors
/// The connection is lost.
pub async fn look(guest: &dyn Guest, content: &Content, manifest: &Manifest) -> Result<Drift, ExecuteError> {
    let mut drift = Drift::default();
    let sound: Vec<&DesiredItem> = content
        .items
        .iter()
        .filter(|item| {
            manifest
                .item(&item.id)
                .is_some_and(|m| m.failure.is_none() && m.rendered_digest == item.rendered_digest)
        })
        .collect();
    let names: Vec<UnitName> = sound.iter().map(|item| item.unit.clone()).collect();
    // One after the other, each file would be four turns of the connection.
    let units = async { Ok(guest.units(&names).await?) };
    let files = try_join_all(sound.iter().map(|item| same_files(guest, item, manifest)));
    let (facts, same) = futures::try_join!(units, files)?;
    for (item, same) in sound.into_iter().zip(same) {
        let active = facts.iter().find(|f| f.name == item.unit).map(|f| f.active);
        let runs = matches!(
            active,
            Some(Active::Active | Active::Reloading | Active::Activating)
        );
        let wrong = match item.run {
            RunClass::Up => !runs,
            RunClass::Down => runs,
            RunClass::Failed | RunClass::OnDemand => false,
        };
        if wrong {
            drift.states.insert(item.id.clone());
        }
        if !same {
            drift.files.insert(item.id.clone());
        }
    }
    Ok(drift)
}

async fn same_files(
    guest: &dyn Guest,
    item: &DesiredItem,
    manifest: &Manifest,
) -> Result<bool, ExecuteError> {
    let placed = manifest.item(&item.id);
    let fallback = item
        .fallback
        .as_ref()
        .filter(|_| placed.is_some_and(|p| p.fallback));
    let files: &[DesiredFile] = fallback.map_or(&item.files, |f| &f.files);
    let as_written = files.iter().map(|file| async move {
        let found = guest.read_file(&file.path).await?;
        Ok::<_, ExecuteError>(found.as_deref() == Some(file.content.as_bytes()))
    });
    Ok(try_join_all(as_written).await?.into_iter().all(|same| same))
}

/// The manifest as it would be if the drifted items had never been placed so: a plan made from it sets them right.
///
/// # Errors
/// The connection is lost.
pub async fn marked(
    guest: &dyn Guest,
    content: &Content,
    manifest: &Manifest,
) -> Result<Manifest, ExecuteError> {
    let drift = look(guest, content, manifest).await?;
    let mut marked = manifest.clone();
    for item in &mut marked.items {
        let files = drift.files.contains(&item.id);
        if files {
            item.files_digest = None;
        }
        if files || drift.states.contains(&item.id) {
            item.rendered_digest = Digest::of(b"changed by hand");
            item.item_digest = item.rendered_digest;
        }
    }
    Ok(marked)
}
