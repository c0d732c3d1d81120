//! Two numbers of the kernel that stand still while no process starts or ends: whether a look at the process table can
//! find another process than the last one did. They cost two small files; the list of a thousand processes costs the
//! kernel milliseconds.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::hostroot::read_single;

/// The pid that was given last (proc_loadavg(5)), and how many processes there are: the kernel adds their number to the
/// links of the root of procfs (`proc_root_getattr` in fs/proc/root.c).
///
/// A start changes the first, an end alone changes the second. A program that calls another in its place changes
/// neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    last_pid: u64,
    processes: u64,
}

impl Census {
    /// As of now. None where the numbers are not about the processes that `proc` shows: the kernel gives them for the
    /// reader's namespace, whichever procfs is read.
    pub fn read(proc: &Path) -> Option<Self> {
        let status = read_single(&proc.join("self/status"), 64 * 1024).ok()?;
        let averages = read_single(&proc.join("loadavg"), 4096).ok()?;
        is_of_one_namespace(&status).then_some(())?;
        Some(Self {
            last_pid: last_pid(std::str::from_utf8(&averages).ok()?)?,
            processes: proc.metadata().ok()?.nlink(),
        })
    }
}

fn last_pid(averages: &str) -> Option<u64> {
    averages.split_ascii_whitespace().nth(4)?.parse().ok()
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
    fn the_pid_is_the_last_one_of_proc_loadavg() {
        let census = of("Name:\tx\nNSpid:\t42\n", "0.25 1.50 12.05 1/200 999\n");
        assert_eq!(census.unwrap().last_pid, 999);
    }

    #[test]
    fn the_links_of_procfs_count_processes_and_no_threads() {
        let count = || Census::read("/proc".as_ref()).unwrap().processes;
        // Others start and end meanwhile, but not at each of many looks.
        let seen = |more: u64, before: &dyn Fn() -> u64, then: &dyn Fn() -> u64| {
            let matches = |_: &usize| {
                let before = before();
                then() == before + more
            };
            (0..50).filter(matches).count() >= 10
        };
        let with_child = || {
            let mut child = std::process::Command::new("/bin/sleep")
                .arg("60")
                .spawn()
                .unwrap();
            let processes = count();
            child.kill().unwrap();
            child.wait().unwrap();
            processes
        };
        assert!(seen(1, &count, &with_child));
        let with_thread = || {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || ended.recv());
            let processes = count();
            drop(end);
            let _ended = thread.join().unwrap();
            processes
        };
        assert!(seen(0, &count, &with_thread));
    }

    #[test]
    fn what_is_told_of_another_namespace_is_not_believed() {
        assert_eq!(of("NSpid:\t4242\t42\n", "0 0 0 1/200 999\n"), None);
        assert_eq!(of("Name:\tx\n", "0 0 0 1/200 999\n"), None);
        assert_eq!(of("NSpid:\t42\n", "0 0 0 1/200\n"), None);
    }

    #[test]
    fn a_process_that_starts_changes_them_also_when_it_has_ended_since() {
        let before = Census::read("/proc".as_ref()).unwrap();
        let status = std::process::Command::new("/bin/true").status().unwrap();
        assert!(status.success());
        assert_ne!(Census::read("/proc".as_ref()), Some(before));
    }
}
