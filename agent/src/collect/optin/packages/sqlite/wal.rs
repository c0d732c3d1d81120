//! The write-ahead log beside a database: which pages it has newer copies of, as SQLite's recovery
//! finds it. rpm keeps its databases in WAL mode, and what another process still reads keeps a
//! transaction out of the database file for as long as that takes.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::{Fault, be32};

/// Most bytes of a log: 60 times where SQLite begins to write it back.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The only version there is (SQLite 3.7.0).
const VERSION: u32 = 3_007_000;

/// The committed frames of a log.
pub struct Frames {
    /// Bytes of a page.
    pub page_size: usize,
    /// Pages of the database after the last commit.
    pub pages: u32,
    /// Where the newest copy of a page begins in the log, by the page's number.
    pub at: HashMap<u32, u64>,
}

/// How the words of the log are read for its checksums, and what they sum up to so far.
#[derive(Clone, Copy)]
struct Checksum {
    big_endian: bool,
    sum: (u32, u32),
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let (mut a, mut b) = self.sum;
        let word = |bytes: [u8; 4]| {
            if self.big_endian {
                u32::from_be_bytes(bytes)
            } else {
                u32::from_le_bytes(bytes)
            }
        };
        let (pairs, _) = bytes.as_chunks::<8>();
        for [p, q, r, s, t, u, v, w] in pairs {
            a = a.wrapping_add(word([*p, *q, *r, *s])).wrapping_add(b);
            b = b.wrapping_add(word([*t, *u, *v, *w])).wrapping_add(a);
        }
        self.sum = (a, b);
    }

    /// Whether it is what the two words at an offset say.
    fn is_at(self, bytes: &[u8], at: usize) -> bool {
        (be32(bytes, at), be32(bytes, at + 4)) == (Some(self.sum.0), Some(self.sum.1))
    }
}

impl Frames {
    /// All frames up to the last commit whose salts are the header's and whose checksums hold; none
    /// where there is no commit.
    pub fn read<F: Read + Seek>(mut log: F) -> Result<Option<Self>, Fault> {
        if log.seek(SeekFrom::End(0))? > MOST_BYTES {
            return Err(Fault::LongLog(MOST_BYTES));
        }
        log.rewind()?;
        // It may grow while it is read.
        let mut log = BufReader::new(log.take(MOST_BYTES));
        let mut header = [0; HEADER];
        if !fill(&mut log, &mut header)? {
            return Ok(None);
        }
        let Some((page_size, mut checksum)) = head(&header)? else {
            return Ok(None);
        };
        let salts = header.get(16..24);
        let mut frames = Self {
            page_size,
            pages: 0,
            at: HashMap::new(),
        };
        let mut uncommitted = Vec::new();
        let mut frame = vec![0; FRAME_HEADER + page_size];
        let mut at = HEADER as u64;
        while fill(&mut log, &mut frame)? {
            checksum.add(frame.get(..8).unwrap_or_default());
            checksum.add(frame.get(FRAME_HEADER..).unwrap_or_default());
            let (number, commit) = (be32(&frame, 0).unwrap_or(0), be32(&frame, 4).unwrap_or(0));
            // What follows is of an earlier use of the file, or was not written to its end.
            if number == 0 || frame.get(8..16) != salts || !checksum.is_at(&frame, 16) {
                break;
            }
            uncommitted.push((number, at + FRAME_HEADER as u64));
            if commit != 0 {
                frames.pages = commit;
                frames.at.extend(uncommitted.drain(..));
            }
            at += frame.len() as u64;
        }
        Ok((frames.pages > 0).then_some(frames))
    }
}

/// Page size and checksum so far; none for a header that SQLite passes over, together with the log.
fn head(header: &[u8; HEADER]) -> Result<Option<(usize, Checksum)>, Fault> {
    let big_endian = match be32(header, 0) {
        Some(0x377f_0682) => false,
        Some(0x377f_0683) => true,
        _ => return Ok(None),
    };
    let page_size = be32(header, 8).unwrap_or(0);
    let mut checksum = Checksum {
        big_endian,
        sum: (0, 0),
    };
    checksum.add(header.get(..24).unwrap_or_default());
    if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) || !checksum.is_at(header, 24) {
        return Ok(None);
    }
    if be32(header, 4) != Some(VERSION) {
        return Err(Fault::Log);
    }
    Ok(Some((usize::try_from(page_size).unwrap_or(0), checksum)))
}

/// Whether there was as much as the buffer holds.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> Result<bool, Fault> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}
