//! Two numbers of the kernel that stand still while no process starts or ends: whether a look at the process table can
//! find another process than the last one did. They cost two small files; the list of a thousand processes costs the
//! kernel milliseconds.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::hostroot::read_single;

/// Most pids that are asked for one by one.
const ASKED: u64 = 64;

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

    /// Whether the same processes run as `before`, though others have come and gone since: as many run, and nobody has
    /// the few pids that were given meanwhile, but for threads. Pids are given in order.
    pub fn is_as(&self, before: &Self, proc: &Path) -> bool {
        let given = self.last_pid.checked_sub(before.last_pid);
        let few = given.is_some_and(|given| given <= ASKED);
        let mut since = before.last_pid.saturating_add(1)..=self.last_pid;
        self.processes == before.processes && few && !since.any(|pid| is_process(proc, pid))
    }
}

/// Whether a process, and no thread of one, has this pid.
fn is_process(proc: &Path, pid: u64) -> bool {
    let dir = proc.join(pid.to_string());
    if !dir.exists() {
        return false;
    }
    let status = read_single(&dir.join("status"), 64 * 1024).unwrap_or_default();
    field(&status, b"Tgid:").is_none_or(|group| group == pid.to_string().as_bytes())
}

/// What a line of `status` says.
fn field<'a>(status: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = status.split(|byte| *byte == b'\n');
    Some(lines.find_map(|line| line.strip_prefix(name))?.trim_ascii())
}

fn last_pid(averages: &str) -> Option<u64> {
    averages.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// Whether the reader has one pid only in the namespace of the procfs: it is in no namespace below that
/// (proc_pid_status(5), NSpid).
fn is_of_one_namespace(status: &[u8]) -> bool {
    field(status, b"NSpid:").is_some_and(|pids| {
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
    fn processes_that_came_and_went_leave_the_same_ones() {
        let proc = tempfile::tempdir().unwrap();
        let (before, now) = (of_pid(100), of_pid(103));
        let plant = |pid: u64, status: &str| {
            let dir = proc.path().join(pid.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("status"), status).unwrap();
        };
        assert!(now.is_as(&before, proc.path()));
        plant(102, "Name:\tx\nTgid:\t50\nPid:\t102\n");
        assert!(now.is_as(&before, proc.path()), "a thread");
        plant(103, "Name:\tx\nTgid:\t103\n");
        assert!(!now.is_as(&before, proc.path()), "it runs");
        let fewer = Census { processes: 9, ..now };
        std::fs::remove_dir_all(proc.path().join("103")).unwrap();
        assert!(!fewer.is_as(&before, proc.path()), "another has ended");
        assert!(!before.is_as(&now, proc.path()), "pids began anew");
        assert!(!of_pid(165).is_as(&before, proc.path()), "too many to ask for");
    }

    fn of_pid(last_pid: u64) -> Census {
        Census {
            last_pid,
            processes: 10,
        }
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
