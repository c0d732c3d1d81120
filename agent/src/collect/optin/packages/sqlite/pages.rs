//! Pages of a database, each once, the write-ahead log's copy before the file's.

use std::io::{Read, Seek, SeekFrom};

use super::wal::Frames;
use super::{Fault, MOST_BYTES, be16, be32};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of the database header, with which page 1 begins.
pub const HEADER: usize = 100;
const UTF_8: u32 = 1;

/// The pages of one database.
pub struct Pages<F> {
    file: F,
    log: Option<(F, Frames)>,
    /// Bytes of a page.
    size: usize,
    /// Bytes of a page that hold something: those at its end may be reserved for extensions.
    usable: usize,
    /// How many there are.
    count: u32,
    /// A bit for each page that was read.
    seen: Vec<u64>,
}

impl<F: Read + Seek> Pages<F> {
    /// The pages of a database file with the log beside it, if that is not empty.
    ///
    /// # Errors
    /// It cannot be read, is too long, or is no SQLite database.
    pub fn open(mut file: F, log: Option<F>) -> Result<Self, Fault> {
        let mut log = match log {
            Some(mut log) => Frames::read(&mut log)?.map(|frames| (log, frames)),
            None => None,
        };
        let length = file.seek(SeekFrom::End(0))?;
        let logged = log.as_ref().and_then(|(_, frames)| frames.at.get(&1).copied());
        let mut header = [0; HEADER];
        match (&mut log, logged) {
            (Some((log, _)), Some(at)) => read_at(log, at, &mut header, 1)?,
            _ if length < HEADER as u64 => return Err(Fault::Head),
            _ => read_at(&mut file, 0, &mut header, 1)?,
        }
        let (size, usable) = sizes(&header).ok_or(Fault::Head)?;
        let count = match &log {
            Some((_, frames)) if frames.page_size != size => return Err(Fault::Log),
            Some((_, frames)) => u64::from(frames.pages),
            None => whole(&header, length / size as u64)?,
        };
        if length.max(count.saturating_mul(size as u64)) > MOST_BYTES {
            return Err(Fault::Long(MOST_BYTES));
        }
        Ok(Self {
            file,
            log,
            size,
            usable,
            count: u32::try_from(count).map_err(|_| Fault::Long(MOST_BYTES))?,
            seen: vec![0; usize::try_from(count / 64).unwrap_or(0) + 1],
        })
    }

    /// Bytes of a page that hold something.
    pub fn usable(&self) -> usize {
        self.usable
    }

    /// The usable bytes of a page that was not read before.
    ///
    /// # Errors
    /// There is no such page, or it was read before, which no tree that ends does.
    pub fn read(&mut self, number: u32) -> Result<Vec<u8>, Fault> {
        if number == 0 || number > self.count {
            return Err(Fault::Missing(number));
        }
        let (word, bit) = (number / 64, 1 << (number % 64));
        let word = usize::try_from(word)
            .ok()
            .and_then(|word| self.seen.get_mut(word));
        let seen = word.ok_or(Fault::Missing(number))?;
        if *seen & bit != 0 {
            return Err(Fault::Twice(number));
        }
        *seen |= bit;
        let mut page = vec![0; self.usable];
        if let Some((log, frames)) = &mut self.log
            && let Some(at) = frames.at.get(&number)
        {
            read_at(log, *at, &mut page, number)?;
        } else {
            let at = u64::from(number - 1) * self.size as u64;
            read_at(&mut self.file, at, &mut page, number)?;
        }
        Ok(page)
    }
}

fn read_at<F: Read + Seek>(file: &mut F, at: u64, bytes: &mut [u8], number: u32) -> Result<(), Fault> {
    file.seek(SeekFrom::Start(at))?;
    match file.read_exact(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Fault::Missing(number)),
        done => Ok(done?),
    }
}

/// Pages of a database without a log: what its header says, unless a version of SQLite before 3.7.0
/// wrote after that; what the file has otherwise.
fn whole(header: &[u8; HEADER], there: u64) -> Result<u64, Fault> {
    match be32(header, 28) {
        Some(said @ 1..) if be32(header, 24) == be32(header, 92) => {
            if u64::from(said) > there {
                return Err(Fault::Missing(said));
            }
            Ok(u64::from(said))
        }
        _ => Ok(there),
    }
}

/// Bytes of a page, all and usable, by a database header; none when it is of another form.
fn sizes(header: &[u8; HEADER]) -> Option<(usize, usize)> {
    // 1 stands for 65,536, which two bytes do not hold.
    let size = match be16(header, 16)? {
        1 => 65_536,
        size => usize::from(size),
    };
    let usable = size.checked_sub(usize::from(*header.get(20)?))?;
    // How it is read: 1 without a write-ahead log, 2 with one.
    let known = header.starts_with(MAGIC) && matches!(header.get(19), Some(1 | 2));
    let whole = size.is_power_of_two() && size >= 512 && usable >= 480;
    (known && whole && be32(header, 56)? == UTF_8).then_some((size, usable))
}
