//! The scan of the process table: what is read of it, and what is listed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::observed::ObservedProcess;
use safetytwin_crds::item::{Observed, ProcessItem, Text};
use safetytwin_crds::redaction;

use super::events::News;
use super::files::{command_line, effective, mark};
use super::helper::Helper;
use super::listens;
use super::memory::{Id, Known, Memory, id};
use super::packages::Packages;
use super::rows::Rows;
use super::table::{self, Owner, Stat};
use super::{MOST_BYTES, MainPids, TICKS};
use crate::collect::accounts::Accounts;
use crate::collect::steady::Steady;
use crate::collect::{CollectError, Collected, Content};
use crate::hostroot::{HostRoot, ReadError, read_plain};
use crate::redact::Redactor;
use crate::settings::{Level, Settings};

/// A younger process may still be on its way from its fork to its program.
const SETTLED: Duration = Duration::from_secs(10);

/// About what an item takes: its arguments, and the rest.
fn weight(item: &ProcessItem) -> usize {
    512 + item.argv.iter().map(|argument| argument.0.len()).sum::<usize>()
}

/// What a scan found.
pub struct Scan {
    /// Items and what changes by itself.
    pub collected: Collected,
    /// Processes that are too young to be listed, and when they are old enough.
    pub young: Vec<(i32, Instant)>,
}

/// A process that is published.
pub struct Listed {
    pub item: Arc<ProcessItem>,
    /// Who it was last.
    pid: i32,
    /// Since when nobody is.
    absent: Option<Instant>,
}

/// Scans the process table, and remembers.
pub struct Scanner {
    pub root: HostRoot,
    pub redactor: Redactor,
    pub full: bool,
    pub min_age: Duration,
    pub helper: Helper,
    pub pids: MainPids,
    /// Identity that a process had, and since when.
    pub known: HashMap<Id, (String, Instant)>,
    /// What is published, by key.
    pub listed: BTreeMap<String, Listed>,
    pub memory: Memory,
    pub rows: Rows,
    /// Milliseconds since boot at the scan.
    pub uptime: u64,
    pub steady: Steady,
    pub packages: Packages,
}

/// A process on its own, before it has its ordinal.
pub type Candidate = (Stat, Known);

impl Scanner {
    /// Nothing was scanned yet.
    pub fn new(settings: &Settings, pids: MainPids) -> Self {
        Self {
            root: settings.root.clone(),
            redactor: settings.redactor.clone(),
            full: settings.level == Level::Full,
            min_age: settings.min_age,
            helper: settings.helper.take(),
            pids,
            known: HashMap::new(),
            listed: BTreeMap::new(),
            memory: Memory::default(),
            rows: Rows::default(),
            uptime: 0,
            steady: Steady::default(),
            packages: Packages::default(),
        }
    }

    /// Looks at all processes once; `news` is what was heard since the last time.
    pub fn scan(&mut self, now: Instant, news: &News) -> Result<Scan, CollectError> {
        self.read_clock();
        let proc = self.root.proc().to_path_buf();
        let all = self.read_table(&proc, now, news)?;
        self.memory.begin(now, news, listens::listening(&proc));
        let accounts = Accounts::read(&self.root);
        let roots = self.roots(&proc, &all, now);
        let (mut bytes, mut left_out) = (0, 0);
        let mut candidates = Vec::new();
        for stat in roots {
            // Any user may start many with long command lines: the rest is not even read.
            if bytes > MOST_BYTES {
                left_out += 1;
                continue;
            }
            let candidate = self.candidate(stat, &accounts);
            bytes += candidate.as_ref().map_or(0, |(_, known)| weight(&known.item));
            candidates.extend(candidate);
        }
        let mut scan = self.publish(candidates, &all, now, news);
        if left_out > 0 {
            let gap = format!("over its size budget: {left_out} processes were left out");
            scan.collected.gaps.push(gap);
        }
        let items = self.listed.values().map(|listed| &*listed.item);
        let mut packages = self.packages.of(&self.root, items);
        for process in &mut scan.collected.observed.processes {
            process.package = packages.remove(&process.key);
        }
        Ok(scan)
    }

    fn read_table(&mut self, proc: &Path, now: Instant, news: &News) -> Result<Vec<Stat>, CollectError> {
        let (uptime, min_age) = (self.uptime, self.min_age);
        // A terminal goes with its session, which nobody tells.
        let settled = |stat: &Stat| stat.tty == 0 && age(uptime, stat) >= min_age.max(SETTLED);
        self.rows.read(proc, now, news, settled).map_err(|source| {
            let path = proc.to_path_buf();
            CollectError::Read(ReadError::Open { path, source })
        })
    }

