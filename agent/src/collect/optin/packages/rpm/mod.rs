//! rpm's database: since rpm 4.16 an SQLite database, whose table `Packages` has one rpm header a
//! row (rpm, lib/backend/sqlite.c).
//!
//! The write-ahead log beside it is read too, as far as it is committed: what rpm did while another
//! process had the database open is there alone, and finding it costs one pass over the log. No
//! lock is taken, because that is a write; so a database that changed while it was read is read
//! again. Pseudo packages `gpg-pubkey`, the keys that rpm trusts, are no packages and left out.

pub mod header;

use std::fs::File;
use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;

use safetytwin_crds::item::PackageItem;
use safetytwin_crds::item::package::PackageManager;
use safetytwin_crds::names::printable;

use self::header::{Header, Prefix};
use super::sqlite::Fault;
use super::sqlite::pages::Pages;
use super::sqlite::record::{Column, Type, column, root_of};
use super::sqlite::tree::{Payload, rows};
use super::{LONGEST_VERSION, MOST, is_word};
use crate::collect::CollectError;
use crate::hostroot::{HostRoot, ReadError};

/// Where rpm keeps its database, the newest place first; on Fedora the second is a link to the first.
pub const DIRECTORIES: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
/// The database.
pub const DATABASE: &str = "rpmdb.sqlite";
/// What every transaction of rpm locks, and closes at its end.
pub const LOCK: &str = ".rpm.lock";
/// What rpm kept its database in before, and what openSUSE does.
const OLDER: [(&str, &str); 2] = [("Packages", "Berkeley DB"), ("Packages.db", "ndb")];
/// The table, and its column of headers.
const TABLE: &str = "Packages";
const BLOB: usize = 1;
/// How a rollback journal begins whose transaction is not finished.
const HOT_JOURNAL: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// How often a database is read that changes meanwhile.
const ATTEMPTS: usize = 3;
/// The pseudo packages that hold keys.
const KEY: &str = "gpg-pubkey";
/// What rpm writes for a tag that a package does not have.
const NONE: &str = "(none)";

/// What a database has.
#[derive(Debug, Default)]
pub struct Found {
    /// The packages, in order of installation.
    pub items: Vec<PackageItem>,
    /// How many rows are not of their form.
    pub refused: usize,
    /// Whether there are more than are read.
    pub more: bool,
}

/// The packages; none where there is no such database.
pub fn read(root: &HostRoot, gaps: &mut Vec<String>) -> Result<Option<Vec<PackageItem>>, CollectError> {
    for dir in DIRECTORIES {
        let path = format!("{dir}/{DATABASE}");
        if let Some(file) = open(root, &path)? {
            return steady(root, &path, file, gaps).map(Some);
        }
    }
    for (dir, (name, format)) in DIRECTORIES.iter().flat_map(|dir| OLDER.map(|older| (dir, older))) {
        let path = format!("{dir}/{name}");
        if root.modified(&path).is_some() {
            return Err(CollectError::Unavailable(format!(
                "{path} is rpm's older format {format}, which is not read: `rpmdb --rebuilddb` of rpm 4.16 or newer \
                 with the macro _db_backend set to sqlite makes {DATABASE} of it"
            )));
        }
    }
    Ok(None)
}

