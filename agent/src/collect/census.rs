//! Two numbers of the kernel that stand still while no process starts or ends: whether a look at the process table can
//! find another process than the last one did. They cost one small file; the list of a thousand processes costs the
//! kernel milliseconds.

use std::path::Path;

use crate::hostroot::read_plain;

/// The pid that was given last, and how many threads there are (proc_loadavg(5)).
///
/// An end and a start change the first, an end alone changes the second. A program that calls another in its place
/// changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    last_pid: u64,
    threads: u64,
}

impl Census {
    /// As of now. None where the numbers are not about the processes that `proc` shows: the kernel gives them for the
    /// reader's namespace, whichever procfs is read.
    pub fn read(proc: &Path) -> Option<Self> {
        let status = read_plain(&proc.join("self/status"), 64 * 1024).ok()?;
        let averages = read_plain(&proc.join("loadavg"), 4096).ok()?;
        is_of_one_namespace(&status)
            .then(|| Self::parse(std::str::from_utf8(&averages).ok()?))
            .flatten()
    }

    fn parse(averages: &str) -> Option<Self> {
        let mut fields = averages.split_ascii_whitespace().skip(3);
        let (_running, threads) = fields.next()?.split_once('/')?;
        Some(Self {
            threads: threads.parse().ok()?,
            last_pid: fields.next()?.parse().ok()?,
        })
    }
}

/// Whether the reader has one pid only in the namespace of the procfs: it is in no namespace below that
/// (proc_pid_status(5), NSpid).
fn is_of_one_namespace(status: &[u8]) -> bool {
    let mut lines = status.split(|byte| *byte == b'\n');
    let pids = lines.find_map(|line| line.strip_prefix(b"NSpid:".as_slice()));
    pids.is_some_and(|pids| {
        pids.split(u8::is_ascii_whitespace)
            .filter(|pid| !pid.is_empty())
            .count()
            == 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &str, averages: &str) -> Option<Census> {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("self")).unwrap();
        std::fs::write(proc.path().join("self/status"), status).unwrap();
        std::fs::write(proc.path().join("loadavg"), averages).unwrap();
        Census::read(proc.path())
    }

    #[test]
    fn the_numbers_are_those_of_proc_loadavg() {
        let census = of("Name:\tx\nNSpid:\t42\n", "0.25 1.50 12.05 1/200 999\n");
        let expected = Census {
            last_pid: 999,
            threads: 200,
        };
        assert_eq!(census, Some(expected));
    }

    #[test]
    fn what_is_told_of_another_namespace_is_not_believed() {
        assert_eq!(of("NSpid:\t4242\t42\n", "0 0 0 1/200 999\n"), None);
        assert_eq!(of("Name:\tx\n", "0 0 0 1/200 999\n"), None);
        assert_eq!(of("NSpid:\t42\n", "0 0 0 200 999\n"), None);
    }

    #[test]
    fn a_process_that_starts_changes_them_also_when_it_has_ended_since() {
        let before = Census::read("/proc".as_ref()).unwrap();
        let status = std::process::Command::new("/bin/true").status().unwrap();
        assert!(status.success());
        assert_ne!(Census::read("/proc".as_ref()), Some(before));
    }
}