    /// The processes on their own, in start order.
    fn roots<'a>(&mut self, proc: &Path, all: &'a [Stat], now: Instant) -> Vec<&'a Stat> {
        let own = [i32::try_from(std::process::id()).ok(), self.helper.pid()];
        let mains = self.pids.get();
        let memory = &mut self.memory;
        let mut owner_of = |stat: &Stat| memory.owner(stat, now, || owner(proc, stat.pid));
        let oldest = match mains.is_empty() {
            true => table::oldest_by_host(all, &mut owner_of),
            false => HashMap::new(),
        };
        table::independent(
            all,
            |s| {
                if own.contains(&Some(s.pid)) {
                    None
                } else {
                    owner_of(s)
                }
            },
            |unit, s| match mains.get(unit) {
                Some(pid) => i32::try_from(*pid) == Ok(s.pid),
                None => oldest.get(unit) == Some(&s.pid),
            },
        )
    }

    /// A process as it was last read, or as it is read now.
    pub fn candidate(&mut self, stat: &Stat, accounts: &Accounts) -> Option<Candidate> {
        let proc = self.root.proc();
        let line = || {
            let (argv, truncated) = command_line(&proc.join(stat.pid.to_string()).join("cmdline"))?;
            Some(mark(&argv, truncated))
        };
        if let Some(known) = self.memory.item(stat, line) {
            return Some((stat.clone(), known));
        }
        let (item, line) = self.read(stat, accounts)?;
        let base = key(&item, 0);
        let key = base.clone();
        let item = Arc::new(ProcessItem { key, ..item });
        let known = Known { item, base, line };
        self.keep(stat, &known);
        Some((stat.clone(), known))
    }

    /// Remembers a process, once it is old enough: a program that has just started may still change its user and
    /// directory, which nobody tells.
    fn keep(&mut self, stat: &Stat, known: &Known) {
        if age(self.uptime, stat) >= self.min_age {
            self.memory.keep(stat, known);
        }
    }

    /// Its item without a key, and the mark of its command line.
    fn read(&mut self, stat: &Stat, accounts: &Accounts) -> Option<(ProcessItem, u64)> {
        let dir = self.root.proc().join(stat.pid.to_string());
        let (argv, truncated) = command_line(&dir.join("cmdline"))?;
        let line = mark(&argv, truncated);
        let status = read_plain(&dir.join("status"), 64 * 1024).ok()?;
        let status = String::from_utf8_lossy(&status).into_owned();
        let (user, group) = (effective(&status, "Uid:")?, effective(&status, "Gid:")?);
        let mut unknown = Vec::new();
        let mut link = |helper: &mut Helper, what: &str, field: &str| match helper.ask(what, stat.pid) {
            Ok(target) => Some(target),
            Err(why) => {
                unknown.push(format!("{field}: {why}"));
                None
            }
        };
        let executable = link(&mut self.helper, "exe", "executable");
        let cwd = link(&mut self.helper, "cwd", "workingDirectory");
        let sockets = link(&mut self.helper, "sockets", "listens").unwrap_or_default();
        let name = argv.first().cloned().unwrap_or_default();
        let gone = executable
            .as_deref()
            .is_some_and(|path| self.gone(stat.pid, path));
        let mut clean = self.redactor.tally();
        let argv = clean.argv(&argv);
        let comm = match argv.first().is_some_and(|kept| kept.0 != name) {
            // The kernel's short name is the beginning of what was taken out.
            true if !stat.comm.is_empty() => {
                Text(clean.whole(&String::from_utf8_lossy(&stat.comm)).into_bytes())
            }
            _ => clean.bytes(&stat.comm),
        };
        let executable = executable.map(|path| clean.bytes(&path));
        let cwd = cwd.map(|path| clean.bytes(&path));
        if !self.full && !unknown.is_empty() {
            unknown.push("level: basic does not read other users' links".into());
        }
        let item = ProcessItem {
            key: String::new(),
            comm,
            executable,
            executable_gone: gone,
            argv,
            redactions: clean.count,
            truncated,
            working_directory: cwd,
            user: accounts.user_of(user),
            group: accounts.group_of(group),
            listens: listens::of(&sockets, self.memory.listening()),
            ordinal: 0,
            unknown,
        };
        Some((item, line))
    }

    /// Whether what a process runs is no file of the host, or not any more.
    fn gone(&mut self, pid: i32, executable: &[u8]) -> bool {
        executable.ends_with(b" (deleted)")
            || executable.starts_with(b"/memfd:")
            // Where the path is not readable this is not either, which is noted already.
            || self.helper.ask("elsewhere", pid).is_ok_and(|yes| yes == b"1")
    }

    /// Gives candidates their ordinals and keys, in start order, and decides what is listed.
    pub fn publish(
        &mut self,
        mut candidates: Vec<Candidate>,
        all: &[Stat],
        now: Instant,
        news: &News,
    ) -> Scan {
        let first_scan = self.known.is_empty();
        let mut ordinals: HashMap<String, u32> = HashMap::new();
        let (mut observed, mut young) = (Vec::new(), Vec::new());
        let mut known = HashMap::new();
        let mut present = HashSet::new();
        // Those that differ in a secret alone keep their ordinals when one of them restarts.
        candidates.sort_by(|(_, a), (_, b)| a.item.argv.cmp(&b.item.argv));
        for (stat, known_as) in candidates {
            let ordinal = ordinals.entry(known_as.base.clone()).or_insert(0);
            let Known { item, base, .. } = self.numbered(&stat, known_as, *ordinal);
            *ordinal += 1;
            let age = age(self.uptime, &stat);
            let since = match self.known.get(&id(&stat)) {
                Some((identity, since)) if *identity == base => *since,
                // The same process under another name: its new identity is young.
                Some(_) => now,
                None => now.checked_sub(age).unwrap_or(now),
            };
            known.insert(id(&stat), (base, since));
            let old_enough =
                now.saturating_duration_since(since) >= self.min_age || (first_scan && age >= self.min_age);
            if old_enough || self.listed.contains_key(&item.key) {
                observed.push(self.observe(&stat, &item.key));
                present.insert(item.key.clone());
                let (pid, absent) = (stat.pid, None);
                self.listed.insert(item.key.clone(), Listed { item, pid, absent });
            } else {
                young.push((stat.pid, since + self.min_age));
            }
        }
        self.forget(all, known, &present, now, news);
        observed.sort_by(|a, b| a.key.cmp(&b.key));
        let items = self
            .listed
            .values()
            .map(|listed| Arc::clone(&listed.item))
            .collect();
        let collected = Collected {
            content: Content::Processes(items),
            gaps: Vec::new(),
            observed: Observed {
                processes: observed,
                ..Observed::default()
            },
        };
        Scan { collected, young }
    }

    /// The process as it is called when it is number `ordinal` of those that are equal; remembered as such.
    fn numbered(&mut self, stat: &Stat, known: Known, ordinal: u32) -> Known {
        if known.item.ordinal == ordinal {
            return known;
        }
        let mut item = ProcessItem::clone(&known.item);
        item.ordinal = ordinal;
        item.key = match ordinal {
            0 => known.base.clone(),
            ordinal => key(&item, ordinal),
        };
        let item = Arc::new(item);
        let known = Known { item, ..known };
        self.keep(stat, &known);
        known
    }

    fn observe(&mut self, stat: &Stat, key: &str) -> ObservedProcess {
        let mut hold = |what: &str, number| self.steady.hold(&format!("{what} {key}"), number);
        ObservedProcess {
            key: key.to_owned(),
            pid: stat.pid,
            start_ticks: stat.start,
            parent_pid: stat.ppid,
            package: None,
            cpu_ticks: Some(hold("cpu", stat.cpu)),
            resident_pages: Some(hold("resident", stat.resident)),
        }
    }

    /// Lets go of what is gone; of what is listed, after `minAge` of absence.
    fn forget(
        &mut self,
        all: &[Stat],
        known: HashMap<Id, (String, Instant)>,
        present: &HashSet<String>,
        now: Instant,
        news: &News,
    ) {
        let alive: HashSet<Id> = all.iter().map(id).collect();
        self.known.retain(|id, _| alive.contains(id));
        self.known.extend(known);
        self.memory.end(&alive);
        let min_age = self.min_age;
        self.listed.retain(|key, listed| {
            if present.contains(key) {
                return true;
            }
            let ended = news.ended.get(&listed.pid).copied();
            let since = *listed.absent.get_or_insert(ended.unwrap_or(now));
            now.saturating_duration_since(since) < min_age
        });
        self.steady.end();
    }

    /// Takes the time of a scan.
    pub fn read_clock(&mut self) {
        self.uptime = u64::try_from(crate::clock::boottime_ms(&self.root)).unwrap_or(0);
    }
}

/// The process whose executable, arguments, directory and user these are.
pub fn key(item: &ProcessItem, ordinal: u32) -> String {
    // A changed secret is a change of the process, not another process.
    let shape = |text: &Text| Text(redaction::shape(&text.0).into_owned());
    let argv: Vec<Text> = item.argv.iter().map(shape).collect();
    let directory = item
        .working_directory
        .as_ref()
        .map_or_else(|| Text(Vec::new()), shape);
    ProcessItem::identity(
        &shape(item.executable.as_ref().unwrap_or(&item.comm)).0,
        &argv,
        &directory.0,
        item.user.id.unwrap_or(u32::MAX),
        ordinal,
    )
}

/// How long a process has run, so many milliseconds after boot.
fn age(uptime: u64, stat: &Stat) -> Duration {
    Duration::from_millis(uptime.saturating_sub(stat.start.saturating_mul(1000) / TICKS))
}

fn owner(proc: &Path, pid: i32) -> Option<Owner> {
    let bytes = read_plain(&proc.join(pid.to_string()).join("cgroup"), 64 * 1024).ok()?;
    Some(table::owner(&String::from_utf8_lossy(&bytes)))
}