/// The file; none where there is none.
fn open(root: &HostRoot, path: &str) -> Result<Option<File>, ReadError> {
    match root.open_file(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a database until it did not change meanwhile.
fn steady(
    root: &HostRoot,
    path: &str,
    file: File,
    gaps: &mut Vec<String>,
) -> Result<Vec<PackageItem>, CollectError> {
    let beside = format!("{path}-wal");
    let mut opened = Some(file);
    let mut log = open(root, &beside)?;
    for _ in 0..ATTEMPTS {
        let Some(file) = opened else {
            break;
        };
        let before = stamps(&file, log.as_ref());
        let found = packages(file, log);
        // Whatever replaced them is another file, or has another time of change.
        opened = open(root, path)?;
        log = open(root, &beside)?;
        if opened.as_ref().map(|file| stamps(file, log.as_ref())) == Some(before) {
            let found = found.map_err(|fault| CollectError::Unavailable(format!("{path} {fault}")))?;
            gaps.extend(found.gaps(path));
            gaps.extend(unfinished(root, path)?);
            return Ok(found.items());
        }
    }
    Err(CollectError::Unavailable(format!(
        "{path} changes while it is read"
    )))
}

/// What another content of a file has another of: device, inode, bytes, `st_ctime`.
type Stamp = (u64, u64, u64, i64, i64);

/// Of the database and its log; a log that is empty is as good as none.
fn stamps(file: &File, log: Option<&File>) -> (Option<Stamp>, Option<Stamp>) {
    let stamp = |file: &File| {
        let meta = file.metadata().ok()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        (meta.len() > 0).then_some((meta.dev(), meta.ino(), meta.len(), changed.0, changed.1))
    };
    (stamp(file), log.and_then(stamp))
}

/// A gap for a transaction that its writer did not finish, outside of WAL mode.
fn unfinished(root: &HostRoot, path: &str) -> Result<Option<String>, CollectError> {
    let journal = format!("{path}-journal");
    let Some(mut file) = open(root, &journal)? else {
        return Ok(None);
    };
    let mut start = [0; HOT_JOURNAL.len()];
    let hot = file.read_exact(&mut start).is_ok() && start == HOT_JOURNAL;
    Ok(hot.then(|| format!("{journal} is of a transaction that is not finished")))
}

/// The packages of a database and the write-ahead log beside it.
///
/// # Errors
/// The database cannot be read or is not of its form.
pub fn packages<F: Read + Seek>(file: F, log: Option<F>) -> Result<Found, Fault> {
    let mut pages = Pages::open(file, log)?;
    let root = root_of(&mut pages, TABLE)?;
    let mut found = Found::default();
    let mut left = MOST;
    rows(&mut pages, root, |row| {
        if left == 0 {
            found.more = true;
            return Ok(ControlFlow::Break(()));
        }
        left -= 1;
        match package(row)? {
            Some(Header { name, .. }) if name == KEY => {}
            Some(header) => match item(header) {
                Some(item) => found.items.push(item),
                None => found.refused += 1,
            },
            None => found.refused += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

impl Found {
    fn gaps(&self, path: &str) -> impl Iterator<Item = String> {
        let more = self.more.then(|| format!("more than {MOST} packages"));
        let refused =
            (self.refused > 0).then(|| format!("{} entries of {path} are not of its form", self.refused));
        more.into_iter().chain(refused)
    }

    /// One of each: a package that is installed in several versions (kernels) is several items.
    fn items(mut self) -> Vec<PackageItem> {
        fn identity(item: &PackageItem) -> (&str, &str, &str) {
            (&item.name, &item.architecture, &item.version)
        }
        self.items.sort_by(|a, b| identity(a).cmp(&identity(b)));
        self.items.dedup_by(|a, b| identity(a) == identity(b));
        self.items
    }
}

/// A row's header; none when it is not of its form.
fn package<F: Read + Seek>(row: &mut Payload<'_, F>) -> Result<Option<Header>, Fault> {
    match column(row, BLOB)?.filter(|column| column.kind == Type::Blob) {
        Some(column) => Header::read(Blob { row, column }),
        None => Ok(None),
    }
}

/// The value of a row's column of headers.
struct Blob<'a, 'p, F> {
    row: &'a mut Payload<'p, F>,
    column: Column,
}

impl<F: Read + Seek> Prefix for Blob<'_, '_, F> {
    fn length(&self) -> usize {
        self.column.length
    }

    fn upto(&mut self, end: usize) -> Result<&[u8], Fault> {
        let Column { at, length, .. } = self.column;
        let bytes = self.row.upto(at + end.min(length))?;
        Ok(bytes.get(at..).unwrap_or_default())
    }
}

/// A package as rpm writes it: `%{NAME}`, `%{ARCH}`, `%{EVR}`; none when a word is none.
fn item(header: Header) -> Option<PackageItem> {
    let architecture = header.architecture.unwrap_or_else(|| NONE.to_owned());
    let (version, release) = (header.version, header.release);
    let version = match header.epoch {
        Some(epoch) => format!("{epoch}:{version}-{release}"),
        None => format!("{version}-{release}"),
    };
    // What rpmbuild allows in a name (build/parsePreamble.c).
    let name = is_word(&header.name, b"-._+%{}");
    let known = is_word(&architecture, b"_-.") || architecture == NONE;
    (name && known).then(|| PackageItem {
        name: header.name,
        architecture,
        version: printable(&version, LONGEST_VERSION),
        manager: PackageManager::Rpm,
        state: None,
        held: false,
    })
}

#[cfg(test)]
pub(crate) mod tests;
