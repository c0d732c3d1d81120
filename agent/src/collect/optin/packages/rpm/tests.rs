//! Databases that rpm 4.18 wrote, and what its `rpm -qa` printed of them; then the same, damaged.
//!
//! `rpmdb.sqlite.zst` has a key and packages that rpmbuild made: without architecture, with epochs,
//! in two versions, with 900 files, whose header fills 33 overflow pages. `rpmdb.sqlite-wal.zst` is
//! the log beside it after one package more was installed and one erased, while a reader held the
//! database open. `rpm-qa.txt` and `rpm-qa-wal.txt` are what `rpm -qa --qf '%{NAME} %{ARCH}
//! %{EVR}\n' | LC_ALL=C sort` printed without and with that log. `initdb.sqlite.zst` is what
//! `rpm --initdb` makes.

use std::io::{Cursor, SeekFrom};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::collect::optin::packages::sqlite::be32;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/collect/optin/packages/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

pub(crate) fn unpacked(name: &str) -> Vec<u8> {
    zstd::decode_all(fixture(name).as_slice()).unwrap()
}

pub(crate) fn database() -> Vec<u8> {
    unpacked("rpmdb.sqlite.zst")
}

pub(crate) fn log() -> Vec<u8> {
    unpacked("rpmdb.sqlite-wal.zst")
}

/// What rpm printed, without the one key.
pub(crate) fn oracle(name: &str) -> Vec<String> {
    let printed = String::from_utf8(fixture(name)).unwrap();
    let (keys, packages): (Vec<&str>, _) = printed.lines().partition(|line| line.starts_with(KEY));
    assert_eq!((keys.len(), packages.len()), (1, 6));
    packages.into_iter().map(str::to_owned).collect()
}

/// The items as rpm prints them.
pub(crate) fn lines(items: &[PackageItem]) -> Vec<String> {
    assert!(items.iter().all(|item| item.manager == PackageManager::Rpm));
    items
        .iter()
        .map(|item| format!("{} {} {}", item.name, item.architecture, item.version))
        .collect()
}

fn read_both(database: &[u8], log: &[u8]) -> Result<(Vec<String>, usize), Fault> {
    let found = packages(Cursor::new(database), Some(Cursor::new(log)))?;
    let refused = found.refused;
    Ok((lines(&found.items()), refused))
}

fn read(database: &[u8]) -> Result<(Vec<String>, usize), Fault> {
    read_both(database, &[])
}

fn why(database: &[u8]) -> String {
    read(database).unwrap_err().to_string()
}

/// Page size and root page of the table.
const PAGE: usize = 4096;

fn root(database: &[u8]) -> usize {
    let mut pages = Pages::open(Cursor::new(database), None).unwrap();
    root_of(&mut pages, TABLE).unwrap() as usize
}

/// Offset of a page in the file.
fn offset(page: usize) -> usize {
    (page - 1) * PAGE
}

/// Offset of the first cell of the first leaf.
fn first_cell(database: &[u8]) -> usize {
    let cell = |page: usize, array: usize| {
        let at = offset(page) + array;
        offset(page) + usize::from(u16::from_be_bytes([database[at], database[at + 1]]))
    };
    let leaf = be32(database, cell(root(database), 12)).unwrap() as usize;
    assert_eq!(database[offset(leaf)], 0x0d);
    cell(leaf, 8)
}

#[test]
fn packages_are_those_that_rpm_lists_as_it_writes_them() {
    assert_eq!(read(&database()).unwrap(), (oracle("rpm-qa.txt"), 0));
    let listed = oracle("rpm-qa.txt").join("\n");
    for line in ["empty-epoch noarch 0:1.0-1", "with-epoch x86_64 7:1.2~rc1-0.1"] {
        assert!(listed.contains(line), "{listed}");
    }
}

