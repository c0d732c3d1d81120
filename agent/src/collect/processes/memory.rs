//! What was read of a process and need not be read again. Pure.
//!
//! A thousand processes cost some ten thousand system calls when everything is read (`rows` is about their `stat`). A
//! program changes by an exec, which the kernel tells; where it does not, the name is compared with each row, group and
//! command line after one minute, then after two, then every four, for as long as they stay the same; not of a process
//! whose only thread has not run since, by the kernel's own count. What none of these
//! tells (another user or directory, an executable that was replaced) shows when what was read is too old, or dpkg has
//! changed a package; of a process that is too young to be listed nothing is kept.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::ProcessItem;

use super::events::News;
use super::table::{Comm, Owner, Stat};

/// Nothing but a row is believed for longer. What was read at one time is read again spread over this time, so that no
/// single scan reads all.
pub const BELIEVED: Duration = Duration::from_secs(1800);
/// What is believed is checked this often: the sockets that listen, the first time the row of each process, and where
/// the kernel does not tell of each exec, its group and command line, too; one that has another is read again.
pub const CHECKED: Duration = Duration::from_secs(60);
/// A scan that something else causes checks rows and sockets already after this time, so that one is due for all of
/// them at once.
pub const FRESH: Duration = Duration::from_secs(30);

/// Pid and start time: one process, also when its pid is used again.
pub type Id = (i32, u64);

/// A process as an item, and its identity without ordinal.
#[derive(Clone, Debug)]
pub struct Known {
    /// The item, with key and ordinal as it had them last.
    pub item: Arc<ProcessItem>,
    /// What it is called without its ordinal.
    pub base: Arc<str>,
    /// The mark of its command line.
    pub line: u64,
}

/// What is to be looked at again of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Its control group.
    group: bool,
    /// Its command line.
    pub line: bool,
    /// Its sockets.
    pub sockets: bool,
}

struct Entry {
    /// When it is to be read again.
    expires: Instant,
    checked: Instant,
    /// How long the check before counts.
    counts: Duration,
    due: Due,
    comm: Comm,
    /// How far its only thread had run when the group was looked at.
    group_at: Option<NonZeroU64>,
    /// The same of the command line.
    line_at: Option<NonZeroU64>,
    owner: Option<Owner>,
    known: Option<Known>,
}

/// What is known of all processes.
#[derive(Default)]
pub struct Memory {
    entries: HashMap<Id, Entry>,
    /// When it began.
    began: Option<Instant>,
}

impl Memory {
    /// Forgets what `news` made old. Where `others` listen now, it is not known whose sockets these are.
    pub fn begin(&mut self, now: Instant, news: &News, others: bool) {
        self.began.get_or_insert(now);
        if news.missed {
            self.forget();
        }
        self.entries
            .retain(|(pid, _), entry| now < entry.expires && !news.renewed.contains(pid));
        if !news.told {
            let old = |entry: &&mut Entry| now.saturating_duration_since(entry.checked) >= entry.counts;
            for entry in self.entries.values_mut().filter(old) {
                entry.checked = now;
                entry.counts = (entry.counts * 2).min(CHECKED * 4);
                (entry.due.group, entry.due.line) = (true, true);
            }
        }
        if others {
            self.entries
                .values_mut()
                .for_each(|entry| entry.due.sockets = true);
        }
    }

    /// Has all processes read again.
    pub fn forget(&mut self) {
        self.entries.clear();
    }

    /// To whom a process belongs; `read` is asked where that is not known.
    pub fn owner(
        &mut self,
        stat: &Stat,
        now: Instant,
        read: impl FnOnce() -> Option<Owner>,
    ) -> Option<Owner> {
        let known = self.known_mut(stat).map(|entry| {
            let due = entry.due.group && has_run(stat, entry.group_at);
            (due, entry.owner.clone())
        });
        let owner = match &known {
            Some((false, owner)) => return owner.clone(),
            _ => read(),
        };
        let expires = now + self.believed(stat.pid, now);
        match self.entries.get_mut(&id(stat)) {
            Some(entry) if known.is_some_and(|(_, before)| before == owner) => {
                (entry.due.group, entry.group_at) = (false, stat.ran);
            }
            _ => {
                let entry = Entry {
                    expires,
                    checked: now,
                    counts: CHECKED,
                    due: Due::default(),
                    comm: stat.comm,
                    group_at: stat.ran,
                    line_at: None,
                    owner: owner.clone(),
                    known: None,
                };
                self.entries.insert(id(stat), entry);
            }
        }
        owner
    }

    /// The item of a process, if it was read and nothing is known to have changed; `same` looks at what is due again,
    /// where something is.
    pub fn item(&mut self, stat: &Stat, same: impl FnOnce(Due, &Known) -> bool) -> Option<Known> {
        let entry = self.known_mut(stat)?;
        let known = entry.known.clone()?;
        // What is due stays so until it has run.
        let line = entry.due.line && has_run(stat, entry.line_at);
        let due = Due { line, ..entry.due };
        if (due.line || due.sockets) && !same(due, &known) {
            (entry.known, entry.counts) = (None, CHECKED);
            return None;
        }
        entry.due.sockets = false;
        if line {
            (entry.due.line, entry.line_at) = (false, stat.ran);
        }
        Some(known)
    }

    /// Keeps what was read of a process whose owner was asked for.
    pub fn keep(&mut self, stat: &Stat, known: &Known) {
        if let Some(entry) = self.entries.get_mut(&id(stat)) {
            (entry.known, entry.line_at) = (Some(known.clone()), stat.ran);
        }
    }

    /// Forgets the processes that are gone.
    pub fn end(&mut self, alive: impl Fn(&Id) -> bool) {
        self.entries.retain(|id, _| alive(id));
    }

    /// How long what is read now of a process is believed: each has its own moment in every [`BELIEVED`].
    fn believed(&self, pid: i32, now: Instant) -> Duration {
        let period = millis(BELIEVED);
        // Multiplicative hashing (Knuth): neighbours are far apart.
        let share = u64::from(pid.cast_unsigned().wrapping_mul(0x9E37_79B9));
        let moment = period.saturating_mul(share) >> 32;
        let since = self
            .began
            .map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        // Since its last moment, which may have been before this began.
        let old = (millis(since) + period - moment) % period;
        Duration::from_millis(period - old)
    }

    fn known_mut(&mut self, stat: &Stat) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&id(stat));
        entry.filter(|entry| entry.comm == stat.comm)
    }
}

/// Whether it may have run since it had run that far.
fn has_run(stat: &Stat, then: Option<NonZeroU64>) -> bool {
    stat.ran.is_none() || stat.ran != then
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The process that this is of.
pub fn id(stat: &Stat) -> Id {
    (stat.pid, stat.start)
}

#[cfg(test)]
mod tests;
