//! Processes of their own: in no service and no container (see `table`), that have lived
//! `minAge`. A listed one leaves only after `minAge` of absence, so that a restart is no change.
//!
//! Never read: the environment of any process.

mod events;
pub(crate) mod files;
pub mod helper;
mod listens;
mod packages;
pub(crate) mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use safetytwin_crds::item::observed::ObservedProcess;
use safetytwin_crds::item::{Observed, ProcessItem, Text};
use safetytwin_crds::redaction;
use safetytwin_crds::section::SectionName;

use self::events::{EventSource, ScanOnly, Watch};
use self::files::{command_line, effective};
use self::helper::Helper;
use self::packages::Packages;
use self::table::Owner;
pub(super) use self::table::Stat;
use super::accounts::Accounts;
use super::steady::Steady;
use super::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::{HostRoot, ReadError, read_plain};
use crate::redact::Redactor;
use crate::settings::{Level, Settings};

const SCAN: Duration = Duration::from_secs(10);
/// Scans that events cause are at least this far apart.
const APART: Duration = Duration::from_secs(1);
/// About what all that are read take, at most; those that left lately are kept beside them.
const MOST_BYTES: usize = 1024 * 1024;
/// Kernel clock ticks per second in `stat`; fixed at 100 in the user interface of Linux.
const TICKS: u64 = 100;

/// Main processes of services by unit name, from the units collector. Cloning shares them.
#[derive(Clone, Default)]
pub struct MainPids(Arc<Mutex<BTreeMap<String, u32>>>);

impl MainPids {
    /// Replaces all.
    pub fn set(&self, pids: BTreeMap<String, u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pids;
    }

    fn get(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The collector.
pub struct Processes {
    scanner: Scanner,
    interval: Duration,
    /// Where starts and ends are heard; opened when somebody waits for them.
    source: Option<Box<dyn EventSource>>,
    watch: Watch,
    scanned: Instant,
}

impl Processes {
    /// A collector; `helper` is started by the caller, before threads are.
    pub fn new(settings: &Settings, pids: MainPids) -> Self {
        let scanner = Scanner {
            root: settings.root.clone(),
            redactor: settings.redactor.clone(),
            full: settings.level == Level::Full,
            min_age: settings.min_age,
            helper: settings.helper.take(),
            pids,
            known: HashMap::new(),
            listed: BTreeMap::new(),
            steady: Steady::default(),
            packages: Packages::default(),
        };
        Self {
            source: None,
            watch: Watch::new(settings.min_age),
            scanned: Instant::now(),
            interval: SCAN.min(settings.interval),
            scanner,
        }
    }
}

#[async_trait]
impl Collector for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Processes)
    }

    fn audit_interval(&self) -> Duration {
        self.interval
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        let now = Instant::now();
        let mut collected = self.scanner.scan(now)?;
        self.scanned = now;
        self.watch.scanned(now);
        self.watch
            .publish(collected.observed.processes.iter().map(|process| process.pid));
        let not_asked = ScanOnly("nobody waits for events".into());
        let source = self.source.as_deref().unwrap_or(&not_asked);
        collected.observed.process_events = Some(self.watch.told(source));
        Ok(collected)
    }

    async fn changed(&mut self) {
        if self.source.is_none() {
            self.source = Some(events::best().await);
        }
        let Some(source) = self.source.as_deref_mut() else {
            return;
        };
        events::worth_a_scan(source, &mut self.watch, self.scanned + APART).await;
    }
}

/// About what an item takes: its arguments, and the rest.
fn weight(item: &ProcessItem) -> usize {
    512 + item.argv.iter().map(|argument| argument.0.len()).sum::<usize>()
}

struct Scanner {
    root: HostRoot,
    redactor: Redactor,
    full: bool,
    min_age: Duration,
    helper: Helper,
    pids: MainPids,
    /// Identity that a process had, by pid and start time, and since when.
    known: HashMap<(i32, u64), (String, Instant)>,
    /// What is published, and when it was last there.
    listed: BTreeMap<String, (ProcessItem, Instant)>,
    steady: Steady,
    packages: Packages,
}

/// A process on its own, before it has its ordinal.
struct Candidate {
    stat: Stat,
    item: ProcessItem,
}

impl Scanner {
    fn scan(&mut self, now: Instant) -> Result<Collected, CollectError> {
        let proc = self.root.proc().to_path_buf();
        let all = table::read(&proc).map_err(|source| {
            CollectError::Read(ReadError::Open {
                path: proc.clone(),
                source,
            })
        })?;
        let accounts = Accounts::read(&self.root);
        let own = [i32::try_from(std::process::id()).ok(), self.helper.pid()];
        let mains = self.pids.get();
        let oldest = oldest_by_host(&proc, &all, &mains);
        let roots = table::independent(
            &all,
            |s| {
                if own.contains(&Some(s.pid)) {
                    None
                } else {
                    owner(&proc, s.pid)
                }
            },
            |unit, s| match mains.get(unit) {
                Some(pid) => i32::try_from(*pid) == Ok(s.pid),
                None => oldest.get(unit) == Some(&s.pid),
            },
        );
        let listening = listens::listening(&proc);
        let (mut bytes, mut left_out) = (0, 0);
        let mut candidates = Vec::new();
        for stat in roots {
            // Any user may start many with long command lines: the rest is not even read.
            if bytes > MOST_BYTES {
                left_out += 1;
                continue;
            }
            let candidate = self.candidate(stat, &accounts, &listening);
            bytes += candidate.as_ref().map_or(0, |c| weight(&c.item));
            candidates.extend(candidate);
        }
        let mut collected = self.publish(candidates, &all, now);
        if left_out > 0 {
            let gap = format!("over its size budget: {left_out} processes were left out");
            collected.gaps.push(gap);
        }
        let items = self.listed.values().map(|(item, _)| item);
        let mut packages = self.packages.of(&self.root, items);
        for process in &mut collected.observed.processes {
            process.package = packages.remove(&process.key);
        }
        Ok(collected)
    }

