//! Text of the host's configuration files, bounded, and what stands in a directory of them.

use std::collections::BTreeMap;
use std::path::Path;

use safetytwin_crds::names::printable;

use crate::hostroot::{HostRoot, ReadError};

/// Longest configuration file that is read.
const MOST: u64 = 1024 * 1024;
/// Most files of one directory that are read.
const MOST_FILES: usize = 1000;

/// Text of a configuration file, links followed inside the root; none, with a gap, when it cannot
/// be read. A missing one is empty where its directory can be seen.
pub fn read(root: &HostRoot, path: &str, gaps: &mut Vec<String>) -> Option<String> {
    match root.read(path, MOST) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_not_found() && root.shows(path) => Some(String::new()),
        Err(error) => {
            gaps.push(why(&error));
            None
        }
    }
}

/// Names in a directory that are acceptable by `accept`, sorted; a missing directory is empty
/// where it could be seen.
pub fn names(root: &HostRoot, dir: &str, accept: fn(&str) -> bool, gaps: &mut Vec<String>) -> Vec<String> {
    let (all, more) = match root.names(dir, MOST_FILES) {
        Ok(names) => names,
        Err(error) if error.is_not_found() && root.shows(dir) => return Vec::new(),
        Err(error) => {
            gaps.push(why(&error));
            return Vec::new();
        }
    };
    if more {
        gaps.push(format!("{dir} has more than {MOST_FILES} names"));
    }
    let names = all.iter().filter_map(|name| name.to_str());
    names.filter(|name| accept(name)).map(str::to_owned).collect()
}

/// Files of `*.conf` directories as systemd reads them (sysctl.d(5), modules-load.d(5)): one of
/// equal names, from the first directory that has it; sorted by name; `/dev/null` masks.
pub fn configuration(root: &HostRoot, dirs: &[&str], gaps: &mut Vec<String>) -> Vec<(String, String)> {
    let mut files = BTreeMap::new();
    for dir in dirs {
        for name in names(root, dir, is_conf, gaps) {
            files.entry(name).or_insert(*dir);
        }
    }
    let texts = files.into_iter().filter_map(|(name, dir)| {
        let path = format!("{dir}/{name}");
        if root.read_link_below(dir, Path::new(&name)).as_deref() == Some(Path::new("/dev/null")) {
            return None;
        }
        Some((path.clone(), read(root, &path, gaps)?))
    });
    texts.collect()
}

/// What to watch for [`configuration`] of `dirs` and for a file beside it in /etc.
pub fn watched(dirs: &[&str]) -> Vec<String> {
    std::iter::once("/etc")
        .chain(dirs.iter().copied())
        .map(str::to_owned)
        .collect()
}

/// A configuration file by its name.
pub fn is_conf(name: &str) -> bool {
    name.ends_with(".conf") && !name.starts_with('.') && is_clean(name)
}

/// As [`is_conf`], of a name in an event.
pub fn is_conf_name(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(is_conf)
}

/// Whether a text from the host may stand in an identity: nothing that a terminal would act on.
pub fn is_clean(text: &str) -> bool {
    printable(text, text.len() * 8 + 8) == text
}

/// Why a file could not be read, for a gap.
pub fn why(error: &ReadError) -> String {
    printable(&error.to_string(), 160)
}
