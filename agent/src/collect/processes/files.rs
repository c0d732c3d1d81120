//! What the files of one process in `/proc` say.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::hostroot::read_record;

/// Longest command line that is kept.
pub const ARGV_LIMIT: u64 = 64 * 1024;

/// Arguments, and whether they were cut. None for kernel threads and what has just gone.
pub fn command_line(path: &Path) -> Option<(Vec<Vec<u8>>, bool)> {
    arguments(match read_record(CWD, path) {
        Ok(bytes) => bytes,
        Err(Errno::FBIG) => {
            let mut bytes = Vec::new();
            let file = File::open(path).ok()?;
            file.take(ARGV_LIMIT + 1).read_to_end(&mut bytes).ok()?;
            bytes
        }
        Err(_) => return None,
    })
}

/// One number for a command line as it was read.
pub fn mark(argv: &[Vec<u8>], truncated: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (argv, truncated).hash(&mut hasher);
    hasher.finish()
}

/// The arguments in a `cmdline` file (proc_pid_cmdline(5)), and whether they were cut.
pub fn arguments(mut bytes: Vec<u8>) -> Option<(Vec<Vec<u8>>, bool)> {
    let truncated = bytes.len() as u64 > ARGV_LIMIT;
    bytes.truncate(ARGV_LIMIT as usize);
    if bytes.is_empty() {
        return None;
    }
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    let argv: Vec<Vec<u8>> = bytes.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
    Some((argv, truncated))
}

/// The effective id in a line of `status`: real, effective, saved, file system.
pub fn effective(status: &str, key: &str) -> Option<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