#[test]
fn the_committed_part_of_the_log_counts_and_what_follows_it_does_not() {
    let (database, log) = (database(), log());
    let (before, after) = (oracle("rpm-qa.txt"), oracle("rpm-qa-wal.txt"));
    let listed = |log: &[u8]| read_both(&database, log).unwrap().0;
    assert_ne!(before, after);
    assert_eq!(listed(&log), after);
    // A frame that does not follow from those before it.
    let frame = 24 + PAGE;
    let mut longer = log.clone();
    longer.extend_from_slice(&log[32..32 + frame]);
    assert_eq!(listed(&longer), after);
    // As it was written: the installation shows when its last frame is there, then the erasure.
    let ends = (32..=log.len()).step_by(frame / 2);
    let mut history: Vec<_> = ends.map(|end| listed(&log[..end])).collect();
    history.dedup();
    let mut installed = before.clone();
    installed.push("late noarch 1:0.1-1".to_owned());
    installed.sort();
    assert_eq!(history, [before.clone(), installed, after]);
    // Nothing of a log without a whole first frame, or with another salt or checksum.
    for at in [16, 20, 24, 32 + 8, 32 + 16, 32 + 24 + 9] {
        let mut other = log.clone();
        other[at] ^= 1;
        assert_eq!(listed(&other), before, "{at}");
    }
    for length in [0, 31, 32, 32 + frame - 1] {
        assert_eq!(listed(&log[..length]), before, "{length}");
    }
}

#[test]
fn a_log_of_another_version_or_page_size_is_refused() {
    // The checksum covers the header, so it is made again.
    let header = |version: u32, size: u32| {
        let mut header = Vec::new();
        for word in [0x377f_0683, version, size, 0, 1, 2] {
            header.extend_from_slice(&u32::to_be_bytes(word));
        }
        let mut log = signed(header, (0, 0));
        let sum = (be32(&log, 24).unwrap(), be32(&log, 28).unwrap());
        let mut frame = Vec::new();
        for word in [1, 1, 1, 2] {
            frame.extend_from_slice(&u32::to_be_bytes(word));
        }
        let mut covered = frame[..8].to_vec();
        covered.resize(8 + size as usize, 0);
        let signed = signed(covered.clone(), sum);
        frame.extend_from_slice(&signed[covered.len()..]);
        frame.extend_from_slice(&covered[8..]);
        log.extend_from_slice(&frame);
        log
    };
    let why = |log: &[u8]| read_both(&database(), log).unwrap_err().to_string();
    assert!(why(&header(3_007_001, 4096)).contains("log of another form"));
    // Its page 1 is all zero.
    assert!(why(&header(3_007_000, 4096)).contains("not an SQLite database"));
}

/// Bytes with their checksum in big-endian words after them.
fn signed(mut bytes: Vec<u8>, (mut a, mut b): (u32, u32)) -> Vec<u8> {
    for at in (0..bytes.len()).step_by(8) {
        a = a.wrapping_add(be32(&bytes, at).unwrap()).wrapping_add(b);
        b = b.wrapping_add(be32(&bytes, at + 4).unwrap()).wrapping_add(a);
    }
    bytes.extend_from_slice(&a.to_be_bytes());
    bytes.extend_from_slice(&b.to_be_bytes());
    bytes
}

#[test]
fn a_torn_database_is_unavailable_and_says_so() {
    let whole = database();
    for length in [0, 1, 99] {
        assert!(
            why(&whole[..length]).contains("not an SQLite database"),
            "{length}"
        );
    }
    for length in [100, PAGE, 10 * PAGE + 7, whole.len() - 1] {
        assert_eq!(why(&whole[..length]), "has no page 108: it is torn", "{length}");
    }
    // Also where the header does not say how long it was.
    let mut silent = whole;
    silent[28..32].fill(0);
    assert!(why(&silent[..6 * PAGE]).ends_with("it is torn"));
}

#[test]
fn a_cycle_of_pages_is_found_and_ends() {
    let whole = database();
    let root = root(&whole);
    for (target, page) in [(root, root), (1, 1)] {
        let mut cycle = whole.clone();
        cycle[offset(root) + 8..][..4].copy_from_slice(&(target as u32).to_be_bytes());
        assert_eq!(why(&cycle), format!("uses page {page} twice"));
    }
    // In the overflow pages of a header: what names the package is before that, the rest is not read.
    let mut cycle = whole.clone();
    let (first, second) = overflow(&whole);
    cycle[offset(second)..][..4].copy_from_slice(&(first as u32).to_be_bytes());
    assert_eq!(read(&cycle).unwrap(), (oracle("rpm-qa.txt"), 0));
}

/// The first two overflow pages of the header of 900 files.
fn overflow(database: &[u8]) -> (usize, usize) {
    let name = b"many-files\0";
    let at = database
        .windows(name.len())
        .position(|bytes| bytes == name)
        .unwrap();
    let page = at / PAGE + 1;
    let next = be32(database, offset(page)).unwrap() as usize;
    (page, next)
}

