//! A path exactly as it is named: no link is followed on the way to it nor at its end, and only a
//! regular file is ever opened for reading (opening a device can act on it).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, ResolveFlags, fgetxattr, flistxattr, fstat, readlinkat};

use super::reach::mount;
use super::{HostRoot, ReadError, open};

const EXACT: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
/// Longest list of names and longest value of extended attributes that is read.
const MOST_XATTR: usize = 4096;

/// What a path is, by stat(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub form: Form,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Whether every user of the host may read it and enter all directories above it.
    pub world_readable: bool,
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A regular file.
    File,
    /// A symbolic link and what it says.
    Link(PathBuf),
    /// A directory.
    Directory,
    /// A FIFO, socket or device.
    Special,
}

/// Bytes and extended attributes of an open file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Values by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl HostRoot {
    /// What a path is; nothing is opened for reading.
    ///
    /// # Errors
    /// There is none, or a directory on the way is a link.
    pub fn facts(&self, path: &str) -> Result<Facts, ReadError> {
        let root = self.open_root(path)?;
        let relative = Path::new(path.trim_start_matches('/'));
        let handle = open(
            root,
            relative,
            OFlags::PATH | OFlags::NOFOLLOW,
            EXACT,
            path.as_ref(),
        )?;
        let stat = stat(&handle, path)?;
        let form = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Form::File,
            FileType::Directory => Form::Directory,
            FileType::Symlink => {
                let target = readlinkat(&handle, c"", Vec::new()).map_err(|error| fail(path, error))?;
                Form::Link(PathBuf::from(
                    String::from_utf8_lossy(target.to_bytes()).into_owned(),
                ))
            }
            _ => Form::Special,
        };
        let readable = stat.st_mode & 0o004 != 0 && self.may_enter(root, relative);
        Ok(Facts {
            form,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            world_readable: readable,
        })
    }

    /// Whether everybody may enter all directories above. Of one that a pod does not see, nobody knows.
    fn may_enter(&self, root: &OwnedFd, relative: &Path) -> bool {
        let above = relative
            .ancestors()
            .skip(1)
            .filter(|dir| !dir.as_os_str().is_empty());
        let enters = |dir: &Path| {
            let handle = open(root, dir, OFlags::PATH | OFlags::DIRECTORY, EXACT, dir);
            let Ok(handle) = handle else { return false };
            let open = fstat(&handle).is_ok_and(|s| s.st_mode & 0o001 != 0);
            open && self.is_hosts(root, mount(&handle))
        };
        above.into_iter().all(enters)
    }

    /// A regular file's bytes, at most `limit` of them, and its extended attributes.
    ///
    /// # Errors
    /// It is no regular file, longer than `limit`, reached by a link, or not to be read.
    pub fn read_exact(&self, path: &str, limit: u64) -> Result<Bytes, ReadError> {
        if self.facts(path)?.form != Form::File {
            return Err(ReadError::NotRegular(path.into()));
        }
        let root = self.open_root(path)?;
        let relative = Path::new(path.trim_start_matches('/'));
        let file = open(root, relative, OFlags::NOFOLLOW, EXACT, path.as_ref())?;
        // It may have been replaced since.
        if !FileType::from_raw_mode(stat(&file, path)?.st_mode).is_file() {
            return Err(ReadError::NotRegular(path.into()));
        }
        let xattrs = xattrs(&file);
        let mut bytes = Vec::new();
        let read = File::from(file).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| ReadError::Open {
            path: path.into(),
            source,
        })?;
        if bytes.len() as u64 > limit {
            return Err(ReadError::TooLarge {
                path: path.into(),
                limit,
            });
        }
        Ok(Bytes { bytes, xattrs })
    }

    /// Sorted names, at most `most`, of a directory that is reached without a link, and whether
    /// there are more.
    ///
    /// # Errors
    /// There is none, a directory on the way is a link, or it is not to be read.
    pub fn names_exact(&self, dir: &str, most: usize) -> Result<(Vec<std::ffi::OsString>, bool), ReadError> {
        let relative = match dir.trim_start_matches('/') {
            "" => Path::new("."),
            relative => Path::new(relative),
        };
        let handle = open(
            self.open_root(dir)?,
            relative,
            OFlags::DIRECTORY,
            EXACT,
            dir.as_ref(),
        )?;
        super::reach::names(&handle, dir, most)
    }
}

/// What can be read of the attributes; a file system without any has none.
fn xattrs(file: &OwnedFd) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0u8; MOST_XATTR];
    let len = flistxattr(file, list.as_mut_slice()).unwrap_or(0);
    let names = list.get(..len).unwrap_or_default().split(|b| *b == 0);
    let names = names.filter(|name| !name.is_empty());
    let valued = names.map(|name| {
        let mut value = vec![0u8; MOST_XATTR];
        let len = fgetxattr(file, name, value.as_mut_slice()).unwrap_or(0);
        value.truncate(len);
        (name.to_vec(), value)
    });
    valued.collect()
}

fn stat(handle: &OwnedFd, path: &str) -> Result<rustix::fs::Stat, ReadError> {
    fstat(handle).map_err(|error| fail(path, error))
}

fn fail(path: &str, error: rustix::io::Errno) -> ReadError {
    ReadError::Open {
        path: path.into(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_is_told_and_never_followed_and_a_fifo_is_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/secret"), "x").unwrap();
        symlink("d/secret", dir.path().join("link")).unwrap();
        symlink("d", dir.path().join("way")).unwrap();
        let fifo = dir.path().join("fifo");
        let (kind, mode) = (FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        assert_eq!(root.facts("/link").unwrap().form, Form::Link("d/secret".into()));
        assert!(matches!(
            root.read_exact("/link", 9),
            Err(ReadError::NotRegular(_))
        ));
        assert!(matches!(
            root.read_exact("/way/secret", 9),
            Err(ReadError::SymbolicLink(_))
        ));
        assert!(matches!(
            root.names_exact("/way", 9),
            Err(ReadError::SymbolicLink(_))
        ));
        assert!(matches!(
            root.read_exact("/fifo", 9),
            Err(ReadError::NotRegular(_))
        ));
        assert_eq!(root.read_exact("/d/secret", 1).unwrap().bytes, b"x");
    }

    #[test]
    fn a_file_is_everybody_s_only_if_its_directories_are() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("f"), "x").unwrap();
        std::fs::set_permissions(inner.join("f"), PermissionsExt::from_mode(0o644)).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        for (mode, everybody) in [(0o755, true), (0o750, false)] {
            std::fs::set_permissions(&inner, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(root.facts("/inner/f").unwrap().world_readable, everybody);
        }
    }
}
