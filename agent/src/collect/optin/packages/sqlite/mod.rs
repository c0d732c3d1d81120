//! SQLite's file format, as far as reading the rows of one table from first to last: in safe Rust,
//! because the file is a hostile host's and the reader is root. Nothing is locked or written.
//!
//! ```text
//! file ─────────────▶ Pages ──page──▶ tree ──payload──▶ record
//! its -wal ─▶ Frames ───┘        sqlite_schema, then the table that it names
//! ```
//! Source: <https://www.sqlite.org/fileformat2.html>, whose terms the names are. Invariants: every
//! page is read at most once, so that reading ends and costs no more than the file is long; a file
//! that is not of its form is refused as a whole; nothing is allocated by a number that the file
//! says.

pub mod pages;
pub mod record;
pub mod tree;
mod wal;

/// Most bytes of a database: ten times that of a desktop with everything installed.
pub const MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// Why a database is not read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Longer than is read.
    #[error("is longer than {} MiB", .0 >> 20)]
    Long(u64),
    /// A write-ahead log that is longer than is read.
    #[error("has a write-ahead log longer than {} MiB", .0 >> 20)]
    LongLog(u64),
    /// The file's head.
    #[error("is not an SQLite database of a known form")]
    Head,
    /// The head of the write-ahead log.
    #[error("has a write-ahead log of another form")]
    Log,
    /// A page that something points at.
    #[error("has no page {0}: it is torn")]
    Missing(u32),
    /// A page that two things point at.
    #[error("uses page {0} twice")]
    Twice(u32),
    /// The content of a page.
    #[error("is damaged in page {0}")]
    Page(u32),
    /// More levels than SQLite makes.
    #[error("is a tree of more than {0} levels")]
    Deep(usize),
    /// A row of the schema.
    #[error("has a damaged schema")]
    Schema,
    /// No such table.
    #[error("has no table {0}")]
    NoTable(&'static str),
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

/// The big-endian number at an offset.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

/// A variable-length integer and the offset after it: seven bits a byte, eight of the ninth.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (n, byte) in bytes.get(at..)?.iter().take(9).enumerate() {
        if n == 8 {
            return Some((value << 8 | u64::from(*byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests;
