//! The process table, of which only what may have changed is read again.
//!
//! A thousand `stat` files take some five milliseconds, their list a tenth of that. What has run for a while and has no
//! terminal seldom changes. So a row counts for a minute (half of it, when a scan is made anyway) while the process and
//! its parent are listed and nothing was told of either; for two, then four, of a process that does not use the
//! processor meanwhile. Then the kernel is asked first whether its only thread has run at all since (`schedstat`, the
//! cheapest file of a process): one that has not is as it was.
//!
//! What the list does not show and the kernel does not tell shows only when a row is looked at again: another name
//! without an exec, a parent that nobody reaps; and where it tells nothing at all, a program that calls another in its
//! place, an end that nobody reaps, and a pid that is used again within seconds.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::events::News;
use super::memory::{CHECKED, FRESH};
use super::table::Stat;
use crate::collect::census::Census;
use crate::collect::schedstat::SchedStat;
use crate::hostroot::{entries, read_record};

/// How often the time for which a row counts is doubled.
const DOUBLED: u8 = 2;

/// How often in a row a process that sleeps is not read: for half an hour.
const ASLEEP: u8 = 8;
/// How long the row of a kernel's thread counts.
const OF_KERNEL: Duration = Duration::from_secs(600);

/// A row that counts for a while.
struct Row {
    stat: Stat,
    /// When it was read, or the process found asleep since.
    read: Instant,
    /// How often the process was found as it had been, [`DOUBLED`] at most.
    still: u8,
    /// How often the process was found asleep since it was read.
    asleep: u8,
}

impl Row {
    /// What was read now, where `before` was known.
    fn new(stat: Stat, read: Instant, before: Option<&Self>) -> Self {
        let same = before.filter(|row| {
            let then = &row.stat;
            (then.start, then.comm, then.ppid, then.cpu) == (stat.start, stat.comm, stat.ppid, stat.cpu)
        });
        let still = match same {
            // Two looks in short order say little.
            Some(row) if read.saturating_duration_since(row.read) < row.counts() => row.still,
            Some(row) => DOUBLED.min(row.still + 1),
            None => 0,
        };
        Self {
            stat,
            read,
            still,
            asleep: 0,
        }
    }

    /// The row where it counts still, or the kernel tells that the process has not run since; else what it was.
    fn again(self, dir: &OwnedFd, now: Instant) -> Result<Self, Option<Self>> {
        if now.saturating_duration_since(self.read) < self.counts() {
            return Ok(self);
        }
        // Others may have taken its memory away.
        if self.asleep < ASLEEP && self.stat.ran.is_some() && self.stat.ran == read_ran(dir, self.stat.pid) {
            let still = DOUBLED.min(self.still + 1);
            return Ok(Self {
                read: now,
                still,
                asleep: self.asleep + 1,
                ..self
            });
        }
        Err(Some(self))
    }

    /// When it is to be read again though nothing else asks for a scan.
    fn due(&self) -> Instant {
        self.read + self.rests()
    }

    fn rests(&self) -> Duration {
        CHECKED * 2_u32.pow(self.still.into())
    }

    /// How long a scan that is made anyway does not read it again.
    fn counts(&self) -> Duration {
        // A thread of the kernel is no item; only that it still is one is of interest.
        if self.stat.kernel {
            OF_KERNEL
        } else {
            self.rests() - FRESH
        }
    }
}

/// What was read of the table.
#[derive(Default)]
pub struct Rows {
    /// Settled processes, by pid.
    settled: Vec<Row>,
    /// All that were listed, by pid.
    listed: Vec<i32>,
    /// Before they were listed.
    census: Option<Census>,
}

impl Rows {
    /// When the row of a program is to be read again though nothing else asks for a scan.
    pub fn due(&self) -> Option<Instant> {
        let programs = self.settled.iter().filter(|row| !row.stat.kernel);
        programs.map(Row::due).min()
    }