    fn candidate(
        &mut self,
        stat: &Stat,
        accounts: &Accounts,
        listening: &HashMap<u64, String>,
    ) -> Option<Candidate> {
        let dir = self.root.proc().join(stat.pid.to_string());
        let (argv, truncated) = command_line(&dir.join("cmdline"))?;
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
        Some(Candidate {
            item: ProcessItem {
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
                listens: listens::of(&sockets, listening),
                ordinal: 0,
                unknown,
            },
            stat: stat.clone(),
        })
    }

    /// Whether what a process runs is no file of the host, or not any more.
    fn gone(&mut self, pid: i32, executable: &[u8]) -> bool {
        executable.ends_with(b" (deleted)")
            || executable.starts_with(b"/memfd:")
            // Where the path is not readable this is not either, which is noted already.
            || self.helper.ask("elsewhere", pid).is_ok_and(|yes| yes == b"1")
    }

    /// Gives candidates their ordinals and keys, in start order, and decides what is listed.
    fn publish(&mut self, mut candidates: Vec<Candidate>, all: &[Stat], now: Instant) -> Collected {
        let uptime = self.uptime();
        let first_scan = self.known.is_empty();
        let mut ordinals: HashMap<String, u32> = HashMap::new();
        let mut observed = Vec::new();
        let mut known = HashMap::new();
        // Those that differ in a secret alone keep their ordinals when one of them restarts.
        candidates.sort_by(|a, b| a.item.argv.cmp(&b.item.argv));
        for mut candidate in candidates {
            let base = key(&candidate.item, 0);
            let ordinal = ordinals.entry(base.clone()).or_insert(0);
            candidate.item.ordinal = *ordinal;
            candidate.item.key = key(&candidate.item, *ordinal);
            *ordinal += 1;
            let (item, stat) = (candidate.item, candidate.stat);
            let age = Duration::from_millis(uptime.saturating_sub(stat.start * 1000 / TICKS));
            let id = (stat.pid, stat.start);
            let since = match self.known.get(&id) {
                Some((identity, since)) if *identity == base => *since,
                // The same process under another name: its new identity is young.
                Some(_) => now,
                None => now.checked_sub(age).unwrap_or(now),
            };
            known.insert(id, (base, since));
            let old_enough =
                now.saturating_duration_since(since) >= self.min_age || (first_scan && age >= self.min_age);
            if old_enough || self.listed.contains_key(&item.key) {
                let mut hold = |what: &str, number| self.steady.hold(&format!("{what} {}", item.key), number);
                observed.push(ObservedProcess {
                    key: item.key.clone(),
                    pid: stat.pid,
                    start_ticks: stat.start,
                    parent_pid: stat.ppid,
                    package: None,
                    cpu_ticks: Some(hold("cpu", stat.cpu)),
                    resident_pages: Some(hold("resident", stat.resident)),
                });
                self.listed.insert(item.key.clone(), (item, now));
            }
        }
        let alive: std::collections::HashSet<(i32, u64)> = all.iter().map(|s| (s.pid, s.start)).collect();
        self.known.retain(|id, _| alive.contains(id));
        self.known.extend(known);
        let min_age = self.min_age;
        self.listed
            .retain(|_, (_, seen)| now.saturating_duration_since(*seen) < min_age);
        self.steady.end();
        observed.sort_by(|a, b| a.key.cmp(&b.key));
        Collected {
            content: Content::Processes(self.listed.values().map(|(item, _)| item.clone()).collect()),
            gaps: Vec::new(),
            observed: Observed {
                processes: observed,
                ..Observed::default()
            },
        }
    }

    /// Milliseconds since boot.
    fn uptime(&self) -> u64 {
        u64::try_from(crate::clock::boottime_ms(&self.root)).unwrap_or(0)
    }
}

/// The process whose executable, arguments, directory and user these are.
fn key(item: &ProcessItem, ordinal: u32) -> String {
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

fn owner(proc: &std::path::Path, pid: i32) -> Option<Owner> {
    let bytes = read_plain(&proc.join(pid.to_string()).join("cgroup"), 64 * 1024).ok()?;
    Some(table::owner(&String::from_utf8_lossy(&bytes)))
}

/// Without D-Bus the oldest child of PID 1 in a hosting service's group stands for its main process.
fn oldest_by_host(
    proc: &std::path::Path,
    all: &[Stat],
    mains: &BTreeMap<String, u32>,
) -> HashMap<String, i32> {
    let mut oldest: HashMap<String, (u64, i32)> = HashMap::new();
    for stat in all.iter().filter(|s| s.ppid == 1 && !s.kernel) {
        if let Some(Owner::Host(unit)) = owner(proc, stat.pid).filter(|_| mains.is_empty()) {
            let entry = oldest.entry(unit).or_insert((stat.start, stat.pid));
            *entry = (*entry).min((stat.start, stat.pid));
        }
    }
    oldest.into_iter().map(|(unit, (_, pid))| (unit, pid)).collect()
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod tests;
