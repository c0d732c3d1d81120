//! The scan of the process table: whether it is worth one, and what is read of it.
//!
//! ```text
//! nothing rests ─▶ the same processes? ── yes ──▶ as last time
//!                        └── no, or one is due ─────▶ table ─▶ owners ─▶ those on their own ─▶ read ─▶ listed
//!                                                     (rows)   (memory)      (table)           (memory)
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::News;
use super::helper::Helper;
use super::listed::{Listed, Seen};
use super::listens::Sockets;
use super::memory::{CHECKED, FRESH, Id, Known, Memory};
use super::packages::Packages;
use super::read::weight;
use super::rows::Rows;
use super::table::{self, Owner, Stat};
use super::{MOST_BYTES, MainPids, Mains, TICKS};
use crate::collect::accounts::Accounts;
use crate::collect::{CollectError, Collected};
use crate::hostroot::{HostRoot, ReadError, read_single};
use crate::redact::Redactor;
use crate::settings::{Level, Settings};

/// A younger process may still be on its way from its fork to its program.
const SETTLED: Duration = Duration::from_secs(10);

/// What a scan found.
pub struct Scan {
    /// Items and what changes by itself.
    pub collected: Collected,
    /// Processes that are too young to be listed, and when they are old enough.
    pub young: Vec<(i32, Instant)>,
}

/// Scans the process table, and remembers.
pub struct Scanner {
    pub root: HostRoot,
    pub redactor: Redactor,
    pub full: bool,
    pub min_age: Duration,
    pub helper: Helper,
    pub pids: MainPids,
    /// The main processes at the last scan.
    pub mains: Arc<Mains>,
    /// What was published of each process.
    pub known: HashMap<Id, Seen>,
    /// What is published, by key.
    pub listed: BTreeMap<String, Listed>,
    pub memory: Memory,
    pub rows: Rows,
    pub sockets: Sockets,
    /// A process was read after others had begun to listen than those that were known when its scan began.
    pub others_listen: bool,
    /// Milliseconds since boot at the scan.
    pub uptime: u64,
    pub packages: Packages,
    /// Until when a scan finds nothing new while the same processes run.
    pub rests_until: Option<Instant>,
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
            mains: pids.get(),
            pids,
            known: HashMap::new(),
            listed: BTreeMap::new(),
            memory: Memory::default(),
            rows: Rows::default(),
            sockets: Sockets::default(),
            others_listen: false,
            uptime: 0,
            packages: Packages::default(),
            rests_until: None,
        }
    }

    /// Whether a scan may find something else than the last one did. `news` is what was heard since.
    pub fn is_worth(&mut self, now: Instant, news: &News) -> bool {
        let rests = self.rests_until.is_some_and(|until| now < until);
        let quiet = news.renewed.is_empty() && news.ended.is_empty() && !news.missed;
        let same_mains = Arc::ptr_eq(&self.mains, &self.pids.get());
        // A scan says itself why it cannot read the table.
        let unchanged = |rows: &mut Rows| rows.unchanged(self.root.proc()).unwrap_or(false);
        !(rests && quiet && same_mains && unchanged(&mut self.rows))
    }

    /// Looks at all processes once.
    pub fn scan(&mut self, now: Instant, news: &News) -> Result<Scan, CollectError> {
        self.rests_until = None;
        self.read_clock();
        let proc = self.root.proc().to_path_buf();
        let all = self.read_table(&proc, now, news)?;
        let others = self.sockets.look(&self.root, now, FRESH);
        let others = std::mem::take(&mut self.others_listen) || others;
        self.memory.begin(now, news, others);
        if self.packages.upgraded(&self.root, now) {
            // Nobody tells that the executable of what runs on was replaced.
            self.memory.forget();
        }
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
            let candidate = self.candidate(stat, &accounts, now);
            bytes += candidate.as_ref().map_or(0, |(_, known)| weight(&known.item));
            candidates.extend(candidate);
        }
        // What was read since its end has no executable, so that it would be another process.
        self.check_helper()?;
        let mut scan = self.publish(candidates, &all, now, news);
        if left_out > 0 {
            let gap = format!("over its size budget: {left_out} processes were left out");
            scan.collected.gaps.push(gap);
        }
        let sockets = self.sockets.looked().map(|looked| looked + CHECKED);
        let due = self.rows.due().into_iter().chain(sockets).min();
        let rests = !self.is_restless(&all, &scan);
        self.rests_until = rests.then(|| due.unwrap_or(now + CHECKED));
        Ok(scan)
    }

    /// Whether what the helper is asked for is answered.
    ///
    /// # Errors
    /// It ended, for ever.
    pub fn check_helper(&mut self) -> Result<(), CollectError> {
        match self.helper.has_ended() {
            true => Err(CollectError::HelperEnded),
            false => Ok(()),
        }
    }

    /// Whether the next scan finds something new though the same processes run: one that comes of age, one that has
    /// been absent for long enough, or a socket that is not known to be anybody's.
    fn is_restless(&self, all: &[Stat], scan: &Scan) -> bool {
        self.others_listen
            || !scan.young.is_empty()
            || self.listed.values().any(Listed::is_absent)
            || all.iter().any(|stat| !self.is_settled(stat))
    }

    fn is_settled(&self, stat: &Stat) -> bool {
        stat.kernel || age(self.uptime, stat) >= self.min_age.max(SETTLED)
    }

    fn read_table(&mut self, proc: &Path, now: Instant, news: &News) -> Result<Vec<Stat>, CollectError> {
        let mut rows = std::mem::take(&mut self.rows);
        // A terminal goes with its session, which nobody tells.
        let settled = |stat: &Stat| stat.tty == 0 && self.is_settled(stat);
        let all = rows.read(proc, now, news, settled);
        self.rows = rows;
        all.map_err(|source| {
            let path = proc.to_path_buf();
            CollectError::Read(ReadError::Open { path, source })
        })
    }

    /// The processes on their own, in start order.
    fn roots<'a>(&mut self, proc: &Path, all: &'a [Stat], now: Instant) -> Vec<&'a Stat> {
        let own = [i32::try_from(std::process::id()).ok(), self.helper.pid()];
        self.mains = self.pids.get();
        let mains = self.mains.as_ref().as_ref();
        let memory = &mut self.memory;
        let mut owner_of = |stat: &Stat| memory.owner(stat, now, || owner(proc, stat.pid));
        let oldest = match mains {
            None => table::oldest_by_host(all, &mut owner_of),
            Some(_) => HashMap::new(),
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
            |unit, s| match mains {
                Some(mains) => mains
                    .get(unit)
                    .is_some_and(|pid| i32::try_from(*pid) == Ok(s.pid)),
                None => oldest.get(unit) == Some(&s.pid),
            },
        )
    }

    /// Takes the time of a scan.
    pub fn read_clock(&mut self) {
        self.uptime = u64::try_from(crate::clock::boottime_ms(&self.root)).unwrap_or(0);
    }
}

/// How long a process has run, so many milliseconds after boot.
pub fn age(uptime: u64, stat: &Stat) -> Duration {
    Duration::from_millis(uptime.saturating_sub(stat.start.saturating_mul(1000) / TICKS))
}

fn owner(proc: &Path, pid: i32) -> Option<Owner> {
    let bytes = read_single(&proc.join(pid.to_string()).join("cgroup"), 64 * 1024).ok()?;
    Some(table::owner(&String::from_utf8_lossy(&bytes)))
}
