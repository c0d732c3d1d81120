//! A directory with what each of its names is, without opening any of them; and the processes that a procfs lists.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, readlinkat, statat};

use super::{HostRoot, ReadError};

/// Tells one version of a file from the next without reading it (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    inode: u64,
    size: u64,
    /// `st_ctime`: moves with every write, rename and change of attributes, and cannot be set.
    changed: (i64, u64),
}

impl Stamp {
    /// Whether nothing is in the file.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether a change after now gives another stamp for sure. Times have the grain of a clock
    /// tick, so a file that was written just now may be written again unseen.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).is_ok_and(|now| self.changed.0 + 2 <= now)
    }
}

/// What a name in a directory is; links are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File(Stamp),
    /// A symbolic link and what it says.
    Link(PathBuf),
    /// A directory.
    Directory,
    /// A FIFO, device or socket.
    Other,
}

/// What is in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Device and inode: the same for a directory that has two paths.
    pub identity: (u64, u64),
    /// Names in order, and what they are.
    pub names: Vec<(OsString, Kind)>,
}

impl HostRoot {
    /// What is in a directory, which may be reached through links; none when it is missing.
    pub fn entries(&self, dir: &str) -> Result<Option<Entries>, ReadError> {
        let handle = match self.open_dir(dir) {
            Ok(handle) => handle,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let fail = |source: rustix::io::Errno| ReadError::Open {
            path: dir.into(),
            source: source.into(),
        };
        let own = fstat(&handle).map_err(fail)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&handle).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // One that went meanwhile is not there.
            if let Ok(kind) = kind(&handle, name) {
                names.push((OsString::from_vec(name.to_bytes().to_vec()), kind));
            }
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Some(Entries {
            identity: (own.st_dev, own.st_ino),
            names,
        }))
    }
}

/// A directory of procfs, as this process sees it.
///
/// # Errors
/// It cannot be opened.
pub fn open_plain(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// The processes that a procfs lists, in order.
///
/// # Errors
/// It cannot be read.
pub fn pids(proc: impl AsFd) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in Dir::read_from(proc)? {
        let entry = entry?;
        let name = std::str::from_utf8(entry.file_name().to_bytes());
        pids.extend(name.ok().and_then(|name| name.parse::<i32>().ok()));
    }
    // procfs lists them so already.
    pids.sort_unstable();
    Ok(pids)
}

fn kind(dir: &OwnedFd, name: &std::ffi::CStr) -> rustix::io::Result<Kind> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File(Stamp {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }),
        FileType::Symlink => {
            let target = readlinkat(dir, name, Vec::new())?;
            Kind::Link(PathBuf::from(OsString::from_vec(target.into_bytes())))
        }
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_are_listed_with_what_they_are_and_one_directory_of_two_paths_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("usr/lib/units");
        std::fs::create_dir_all(units.join("a.d")).unwrap();
        std::fs::write(units.join("a"), "x").unwrap();
        symlink("/dev/null", units.join("m")).unwrap();
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        let entries = root.entries("/lib/units").unwrap().unwrap();
        let kinds: Vec<_> = entries
            .names
            .iter()
            .map(|(n, k)| (n.to_str().unwrap(), k))
            .collect();
        let [
            ("a", Kind::File(stamp)),
            ("a.d", Kind::Directory),
            ("m", Kind::Link(to)),
        ] = kinds[..]
        else {
            panic!("{kinds:?}");
        };
        assert_eq!((stamp.is_empty(), to.to_str()), (false, Some("/dev/null")));
        assert!(!stamp.is_settled(), "it was written just now");
        assert_eq!(root.entries("/usr/lib/units").unwrap().unwrap(), entries);
        assert_eq!(root.entries("/nowhere").unwrap(), None);
    }
}
