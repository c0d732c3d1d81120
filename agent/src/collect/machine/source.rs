//! What the machine's facts are read from: small files and directories of procfs and sysfs, bounded,
//! with a note of what could not be read.

use std::path::{Path, PathBuf};

use safetytwin_crds::names::printable;

use crate::hostroot::{HostRoot, read_plain};

/// Most bytes of one file.
const LIMIT: u64 = 4 * 1024 * 1024;
/// Most entries of one directory that are looked at.
const ENTRIES: usize = 4096;

/// A look at the host.
pub struct Source<'a> {
    /// The host's tree.
    pub root: &'a HostRoot,
    /// What is missing in the list, for people.
    pub gaps: Vec<String>,
}

impl<'a> Source<'a> {
    /// A look at `root`.
    pub fn new(root: &'a HostRoot) -> Self {
        Self {
            root,
            gaps: Vec::new(),
        }
    }

    /// A path in the host's sysfs.
    pub fn sys(&self, path: &str) -> PathBuf {
        self.root.sys().join(path)
    }

    /// A file of the host's procfs that every host has; its absence is a gap.
    pub fn proc(&mut self, path: &str) -> String {
        let read = read_plain(&self.root.proc().join(path), LIMIT);
        let bytes = read.unwrap_or_else(|error| {
            self.gaps.push(format!("/proc/{path}: {error}"));
            Vec::new()
        });
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Names in a directory of sysfs, in order; a missing one is empty.
    pub fn names(&mut self, dir: &Path) -> Vec<String> {
        let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let some = entries.by_ref().take(ENTRIES);
        let mut names: Vec<String> = some.filter_map(|e| e.file_name().into_string().ok()).collect();
        if entries.next().is_some() {
            let dir = dir.display();
            self.gaps.push(format!(
                "{dir} has more than {ENTRIES} entries; the others are left out"
            ));
        }
        names.sort();
        names
    }

    /// Cuts a list that is longer than `most` and says so.
    pub fn bound<T>(&mut self, what: &str, list: &mut Vec<T>, most: usize) {
        if list.len() > most {
            self.gaps
                .push(format!("{} {what}, {most} are listed", list.len()));
            list.truncate(most);
        }
    }
}

/// A file as one printable line without surrounding white space; empty when unreadable.
pub fn word(path: &Path) -> String {
    let bytes = read_plain(path, 4096).unwrap_or_default();
    printable(String::from_utf8_lossy(&bytes).trim(), 256)
}

/// A number in a file; none when it is missing, negative or no number.
pub fn number(path: &Path) -> Option<u64> {
    word(path).parse().ok()
}

/// The last part of a link, which names a driver or a type.
pub fn link_name(path: &Path) -> String {
    let target = std::fs::read_link(path).unwrap_or_default();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    printable(&name, 64)
}

/// A value of a `KEY=value` file.
pub fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_default()
}