#[test]
fn a_header_that_lies_of_its_lengths_is_left_out_and_counted() {
    let whole = database();
    // il 0x3c, dl 0x37c: with-epoch.
    let intro = [0, 0, 0, 0x3c, 0, 0, 3, 0x7c];
    let at = whole.windows(8).position(|bytes| bytes == intro).unwrap();
    for lie in [0, 1, 0x3b, 0x3d, 0xffff, 0x1_0000, 0x0fff_ffff, u32::MAX] {
        for field in [at, at + 4] {
            let mut lying = whole.clone();
            lying[field..field + 4].copy_from_slice(&lie.to_be_bytes());
            let (lines, refused) = read(&lying).unwrap();
            assert_eq!((lines.len(), refused), (5, 1), "{lie:#x}");
        }
    }
    // An offset outside of the data, a type that is no text, a count of two.
    let name = whole[at..]
        .windows(4)
        .position(|tag| tag == [0, 0, 3, 0xe8])
        .unwrap()
        + at;
    for (field, value) in [(8, 0x37c_u32), (8, u32::MAX), (4, 4), (12, 2)] {
        let mut lying = whole.clone();
        lying[name + field..][..4].copy_from_slice(&value.to_be_bytes());
        assert_eq!(read(&lying).unwrap().1, 1, "{field} {value:#x}");
    }
}

#[test]
fn a_row_of_a_huge_length_is_damage() {
    let whole = database();
    let cell = first_cell(&whole);
    for huge in [[0xff; 9], [0x88, 0x80, 0x80, 0x80, 0, 0, 0, 0, 0]] {
        let mut damaged = whole.clone();
        damaged[cell..cell + 9].copy_from_slice(&huge);
        assert!(
            why(&damaged).starts_with("is damaged in page"),
            "{}",
            why(&damaged)
        );
    }
}

#[test]
fn a_database_of_rpm_without_its_table_says_so() {
    let mut other = unpacked("initdb.sqlite.zst");
    assert_eq!(read(&other).unwrap(), (vec![], 0));
    while let Some(at) = other.windows(8).position(|bytes| bytes == b"Packages") {
        other[at] = b'Q';
    }
    assert_eq!(why(&other), "has no table Packages");
}

#[test]
fn other_encodings_versions_and_page_sizes_are_refused() {
    let whole = database();
    for (at, value) in [(0, b's'), (16, 3), (17, 1), (19, 3), (20, 255), (59, 2)] {
        let mut other = whole.clone();
        other[at] = value;
        assert!(read(&other).is_err(), "{at}");
    }
}

/// What a name or an architecture may not hold, planted where a real one was.
#[test]
fn a_name_with_control_characters_is_refused_and_a_version_is_cleaned() {
    let mut hostile = database();
    for (good, bad) in [
        (
            &b"with-epoch\x001.2~rc1\0"[..],
            &b"with-\x1b[31m\x001.2~rc1\0"[..],
        ),
        (b"plain\x002.4.1\0", b"plain\x002.4\x1b1\0"),
    ] {
        let at = hostile
            .windows(good.len())
            .position(|bytes| bytes == good)
            .unwrap();
        hostile[at..at + bad.len()].copy_from_slice(bad);
    }
    let (lines, refused) = read(&hostile).unwrap();
    assert_eq!(refused, 1);
    assert!(
        lines.contains(&"plain noarch 2.4\\u{1b}1-3.el9".to_owned()),
        "{lines:?}"
    );
}

/// Counts what is read of bytes in memory.
struct Counted<'a> {
    bytes: Cursor<&'a [u8]>,
    read: &'a std::cell::Cell<usize>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.read.set(self.read.get() + read);
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// Small databases of rpm's headers: pages of 512 bytes, and one with its log.
fn small(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/rpm");
    std::fs::read(folder.join(name)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_damage_panics_or_is_read_without_end(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        length in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        for name in ["database", "log"] {
            let mut bytes = small(name);
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if cut {
                bytes.truncate(length.index(bytes.len()));
            }
            crate::fuzzing::rpm(&bytes);
            let read = std::cell::Cell::new(0);
            let counted = |bytes| Counted { bytes: Cursor::new(bytes), read: &read };
            let _ = packages(counted(bytes.as_slice()), None);
            // Each page once, and the header.
            prop_assert!(read.get() <= bytes.len() + 100, "{} of {}", read.get(), bytes.len());
        }
    }
}
