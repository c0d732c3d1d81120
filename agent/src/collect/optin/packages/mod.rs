//! Installed packages, of every package manager whose database is there.
//!
//! ```text
//! /var/lib/dpkg/status ──────────────────────▶ dpkg ─┐
//! {/usr/lib/sysimage,/var/lib}/rpm/rpmdb.sqlite      ├─▶ by name, architecture, manager, version
//!   (and its -wal) ─▶ sqlite ─▶ header ──────▶ rpm ──┘
//! ```
//! Where both are there, a database that cannot be read is a gap; where it is the only one, the
//! section is Unavailable.

mod dpkg;
pub(crate) mod rpm;
mod sqlite;

use safetytwin_crds::item::PackageItem;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use super::{Listed, Look, Source};
use crate::collect::CollectError;
use crate::hostroot::HostRoot;

/// Most packages of one manager in memory; more do not fit in a section by far.
const MOST: usize = 20_000;
/// Longest version that is published, in bytes.
const LONGEST_VERSION: usize = 256;
/// Where every host with dpkg has its configuration, which is always mounted.
const DPKG_CONFIGURATION: &str = "/etc/dpkg";

/// Why there is nothing at all.
const MISSING: &str =
    "there is no database of dpkg or rpm, or it is not mounted (chart values agent.dpkg, agent.rpm)";

/// The source.
pub struct Packages;

impl Source for Packages {
    const SECTION: SectionName = SectionName::Packages;

    fn directories(&self, _: &HostRoot) -> Vec<String> {
        let all = std::iter::once(dpkg::DIRECTORY).chain(rpm::DIRECTORIES);
        all.map(str::to_owned).collect()
    }

    /// dpkg renames `status-new` over `status`. rpm closes its database and the lock after each
    /// transaction; a process that keeps the database open (packagekitd) closes the lock alone. A
    /// query closes neither, but the write-ahead log.
    fn matters(name: &[u8]) -> bool {
        name == b"status" || name == rpm::DATABASE.as_bytes() || name == rpm::LOCK.as_bytes()
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let mut gaps = Vec::new();
        let dpkg = dpkg::read(root, &mut gaps);
        let rpm = rpm::read(root, &mut gaps);
        let mut items = match (dpkg, rpm) {
            (Ok(None), Ok(None)) => return Err(CollectError::Unavailable(MISSING.to_owned())),
            (Ok(None), Err(error)) | (Err(error), Ok(None)) => return Err(error),
            (Err(dpkg), Err(rpm)) => return Err(CollectError::Unavailable(format!("{dpkg}; {rpm}"))),
            (Ok(Some(items)), Err(error)) | (Err(error), Ok(Some(items))) => {
                gaps.push(printable(&error.to_string(), 300));
                items
            }
            (Ok(Some(items)), Ok(None)) => items,
            (Ok(None), Ok(Some(items))) => {
                if root.modified(DPKG_CONFIGURATION).is_some() && !root.shows(dpkg::STATUS) {
                    gaps.push(format!(
                        "{} is not mounted (chart value agent.dpkg)",
                        dpkg::DIRECTORY
                    ));
                }
                items
            }
            (Ok(Some(dpkg)), Ok(Some(rpm))) => dpkg.into_iter().chain(rpm).collect(),
        };
        items.sort_by(|a, b| order(a).cmp(&order(b)));
        Ok(Look {
            items: Listed::of(&items, &mut gaps)?,
            gaps,
        })
    }
}

/// What the items are sorted by.
fn order(item: &PackageItem) -> impl Ord + '_ {
    (&item.name, &item.architecture, item.manager, &item.version)
}

/// Whether a text is a name: letters and digits of ASCII and some bytes more, 128 at most.
fn is_word(word: &str, also: &[u8]) -> bool {
    let of = |b: u8| b.is_ascii_alphanumeric() || also.contains(&b);
    (1..=128).contains(&word.len()) && word.bytes().all(of)
}

#[cfg(test)]
mod tests;
