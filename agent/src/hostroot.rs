//! The host's file tree under a prefix: `/` for a plain service, `/host` in a pod, where the
//! host's directories are mounted one by one.
//!
//! Every read below the prefix goes through here. Invariants: a symbolic link never leads out of
//! the prefix (openat2(2), `RESOLVE_IN_ROOT`), only regular files are read, never more than a
//! stated number of bytes, and opening never blocks (a FIFO answers at once).

pub mod entries;
pub mod facts;
mod reach;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Room for what procfs says, whose files have no size, and for the end of any other file.
const CHUNK: usize = 4096;
/// Longest record that is read in one piece.
const RECORD: usize = 16 * 1024;

/// A file of the host that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("failed to open {path}: {source}")]
    Open {
        /// Path on the host.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A FIFO, device, socket or directory.
    #[error("{0} is not a regular file")]
    NotRegular(PathBuf),
    /// A symbolic link where none is followed.
    #[error("{0} is a symbolic link, which is not followed")]
    SymbolicLink(PathBuf),
    /// Longer than the reader allows.
    #[error("{path} is longer than {limit} bytes")]
    TooLarge {
        /// Path on the host.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
}

impl ReadError {
    /// Whether there is simply no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Where the host's files, `/proc` and `/sys` are for this process.
#[derive(Clone, Debug)]
pub struct HostRoot {
    root: PathBuf,
    proc: PathBuf,
    sys: PathBuf,
    /// The root, once it was opened: each read begins there.
    handle: Arc<OnceLock<OwnedFd>>,
}

impl HostRoot {
    /// The host's tree below `root`, its procfs and sysfs where the arguments say.
    pub fn new(root: impl Into<PathBuf>, proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            proc: proc.into(),
            sys: sys.into(),
            handle: Arc::default(),
        }
    }

    /// The host's procfs; `/proc` also in a pod with hostPID.
    pub fn proc(&self) -> &Path {
        &self.proc
    }

    /// The host's processes, in order.
    ///
    /// # Errors
    /// The procfs cannot be read.
    pub fn pids(&self) -> std::io::Result<Vec<i32>> {
        entries::pids(&entries::open_plain(&self.proc)?)
    }

    /// Whether the host has a process of this name.
    pub fn has_process(&self, comm: &[u8]) -> bool {
        let mut pids = self.pids().unwrap_or_default().into_iter();
        pids.any(|pid| self.is_called(pid, comm))
    }

    /// Whether a process has this name.
    pub fn is_called(&self, pid: i32, comm: &[u8]) -> bool {
        let name = read_single(&self.proc.join(format!("{pid}/comm")), 64);
        name.is_ok_and(|name| name.trim_ascii_end() == comm)
    }

    /// The host's sysfs; a container sees the host's.
    pub fn sys(&self) -> &Path {
        &self.sys
    }

    /// Where a host path is for this process, for sockets and inotify watches. Not for reading files.
    pub fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file of at most `limit` bytes; symbolic links are followed inside the prefix.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let relative = Path::new(path.trim_start_matches('/'));
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = self
            .open_root(path)
            .and_then(|root| open(root, relative, OFlags::empty(), flags, Path::new(path)))?;
        read_regular(file, path.as_ref(), limit)
    }

    /// A file below the prefix that the kernel makes in one piece, as [`read_record`] reads it.
    ///
    /// # Errors
    /// It cannot be opened or read, or is longer than 16 KiB.
    pub fn read_record(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let relative = Path::new(path.trim_start_matches('/'));
        let root = self.open_root(path).map_err(std::io::Error::other)?;
        let file =
            open(root, relative, OFlags::NOFOLLOW, flags, Path::new(path)).map_err(std::io::Error::other)?;
        Ok(record(&file)?)
    }

    /// A UTF-8 file of at most 64 KiB without surrounding white space; none when unreadable.
    pub fn read_word(&self, path: &str) -> Option<String> {
        let bytes = self.read(path, 64 * 1024).ok()?;
        String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
    }

    /// A file `relative` to directory `dir`, where neither it nor anything between is a symbolic
    /// link. `dir` itself may be reached through links (`/lib` → `usr/lib`).
    pub fn read_below(&self, dir: &str, relative: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
        let shown = Path::new(dir).join(relative);
        let base = self.open_dir(dir)?;
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = open(&base, relative, OFlags::NOFOLLOW, flags, &shown)?;
        read_regular(file, &shown, limit)
    }

    /// Target of the symbolic link `relative` to `dir`; none when it is no link.
    pub fn read_link_below(&self, dir: &str, relative: &Path) -> Option<PathBuf> {
        let base = self.open_dir(dir).ok()?;
        let target = rustix::fs::readlinkat(&base, relative, Vec::new()).ok()?;
        let bytes = target.into_bytes();
        Some(PathBuf::from(OsString::from_vec(bytes)))
    }

    /// Names in a directory, sorted; a missing directory is empty.
    pub fn list(&self, dir: &str) -> Result<Vec<OsString>, ReadError> {
        self.listed(dir, |_| true)
    }

    /// Names of the directories in a directory of a kernel's file system, sorted; a missing directory is empty. Such a
    /// file system says what a name is where it lists it.
    pub fn directories(&self, dir: &str) -> Result<Vec<OsString>, ReadError> {
        self.listed(dir, |kind| kind == FileType::Directory)
    }

    fn listed(&self, dir: &str, wanted: impl Fn(FileType) -> bool) -> Result<Vec<OsString>, ReadError> {
        let handle = match self.open_dir(dir) {
            Ok(handle) => handle,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let fail = |source: rustix::io::Errno| ReadError::Open {
            path: dir.into(),
            source: source.into(),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&handle).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && wanted(entry.file_type()) {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Modification time of a path, links followed inside the prefix; seconds and nanoseconds.
    pub fn modified(&self, path: &str) -> Option<(i64, u64)> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let root = self.open_root(path).ok()?;
        let relative = Path::new(path.trim_start_matches('/'));
        let handle = open(root, relative, OFlags::PATH, flags, Path::new(path)).ok()?;
        let stat = rustix::fs::fstat(&handle).ok()?;
        Some((stat.st_mtime, stat.st_mtime_nsec))
    }

    fn open_root(&self, path: &str) -> Result<&OwnedFd, ReadError> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, flags, Mode::empty()).map_err(|error| ReadError::Open {
            path: path.into(),
            source: error.into(),
        })?;
        Ok(self.handle.get_or_init(|| root))
    }

    /// A directory, which may be reached through links inside the prefix.
    pub fn open_dir(&self, dir: &str) -> Result<OwnedFd, ReadError> {
        let relative = match dir.trim_start_matches('/') {
            "" => Path::new("."),
            relative => Path::new(relative),
        };
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let root = self.open_root(dir)?;
        open(root, relative, OFlags::DIRECTORY, flags, Path::new(dir))
    }
}

