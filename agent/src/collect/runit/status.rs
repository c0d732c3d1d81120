//! `supervise/status`: 20 bytes that runsv writes anew at each change (runsv.c of runit 2.1,
//! `update_status`).
//!
//! ```text
//! 0–11  TAI64N time of the change   12–15  pid, little endian   16  paused
//! 17    'u' or 'd': what is wanted  18     got TERM             19  0 down, 1 run, 2 finish
//! ```
//! The time is never read: it would change by itself.

use std::path::Path;

use crate::collect::processes::Stat;
use crate::hostroot::read_single;

/// What a service does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No process.
    Down,
    /// `run` runs.
    Run,
    /// `finish` runs.
    Finish,
}

/// The bytes, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The process of `run` or `finish`; 0 without one.
    pub pid: u32,
    /// It is to run.
    pub wants_up: bool,
    /// What it does now.
    pub state: State,
}

impl Status {
    /// Reads the 20 bytes; others are not runit's (daemontools writes 18).
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Ok(&[.., a, b, c, d, _, want, _, state]) = <&[u8; 20]>::try_from(bytes) else {
            return Err(format!("its status has {} bytes, runit's has 20", bytes.len()));
        };
        Ok(Self {
            pid: u32::from_le_bytes([a, b, c, d]),
            wants_up: want == b'u',
            state: match state {
                0 => State::Down,
                1 => State::Run,
                2 => State::Finish,
                other => return Err(format!("its status names state {other}")),
            },
        })
    }
}

/// Whether a process is the child of a runsv.
pub fn is_supervised(proc: &Path, pid: u32) -> bool {
    let stat =
        |pid: i64| Stat::parse(&read_single(&proc.join(pid.to_string()).join("stat"), 64 * 1024).ok()?);
    let parent = stat(pid.into()).and_then(|child| stat(child.ppid.into()));
    parent.is_some_and(|parent| parent.comm.as_bytes() == b"runsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_bytes_are_a_status_and_nothing_else_is() {
        let mut bytes = [0u8; 20];
        bytes[12..16].copy_from_slice(&70_000u32.to_le_bytes());
        (bytes[17], bytes[19]) = (b'u', 1);
        let status = Status::parse(&bytes).unwrap();
        assert_eq!(
            (status.pid, status.wants_up, status.state),
            (70_000, true, State::Run)
        );
        bytes[19] = 7;
        for broken in [&bytes[..], &[], &[0; 18], &[0; 64]] {
            assert!(Status::parse(broken).is_err(), "{broken:?}");
        }
    }
}
