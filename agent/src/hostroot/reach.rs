//! What of the host can be seen: in a pod its directories are mounted one by one below an empty
//! directory, so what is missing there may well be on the host.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, ResolveFlags, StatxFlags, fstat, statx};

use super::{HostRoot, ReadError, open};

impl HostRoot {
    /// Whether a path would be seen if it existed on the host: its nearest directory that is there
    /// belongs to what is mounted.
    pub fn shows(&self, path: &str) -> bool {
        let nearest = |root: &OwnedFd| self.nearest(root, path);
        self.open_root("/")
            .is_ok_and(|root| self.is_hosts(root, nearest(root)))
    }

    /// Whether a directory in `mount` is the host's own, and not a stand-in above what is mounted.
    pub(super) fn is_hosts(&self, root: &OwnedFd, mount: Option<u64>) -> bool {
        self.is_whole() || self.is_beside(root, "/etc/x", mount)
    }

    /// As [`Self::is_hosts`]: single directories are mounted when that of `known`, which every host
    /// has, is one.
    fn is_beside(&self, root: &OwnedFd, known: &str, mount: Option<u64>) -> bool {
        let own = self::mount(root);
        self.nearest(root, known) == own || mount != own
    }

    /// The mount of the nearest directory above `path` that is there.
    fn nearest(&self, root: &OwnedFd, path: &str) -> Option<u64> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let above = Path::new(path.trim_start_matches('/')).ancestors().skip(1);
        let open_dir = |dir: &Path| {
            let dir = if dir.as_os_str().is_empty() {
                Path::new(".")
            } else {
                dir
            };
            open(root, dir, OFlags::PATH | OFlags::DIRECTORY, flags, dir).ok()
        };
        above.filter_map(open_dir).next().and_then(|dir| mount(&dir))
    }

    /// Whether it is the whole tree of a running host and not a part of it that is mounted elsewhere.
    pub fn is_whole(&self) -> bool {
        self.root == Path::new("/")
    }

    /// At most `most` names of a directory, sorted, and whether there are more.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be read.
    pub fn names(&self, dir: &str, most: usize) -> Result<(Vec<OsString>, bool), ReadError> {
        names(&self.open_dir(dir)?, dir, most)
    }

    /// A regular file, opened for reading; links are followed inside the prefix.
    ///
    /// # Errors
    /// There is none, it is no regular file, or the operating system refuses.
    pub fn open_file(&self, path: &str) -> Result<File, ReadError> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let relative = Path::new(path.trim_start_matches('/'));
        let file = open(
            self.open_root(path)?,
            relative,
            OFlags::empty(),
            flags,
            path.as_ref(),
        )?;
        let stat = fstat(&file).map_err(|error| ReadError::Open {
            path: path.into(),
            source: error.into(),
        })?;
        if FileType::from_raw_mode(stat.st_mode).is_file() {
            Ok(File::from(file))
        } else {
            Err(ReadError::NotRegular(path.into()))
        }
    }
}

/// See [`HostRoot::names`].
pub(super) fn names(handle: &OwnedFd, dir: &str, most: usize) -> Result<(Vec<OsString>, bool), ReadError> {
    let fail = |source: rustix::io::Errno| ReadError::Open {
        path: dir.into(),
        source: source.into(),
    };
    let mut names = Vec::new();
    let mut more = false;
    for entry in Dir::read_from(handle).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if names.len() == most {
            more = true;
            break;
        }
        names.push(OsString::from_vec(name.to_vec()));
    }
    names.sort();
    Ok((names, more))
}

/// Id of the mount that a directory is in.
pub(super) fn mount(dir: &OwnedFd) -> Option<u64> {
    let found = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_from_a_whole_tree_is_missing_and_beside_mounts_it_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        assert!(HostRoot::new(dir.path(), "/proc", "/sys").shows("/var/spool/cron/crontabs"));
        assert!(HostRoot::new("/", "/proc", "/sys").shows("/nowhere/at/all"));
        // A tree in which one directory is a mount, as in a pod.
        let pod = HostRoot::new("/proc/..", "/proc", "/sys");
        let handle = pod.open_root("/").unwrap();
        let shows = |path| pod.is_beside(handle, "/proc/x", pod.nearest(handle, path));
        assert!(shows("/proc/nowhere") && !shows("/nowhere/at/all"));
    }

    #[test]
    fn names_of_a_directory_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..20 {
            std::fs::write(dir.path().join(format!("{n:02}")), "").unwrap();
        }
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        assert_eq!(root.names("/", 20).unwrap().0.len(), 20);
        let (names, more) = root.names("/", 19).unwrap();
        assert!(more && names.len() == 19 && names.is_sorted());
    }

    #[test]
    fn only_a_regular_file_is_opened_and_only_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
        assert!(root.open_file("/out").unwrap_err().is_not_found());
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        assert!(matches!(root.open_file("/dir"), Err(ReadError::NotRegular(_))));
    }
}
