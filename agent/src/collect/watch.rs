//! inotify(7) watches on directories of the host: a changed file shows without polling.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

use crate::hostroot::HostRoot;

/// Most directories that are watched; the audit covers the rest.
const MOST: usize = 512;
/// A name appeared, went, or was written.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE);
/// Also mode, owner and extended attributes.
const ATTRIBUTES: WatchFlags = NAMES.union(WatchFlags::ATTRIB);

/// Whether a change of the file of a name matters.
type Matters = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Watches on directories.
pub struct Watch {
    /// Reads like a pipe; this is Tokio's only safe way to wait for any other descriptor.
    events: Receiver,
    /// Watch descriptors; a directory that is made again has a new one.
    known: BTreeSet<i32>,
    flags: WatchFlags,
    /// Whether a change of the file of this name matters.
    matters: Box<Matters>,
}

impl Watch {
    /// An instance without watches, for files whose name `matters`.
    ///
    /// # Errors
    /// The kernel's limit of instances is reached.
    pub fn new(matters: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> std::io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            events: Receiver::from_owned_fd_unchecked(fd)?,
            known: BTreeSet::new(),
            flags: NAMES,
            matters: Box::new(matters),
        })
    }

    /// Sees changes of mode, owner and extended attributes too.
    pub fn with_attributes(mut self) -> Self {
        self.flags = ATTRIBUTES;
        self
    }

    /// Watches all of `dirs` that exist now; says whether one of them was not watched before.
    /// Watching one twice is no change.
    pub fn follow<'a>(&mut self, root: &HostRoot, dirs: impl IntoIterator<Item = &'a str>) -> bool {
        self.follow_paths(dirs.into_iter().map(|dir| root.locate(dir)))
    }

    /// The same of directories by their paths as this process sees them.
    pub fn follow_paths(&mut self, dirs: impl IntoIterator<Item = PathBuf>) -> bool {
        let flags = self.flags | WatchFlags::ONLYDIR;
        let dirs = dirs.into_iter().take(MOST);
        // A directory that is missing or went away meanwhile has nothing to watch.
        let watches = dirs.filter_map(|dir| inotify::add_watch(&self.events, dir, flags).ok());
        let now: BTreeSet<i32> = watches.collect();
        let news = !now.is_subset(&self.known);
        self.known = now;
        news
    }

    /// Resolves when a file that matters, or a watched directory itself, changed.
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

    /// Takes what has happened so far; says whether any of it matters.
    pub fn read(&self) -> bool {
        let mut buffer = [0u8; 8192];
        let mut news = false;
        while let Ok(len @ 1..) = self.events.try_read(&mut buffer) {
            let mut rest = buffer.get(..len).unwrap_or_default();
            while let Some((name, after)) = next_name(rest) {
                // No name: the queue overflowed or a watched directory itself went.
                news |= name.is_empty() || (self.matters)(name);
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