/// A file by its path as this process sees it (procfs, sysfs), at most `limit` bytes.
pub fn read_plain(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let file = openat2(
        CWD,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::empty(),
    )
    .map_err(|error| ReadError::Open {
        path: path.into(),
        source: error.into(),
    })?;
    read_regular(file, path, limit)
}

fn open(
    base: &OwnedFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
    shown: &Path,
) -> Result<OwnedFd, ReadError> {
    // openat2(2) refuses O_PATH together with flags that only matter for reading.
    let flags = if flags.contains(OFlags::PATH) {
        flags | OFlags::CLOEXEC
    } else {
        flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY
    };
    openat2(base, path, flags, Mode::empty(), resolve).map_err(|error| {
        if error == Errno::LOOP {
            ReadError::SymbolicLink(shown.into())
        } else {
            ReadError::Open {
                path: shown.into(),
                source: error.into(),
            }
        }
    })
}

fn read_regular(file: OwnedFd, path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let fail = |source: std::io::Error| ReadError::Open {
        path: path.into(),
        source,
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| fail(error.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(ReadError::NotRegular(path.into()));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0) + CHUNK);
    loop {
        bytes.reserve(CHUNK);
        match rustix::io::read(&file, spare_capacity(&mut bytes)) {
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() as u64 > limit => {
                return Err(ReadError::TooLarge {
                    path: path.into(),
                    limit,
                });
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(fail(error.into())),
        }
    }
}

/// A file of procfs that is one record (`single_open` in the kernel: `stat`, `meminfo`, `loadavg`, `pressure`; no list of
/// rows, of which one read has a page at most), by its path as this process sees it, at most `limit` bytes: three
/// system calls where [`read_plain`] takes five.
pub fn read_single(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    match read_record(CWD, path) {
        Ok(bytes) if bytes.len() as u64 <= limit => Ok(bytes),
        _ => read_plain(path, limit),
    }
}

/// A file that the kernel makes in one piece when it is asked for it (procfs, control groups), by its path below `dir`:
/// one read has all of it, and asking for more would have it made again.
///
/// # Errors
/// It cannot be opened or read, or is longer than 16 KiB.
pub fn read_record(dir: impl AsFd, path: &Path) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    record(&rustix::fs::openat(dir, path, flags, Mode::empty())?)
}

fn record(file: &OwnedFd) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(RECORD);
    loop {
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(_) if bytes.len() >= RECORD => return Err(Errno::FBIG),
            Ok(_) => return Ok(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, HostRoot) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/systemd/system")).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        (dir, root)
    }

    #[test]
    fn a_link_never_leads_out_of_the_prefix() {
        let (dir, root) = tree();
        std::fs::write(dir.path().join("etc/inside"), "inside").unwrap();
        symlink("/etc/inside", dir.path().join("etc/absolute")).unwrap();
        symlink("../../../../../../etc/passwd", dir.path().join("etc/out")).unwrap();
        assert_eq!(root.read("/etc/absolute", 99).unwrap(), b"inside");
        assert!(root.read("/etc/out", 99).unwrap_err().is_not_found());
    }

    #[test]
    fn a_unit_file_that_is_a_link_a_fifo_or_too_large_is_refused_without_blocking() {
        let (dir, root) = tree();
        let units = dir.path().join("etc/systemd/system");
        symlink("/etc/shadow", units.join("link.service")).unwrap();
        symlink("loop.service", units.join("loop.service")).unwrap();
        std::fs::write(units.join("big.service"), vec![b'x'; 101]).unwrap();
        rustix::fs::mknodat(CWD, units.join("fifo.service"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let read = |name: &str| root.read_below("/etc/systemd/system", Path::new(name), 100);
        assert!(matches!(read("link.service"), Err(ReadError::SymbolicLink(_))));
        assert!(matches!(read("loop.service"), Err(ReadError::SymbolicLink(_))));
        assert!(matches!(read("fifo.service"), Err(ReadError::NotRegular(_))));
        assert!(matches!(read("big.service"), Err(ReadError::TooLarge { .. })));
        assert!(matches!(read("../../shadow"), Err(ReadError::Open { .. })));
    }
}
