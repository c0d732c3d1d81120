//! What is published of the processes that were read: ordinals, ages and absences.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::observed::ObservedProcess;
use safetytwin_crds::item::{Observed, ProcessItem};

use super::events::News;
use super::memory::{Id, Known, id};
use super::read::key;
use super::scan::{Candidate, Scan, Scanner, age};
use super::table::Stat;
use crate::collect::steady::held;
use crate::collect::{Collected, Content};

/// What is remembered of a process as long as it runs.
pub struct Seen {
    /// Identity that it had.
    base: Arc<str>,
    /// Since when.
    since: Instant,
    /// What was said last of what it uses.
    cpu: u64,
    resident: u64,
}

impl Seen {
    /// A process that has been `base` since then.
    pub fn new(base: Arc<str>, since: Instant, stat: &Stat) -> Self {
        Self {
            base,
            since,
            cpu: stat.cpu,
            resident: stat.resident,
        }
    }

    /// The numbers to say, of the processor and of memory.
    fn uses(&mut self, stat: &Stat) -> (u64, u64) {
        self.cpu = held(Some(self.cpu), stat.cpu);
        self.resident = held(Some(self.resident), stat.resident);
        (self.cpu, self.resident)
    }
}

/// A process that is published.
pub struct Listed {
    pub item: Arc<ProcessItem>,
    /// Who it was last.
    pid: i32,
    /// Seen by the scan in progress, or by the last one.
    present: bool,
    /// Since when nobody is.
    absent: Option<Instant>,
}

impl Listed {
    /// Nobody is it now.
    pub fn is_absent(&self) -> bool {
        self.absent.is_some()
    }
}

impl Scanner {
    /// Gives candidates their ordinals and keys, in start order, and decides what is listed.
    pub fn publish(
        &mut self,
        mut candidates: Vec<Candidate>,
        all: &[Stat],
        now: Instant,
        news: &News,
    ) -> Scan {
        let first_scan = self.known.is_empty();
        let mut ordinals: HashMap<Arc<str>, u32> = HashMap::new();
        let mut young = Vec::new();
        let mut present = Vec::new();
        self.listed.values_mut().for_each(|listed| listed.present = false);
        // Those that differ in a secret alone keep their ordinals when one of them restarts.
        candidates.sort_by(|(_, a), (_, b)| a.item.argv.cmp(&b.item.argv));
        for (stat, known_as) in candidates {
            let ordinal = ordinals.entry(Arc::clone(&known_as.base)).or_insert(0);
            let known = self.numbered(&stat, known_as, *ordinal);
            *ordinal += 1;
            let age = age(self.uptime, &stat);
            let since = self.since(&stat, &known.base, now, age);
            let old_enough =
                now.saturating_duration_since(since) >= self.min_age || (first_scan && age >= self.min_age);
            if old_enough || self.listed.contains_key(&known.item.key) {
                present.push((stat, self.list(&stat, known)));
            } else {
                young.push((stat.pid, since + self.min_age));
            }
        }
        self.forget(all, now, news);
        let items = self.listed.values().map(|listed| Arc::clone(&listed.item));
        let collected = Collected {
            content: Content::Processes(items.collect()).into(),
            gaps: Vec::new(),
            observed: Arc::new(Observed {
                processes: self.observed(present),
                ..Observed::default()
            }),
        };
        Scan { collected, young }
    }

    /// Since when a process has been what it is.
    fn since(&mut self, stat: &Stat, base: &Arc<str>, now: Instant, age: Duration) -> Instant {
        match self.known.get_mut(&id(stat)) {
            Some(seen) if seen.base == *base => seen.since,
            // The same process under another name: its new identity is young.
            Some(seen) => {
                (seen.base, seen.since) = (Arc::clone(base), now);
                now
            }
            None => {
                let since = now.checked_sub(age).unwrap_or(now);
                let seen = Seen::new(Arc::clone(base), since, stat);
                self.known.insert(id(stat), seen);
                since
            }
        }
    }

    /// Lists a process; what was read anew of it and is equal is the allocation that was published.
    fn list(&mut self, stat: &Stat, known: Known) -> Arc<ProcessItem> {
        let mut listed = Listed {
            item: Arc::clone(&known.item),
            pid: stat.pid,
            present: true,
            absent: None,
        };
        let Some(entry) = self.listed.get_mut(&known.item.key) else {
            self.listed.insert(known.item.key.clone(), listed);
            return known.item;
        };
        let read_anew = !Arc::ptr_eq(&entry.item, &known.item) && entry.item == known.item;
        if read_anew {
            listed.item = Arc::clone(&entry.item);
        }
        *entry = listed;
        let item = Arc::clone(&entry.item);
        if read_anew {
            let item = Arc::clone(&item);
            self.keep(stat, &Known { item, ..known });
        }
        item
    }

    /// What changes by itself of those that are listed, by key.
    fn observed(&mut self, mut present: Vec<(Stat, Arc<ProcessItem>)>) -> Vec<ObservedProcess> {
        let items = present.iter().map(|(_, item)| &**item);
        self.packages.learn(&self.root, items);
        present.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        let observed = present.iter().map(|(stat, item)| {
            let seen = self.known.get_mut(&id(stat));
            let (cpu, resident) = seen.map_or((stat.cpu, stat.resident), |seen| seen.uses(stat));
            ObservedProcess {
                key: item.key.clone(),
                pid: stat.pid,
                start_ticks: stat.start,
                parent_pid: stat.ppid,
                package: self.packages.of(item).map(str::to_owned),
                cpu_ticks: Some(cpu),
                resident_pages: Some(resident),
            }
        });
        observed.collect()
    }

    /// The process as it is called when it is number `ordinal` of those that are equal; remembered as such.
    fn numbered(&mut self, stat: &Stat, known: Known, ordinal: u32) -> Known {
        if known.item.ordinal == ordinal {
            return known;
        }
        let mut item = ProcessItem::clone(&known.item);
        item.ordinal = ordinal;
        item.key = match ordinal {
            0 => known.base.to_string(),
            ordinal => key(&item, ordinal),
        };
        let item = Arc::new(item);
        let known = Known { item, ..known };
        self.keep(stat, &known);
        known
    }

    /// Lets go of what is gone; of what is listed, after `minAge` of absence.
    fn forget(&mut self, all: &[Stat], now: Instant, news: &News) {
        // They are listed by pid.
        let alive = |(pid, start): &Id| {
            let at = all.binary_search_by_key(pid, |stat| stat.pid).ok();
            at.and_then(|at| all.get(at))
                .is_some_and(|stat| stat.start == *start)
        };
        self.known.retain(|id, _| alive(id));
        self.memory.end(alive);
        let min_age = self.min_age;
        self.listed.retain(|_, listed| {
            if listed.present {
                return true;
            }
            let ended = news.ended.get(&listed.pid).copied();
            let since = *listed.absent.get_or_insert(ended.unwrap_or(now));
            now.saturating_duration_since(since) < min_age
        });
    }
}