    /// Whether `proc` lists the same processes as when it was read last. It is not listed while the kernel has counted
    /// no start and no end.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn unchanged(&mut self, proc: &Path) -> io::Result<bool> {
        let census = Census::read(proc);
        if self.counted_as_listed(census.as_ref(), proc) {
            self.census = census;
            return Ok(true);
        }
        let same = entries::pids(&entries::open_plain(proc)?)? == self.listed;
        self.census = census.filter(|_| same);
        Ok(same)
    }

    /// Whether the kernel's numbers say that those run that were listed.
    fn counted_as_listed(&self, now: Option<&Census>, proc: &Path) -> bool {
        let both = now.zip(self.census.as_ref());
        both.is_some_and(|(now, before)| now == before || now.is_as(before, proc))
    }

    /// All processes that `proc` lists, by pid; those that vanish meanwhile are left out. A row is kept for the next
    /// time when its process is `settled`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(
        &mut self,
        proc: &Path,
        now: Instant,
        news: &News,
        settled: impl Fn(&Stat) -> bool,
    ) -> io::Result<Vec<Stat>> {
        let census = Census::read(proc);
        let dir = entries::open_plain(proc)?;
        if !self.counted_as_listed(census.as_ref(), proc) {
            self.listed = entries::pids(&dir)?;
        }
        self.census = census;
        let mut known = std::mem::take(&mut self.settled).into_iter().peekable();
        let mut all = Vec::with_capacity(self.listed.len());
        self.settled.reserve_exact(self.listed.len());
        for pid in &self.listed {
            while known.next_if(|row| row.stat.pid < *pid).is_some() {}
            let row = match known.next_if(|row| row.stat.pid == *pid) {
                Some(row) if self.is_left_alone(&row.stat, news, &all) => row.again(&dir, now),
                row => Err(row),
            };
            let row = match row {
                Ok(row) => row,
                Err(before) => match read_row(&dir, *pid, before.as_ref()) {
                    Some(stat) => Row::new(stat, now, before.as_ref()),
                    None => continue,
                },
            };
            all.push(row.stat);
            if settled(&row.stat) {
                self.settled.push(row);
            }
        }
        Ok(all)
    }

    /// Whether nothing was told of a process, and its parent is listed and has not ended, as far as those `before` it
    /// say: then it has another parent, for which it need not run.
    fn is_left_alone(&self, stat: &Stat, news: &News, before: &[Stat]) -> bool {
        let parent = before.binary_search_by_key(&stat.ppid, |stat| stat.pid);
        let parent = parent.ok().and_then(|at| before.get(at));
        !news.missed
            && !parent.is_some_and(|parent| matches!(parent.state, b'Z' | b'X'))
            && (stat.ppid == 0 || self.listed.binary_search(&stat.ppid).is_ok())
            && !news.renewed.contains(&stat.pid)
            && !news.renewed.contains(&stat.ppid)
            && !news.ended.contains_key(&stat.pid)
    }
}

/// What `stat` says of a process, and where that may help, how long it has run.
fn read_row(dir: &OwnedFd, pid: i32, before: Option<&Row>) -> Option<Stat> {
    let may_help = |stat: &Stat| stat.alone && !stat.kernel;
    let asked = before.is_none_or(|row| may_help(&row.stat));
    // First: what it does between the two is seen the next time.
    let ran = asked.then(|| read_ran(dir, pid)).flatten();
    let bytes = read_record(dir, Path::new(&format!("{pid}/stat")));
    let stat = Stat::parse(&bytes.ok()?)?;
    let ran = ran.filter(|_| may_help(&stat));
    Some(Stat { ran, ..stat })
}

fn read_ran(dir: &OwnedFd, pid: i32) -> Option<NonZeroU64> {
    let bytes = read_record(dir, Path::new(&format!("{pid}/schedstat"))).ok()?;
    SchedStat::parse(&bytes)?.mark()
}

#[cfg(test)]
mod tests;
