//! One look at the monitored host: what its control groups and the watched service's processes have used.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lab::host::Host;

/// The service manager itself: process 1 is alone in it.
pub(super) const MANAGER: &str = "init.scope";
/// What is asked on behalf of a watcher, and pays for it.
pub(super) const ASKED: [&str; 4] = [
    MANAGER,
    "system.slice/dbus.service",
    "system.slice/docker.service",
    "system.slice/containerd.service",
];

/// A process of the watched service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// Clock ticks after boot at its start.
    pub(super) started: u64,
    /// Minor page faults of children that it waited for (proc(5), `cminflt`): a program that was started and has
    /// ended leaves some.
    pub(super) child_faults: u64,
    /// Resident memory in bytes.
    pub(super) rss: u64,
    /// Resident memory in bytes, shared pages divided among those who share them.
    pub(super) pss: u64,
}

/// What was seen in one look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Seconds since boot, by the host's clock.
    pub(super) uptime: f64,
    /// Processor time in microseconds, by control group.
    pub(super) cpu: BTreeMap<String, u64>,
    /// `memory.current` and `memory.peak` of the watched service, in bytes; with pages of files that it read.
    pub(super) memory: BTreeMap<String, u64>,
    /// Processes of the watched service.
    pub(super) processes: Vec<Process>,
    /// Processes and threads that the whole host has started since boot.
    pub(super) forks: u64,
}

/// Looks once; `service` is the watched one, none on a host without any.
///
/// # Errors
/// The host does not answer, or says something else than expected.
pub(super) fn take(host: &Host<'_>, service: Option<&str>) -> Result<Sample> {
    let answer = host.run(&script(service))?;
    parse(&answer).with_context(|| format!("not understood:\n{answer}"))
}

/// The control group of a service.
pub(super) fn group(service: &str) -> String {
    format!("system.slice/{service}")
}

fn script(service: Option<&str>) -> String {
    let watched = service.map(group);
    let groups: Vec<&str> = watched.as_deref().into_iter().chain(ASKED).collect();
    let mut script = format!(
        "cd /sys/fs/cgroup && read up idle < /proc/uptime && echo uptime $up && for group in {}; do \
         read name usec < $group/cpu.stat && echo cpu $group $usec; done",
        groups.join(" ")
    );
    if let Some(group) = watched {
        script += &format!(
            "; for file in memory.current memory.peak; do read bytes < {group}/$file && echo memory $file $bytes; done; \
             for pid in $(cat {group}/cgroup.procs); do stat=$(cat /proc/$pid/stat) && echo stat $stat; \
             grep VmRSS: /proc/$pid/status; grep ^Pss: /proc/$pid/smaps_rollup; done"
        );
    }
    script + "; grep ^processes /proc/stat"
}

fn parse(text: &str) -> Option<Sample> {
    let mut sample = Sample {
        uptime: 0.0,
        cpu: BTreeMap::new(),
        memory: BTreeMap::new(),
        processes: Vec::new(),
        forks: 0,
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["uptime", seconds] => sample.uptime = seconds.parse().ok()?,
            ["cpu", group, microseconds] => {
                sample.cpu.insert((*group).to_owned(), microseconds.parse().ok()?);
            }
            ["memory", file, bytes] => {
                sample.memory.insert((*file).to_owned(), bytes.parse().ok()?);
            }
            ["stat", ..] => sample.processes.push(process(line)?),
            ["VmRSS:", kibibytes, "kB"] => {
                sample.processes.last_mut()?.rss = kibibytes.parse::<u64>().ok()? * 1024;
            }
            ["Pss:", kibibytes, "kB"] => {
                sample.processes.last_mut()?.pss = kibibytes.parse::<u64>().ok()? * 1024;
            }
            ["processes", count] => sample.forks = count.parse().ok()?,
            _ => {}
        }
    }
    (sample.uptime > 0.0 && sample.cpu.contains_key(MANAGER) && sample.forks > 0).then_some(sample)
}

/// `/proc/PID/stat` (proc(5)) after the word `stat`; the name in brackets may hold anything.
fn process(line: &str) -> Option<Process> {
    let pid = line.split_whitespace().nth(1)?.parse().ok()?;
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The first of these is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Process {
        pid,
        started: field(22)?,
        child_faults: field(11)?,
        rss: 0,
        pss: 0,
    })
}

