//! inotify(7) watches on the unit directories: an edited unit file shows without a daemon-reload.

use std::collections::BTreeSet;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

use super::listing::UNIT_DIRS;
use super::presets::PRESET_DIRS;
use crate::hostroot::HostRoot;

/// Most directories that are watched; the audit covers the rest.
const MOST: usize = 512;

/// Watches on the load path, its drop-in and its link directories.
pub struct Watch {
    /// Reads like a pipe; this is Tokio's only safe way to wait for any other descriptor.
    events: Receiver,
    /// Watch descriptors; a directory that is made again has a new one.
    known: BTreeSet<i32>,
}

impl Watch {
    /// An instance without watches.
    ///
    /// # Errors
    /// The kernel's limit of instances is reached.
    pub fn new() -> std::io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            events: Receiver::from_owned_fd_unchecked(fd)?,
            known: BTreeSet::new(),
        })
    }

    /// Watches all directories that exist now, `below` those of the load path; says whether one of
    /// them was not watched before. Watching one twice is no change.
    pub fn follow(&mut self, root: &HostRoot, below: &[String]) -> bool {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        // The parents too: /usr/local/lib/systemd/system may come later.
        let parents = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd"];
        let dirs = parents.into_iter().chain(UNIT_DIRS).chain(PRESET_DIRS);
        let dirs = dirs.chain(below.iter().map(String::as_str)).take(MOST);
        // A directory that is missing or went away meanwhile has nothing to watch.
        let watches = dirs.filter_map(|dir| inotify::add_watch(&self.events, root.locate(dir), flags).ok());
        let now: BTreeSet<i32> = watches.collect();
        let news = !now.is_subset(&self.known);
        self.known = now;
        news
    }

    /// Resolves when a unit file, a drop-in or one of their directories changed.
    pub async fn changed(&self) {
        loop {
            if self.events.readable().await.is_err() {
                return std::future::pending().await;
            }
            if self.read() {
                return;
            }
        }
    }

    fn read(&self) -> bool {
        let mut buffer = [0u8; 8192];
        let mut news = false;
        while let Ok(len @ 1..) = self.events.try_read(&mut buffer) {
            let mut rest = buffer.get(..len).unwrap_or_default();
            while let Some((name, after)) = next_name(rest) {
                // No name: the queue overflowed or a watched directory itself went.
                news |= name.is_empty() || is_unit_file(name);
                rest = after;
            }
        }
        news
    }
}

/// The name in the first `struct inotify_event` (wd, mask, cookie, len: 4 bytes each; the name,
/// padded with NUL), and what follows it.
fn next_name(events: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u32::from_ne_bytes(events.get(12..16)?.try_into().ok()?);
    let end = 16usize.checked_add(usize::try_from(len).ok()?)?;
    let padded = events.get(16..end)?;
    let name = padded.split(|b| *b == 0).next().unwrap_or_default();
    Some((name, events.get(end..)?))
}

/// Names that systemd would read; editors' swap and backup files are none.
fn is_unit_file(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    if name.starts_with('.') {
        return false;
    }
    let extension = name.rsplit_once('.').map(|(_, e)| e);
    matches!(name, "system" | "system-preset")
        || matches!(
            extension,
            Some("conf" | "preset" | "d" | "wants" | "requires" | "upholds")
        )
        || name.parse::<safetytwin_crds::names::UnitName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_edit_in_place_a_rename_and_a_new_drop_in_or_link_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("etc/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        let mut watch = Watch::new().unwrap();
        assert!(watch.follow(&root, &[]));
        std::fs::write(units.join(".a.service.swp"), "x").unwrap();
        assert!(!watch.read(), "a swap file is no news");
        std::fs::write(units.join("a.service"), "x").unwrap();
        watch.changed().await;
        std::fs::write(units.join("4913"), "x").unwrap();
        assert!(!watch.read(), "an editor's probe is no news");
        std::fs::rename(units.join("4913"), units.join("b.service")).unwrap();
        watch.changed().await;
        std::fs::create_dir(units.join("a.service.d")).unwrap();
        std::fs::create_dir(units.join("b.target.wants")).unwrap();
        watch.changed().await;
        let below = ["a.service.d", "b.target.wants"].map(|d| format!("/etc/systemd/system/{d}"));
        assert!(watch.follow(&root, &below));
        assert!(!watch.follow(&root, &below), "all are watched");
        std::fs::write(units.join("a.service.d/x.conf"), "x").unwrap();
        watch.changed().await;
        std::os::unix::fs::symlink("../a.service", units.join("b.target.wants/a.service")).unwrap();
        watch.changed().await;
    }
}
