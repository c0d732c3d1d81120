//! rpm's header format, as far as what names a package (rpm, docs/manual/format_header.md):
//!
//! ```text
//! index length il, data length dl: u32, big-endian
//! il entries of 16 bytes: tag, type, offset in the data, count
//! dl bytes of data
//! ```
//! Those of a database have no magic before them. Bounds are rpm's own (lib/header.c).

use super::super::sqlite::{Fault, be32};

/// Bytes of the two lengths.
const INTRO: usize = 8;
/// Bytes of an entry of the index.
const ENTRY: usize = 16;
/// `HEADER_TAGS_MAX`.
const MOST_ENTRIES: usize = 0xffff;
/// `HEADER_DATA_MAX`.
const MOST_DATA: usize = 0x0fff_ffff;
/// How far into the data is read. It has the order of the tags, so what is read is at its start.
const FARTHEST: usize = 4 * 1024 * 1024;
/// Longest text that is read.
const LONGEST: usize = 1024;
/// `RPM_INT32_TYPE`, `RPM_STRING_TYPE`.
const INT32: u32 = 4;
const STRING: u32 = 6;
/// Tags that are read, in the order of `Index`, and their types.
const TAGS: [(u32, u32); 5] = [
    (1000, STRING), // NAME
    (1001, STRING), // VERSION
    (1002, STRING), // RELEASE
    (1003, INT32),  // EPOCH
    (1022, STRING), // ARCH
];

/// What names a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// NAME.
    pub name: String,
    /// EPOCH; 0 and none are written differently.
    pub epoch: Option<u32>,
    /// VERSION.
    pub version: String,
    /// RELEASE.
    pub release: String,
    /// ARCH.
    pub architecture: Option<String>,
}

/// Bytes that are read as far as they are wanted.
pub trait Prefix {
    /// Bytes of the whole.
    fn length(&self) -> usize;

    /// The first `end` bytes, or all where it is shorter.
    fn upto(&mut self, end: usize) -> Result<&[u8], Fault>;
}

/// Bytes in memory.
#[cfg(any(test, feature = "fuzzing"))]
impl Prefix for &[u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn upto(&mut self, end: usize) -> Result<&[u8], Fault> {
        Ok(self.get(..end).unwrap_or(self))
    }
}

/// Offsets in the data of the tags that are read.
struct Index([Option<usize>; TAGS.len()]);

impl Header {
    /// Reads a header; none when it is not of its form.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub fn read(mut blob: impl Prefix) -> Result<Option<Self>, Fault> {
        let whole = blob.length();
        let Some((data, length)) = data(blob.upto(INTRO)?, whole) else {
            return Ok(None);
        };
        let entries = blob.upto(data)?.get(INTRO..).unwrap_or_default();
        let Some(index) = Index::parse(entries, length) else {
            return Ok(None);
        };
        let Some(end) = index.end().filter(|end| *end <= FARTHEST) else {
            return Ok(None);
        };
        let data = blob.upto(data + end.min(length))?.get(data..).unwrap_or_default();
        Ok(index.header(data))
    }
}

/// Where the data begins and how long it is; none when that is not the length of the whole.
fn data(intro: &[u8], whole: usize) -> Option<(usize, usize)> {
    let entries = usize::try_from(be32(intro, 0)?).ok()?;
    let length = usize::try_from(be32(intro, 4)?).ok()?;
    if !(1..=MOST_ENTRIES).contains(&entries) || length > MOST_DATA {
        return None;
    }
    let data = INTRO + ENTRY * entries;
    (data + length == whole).then_some((data, length))
}

impl Index {
    /// The tags that are read; none when one of them has another type, or is outside of the data.
    fn parse(entries: &[u8], data: usize) -> Option<Self> {
        let mut found = [None; TAGS.len()];
        for entry in entries.chunks_exact(ENTRY) {
            let tag = be32(entry, 0)?;
            let Some(place) = TAGS.iter().position(|(known, _)| *known == tag) else {
                continue;
            };
            let offset = usize::try_from(be32(entry, 8)?).ok()?;
            let (_, kind) = TAGS.get(place)?;
            if be32(entry, 4)? != *kind || be32(entry, 12)? != 1 || offset >= data {
                return None;
            }
            // Later entries replace what the package itself brought.
            *found.get_mut(place)? = Some(offset);
        }
        Some(Self(found))
    }

    /// How far into the data to read.
    fn end(&self) -> Option<usize> {
        self.0.iter().flatten().max().map(|offset| offset + LONGEST)
    }

    fn header(&self, data: &[u8]) -> Option<Header> {
        let [name, version, release, epoch, architecture] = self.0;
        Some(Header {
            name: text(data, name?)?,
            version: text(data, version?)?,
            release: text(data, release?)?,
            epoch: match epoch {
                Some(at) => Some(be32(data, at)?),
                None => None,
            },
            architecture: match architecture {
                Some(at) => Some(text(data, at)?),
                None => None,
            },
        })
    }
}

/// The text at an offset, up to its NUL; none without one.
fn text(data: &[u8], at: usize) -> Option<String> {
    let bytes = data.get(at..)?;
    let end = bytes.iter().take(LONGEST).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
}