/// What happened between two looks.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Span {
    /// The first look.
    pub(super) before: Sample,
    /// The last look.
    pub(super) after: Sample,
}

impl Span {
    /// Its length by the host's clock.
    pub(super) fn seconds(&self) -> f64 {
        self.after.uptime - self.before.uptime
    }

    /// Processor time of a control group, in percent of one core.
    pub(super) fn percent(&self, group: &str) -> Option<f64> {
        let of = |sample: &Sample| sample.cpu.get(group).copied();
        let microseconds = of(&self.after)?.checked_sub(of(&self.before)?)? as f64;
        (self.seconds() > 0.0).then(|| microseconds / 1e4 / self.seconds())
    }

    /// The same of all that is asked: process 1, the bus and the container engine.
    pub(super) fn percent_of_asked(&self) -> Option<f64> {
        ASKED.iter().map(|group| self.percent(group)).sum()
    }

    /// Resident memory of the watched service's processes at the end, in bytes.
    pub(super) fn rss(&self) -> u64 {
        self.after.processes.iter().map(|process| process.rss).sum()
    }

    /// Processes that the watched service started meanwhile: those that are new in it, and those of its own that
    /// saw a child end.
    pub(super) fn started(&self) -> usize {
        let is_new = |process: &&Process| {
            let same = |old: &&Process| old.pid == process.pid && old.started == process.started;
            let old = self.before.processes.iter().find(same);
            old.is_none_or(|old| old.child_faults < process.child_faults)
        };
        self.after.processes.iter().filter(is_new).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "uptime 1042.17\ncpu system.slice/twin-agent.service 5120345\ncpu init.scope 9000000\n\
        cpu system.slice/dbus.service 1000\ncpu system.slice/docker.service 2000\n\
        cpu system.slice/containerd.service 3000\nmemory memory.current 14680064\nmemory memory.peak 18874368\n\
        stat 4321 (twin ) agent) S 1 4321 4321 0 -1 4194560 9000 17 3 0 411 102 5 6 20 0 4 0 9930 331776000 3400 \
        18446744073709551615\nVmRSS:\t   13600 kB\nPss:               11020 kB\n\
        stat 4322 (twin-agent) S 4321 4321 4321 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 9931 1 1 1\nVmRSS:\t 2048 kB\n\
        Pss: 512 kB\nprocesses 70013\n";

    #[test]
    fn a_look_tells_processor_time_memory_and_processes() {
        let sample = parse(ANSWER).unwrap();
        assert_eq!(sample.cpu["system.slice/twin-agent.service"], 5_120_345);
        assert_eq!(sample.memory["memory.peak"], 18_874_368);
        let first = &sample.processes[0];
        assert_eq!((first.pid, first.started, first.child_faults), (4321, 9930, 17));
        assert_eq!((first.rss, first.pss), (13_926_400, 11_284_480));
        assert_eq!(sample.forks, 70013);
        assert_eq!(parse("uptime 3.0\nprocesses 4\n"), None);
    }

    #[test]
    fn a_span_tells_shares_of_a_core_and_what_was_started() {
        let before = parse(ANSWER).unwrap();
        let mut after = before.clone();
        after.uptime += 100.0;
        *after.cpu.get_mut("system.slice/twin-agent.service").unwrap() += 100_000;
        *after.cpu.get_mut(MANAGER).unwrap() += 20_000;
        let span = Span { before, after };
        let percent = span.percent(&group("twin-agent.service")).unwrap();
        assert!((percent - 0.1).abs() < 1e-9, "{percent}");
        let asked = span.percent_of_asked().unwrap();
        assert!((asked - 0.02).abs() < 1e-9, "{asked}");
        assert_eq!((span.started(), span.rss()), (0, 16_023_552));
    }

    #[test]
    fn a_child_that_came_and_went_counts_as_one_that_is_still_there_does() {
        let before = parse(ANSWER).unwrap();
        let mut after = before.clone();
        after.processes[0].child_faults += 90;
        let mut child = after.processes[1].clone();
        child.pid = 5000;
        after.processes.push(child);
        assert_eq!(Span { before, after }.started(), 2);
    }

    #[test]
    fn the_script_reads_the_watched_group_and_those_that_are_asked() {
        let script = script(Some("naive.service"));
        assert!(
            script.contains("for group in system.slice/naive.service init.scope system.slice/dbus.service")
        );
        assert!(script.contains("cgroup.procs") && !super::script(None).contains("cgroup.procs"));
    }
}
