//! What is published of the processes that were read: ordinals, ages and absences.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use safetytwin_crds::item::observed::ObservedProcess;
use safetytwin_crds::item::{Observed, ProcessItem};

use super::events::News;
use super::memory::{Id, Known, id};
use super::read::key;
use super::scan::{Candidate, Counter, Scan, Scanner, age};
use super::table::Stat;
use crate::collect::{Collected, Content};

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
        let mut known = HashMap::new();
        let mut present = Vec::new();
        self.listed.values_mut().for_each(|listed| listed.present = false);
        // Those that differ in a secret alone keep their ordinals when one of them restarts.
        candidates.sort_by(|(_, a), (_, b)| a.item.argv.cmp(&b.item.argv));
        for (stat, known_as) in candidates {
            let ordinal = ordinals.entry(Arc::clone(&known_as.base)).or_insert(0);
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
                self.list(stat.pid, &item);
                present.push((stat, item));
            } else {
                young.push((stat.pid, since + self.min_age));
            }
        }
        self.forget(all, known, now, news);
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

    fn list(&mut self, pid: i32, item: &Arc<ProcessItem>) {
        let listed = Listed {
            item: Arc::clone(item),
            pid,
            present: true,
            absent: None,
        };
        match self.listed.get_mut(&item.key) {
            Some(entry) => *entry = listed,
            None => {
                self.listed.insert(item.key.clone(), listed);
            }
        }
    }

    /// What changes by itself of those that are listed, by key.
    fn observed(&mut self, mut present: Vec<(Stat, Arc<ProcessItem>)>) -> Vec<ObservedProcess> {
        let items = present.iter().map(|(_, item)| &**item);
        self.packages.learn(&self.root, items);
        present.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        let observed = present.iter().map(|(stat, item)| {
            let mut hold = |counter, number| self.steady.hold((id(stat), counter), number);
            ObservedProcess {
                key: item.key.clone(),
                pid: stat.pid,
                start_ticks: stat.start,
                parent_pid: stat.ppid,
                package: self.packages.of(item).map(str::to_owned),
                cpu_ticks: Some(hold(Counter::Cpu, stat.cpu)),
                resident_pages: Some(hold(Counter::Resident, stat.resident)),
            }
        });
        let observed = observed.collect();
        self.steady.end();
        observed
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
    fn forget(&mut self, all: &[Stat], known: HashMap<Id, (Arc<str>, Instant)>, now: Instant, news: &News) {
        let alive: HashSet<Id> = all.iter().map(id).collect();
        self.known.retain(|id, _| alive.contains(id));
        self.known.extend(known);
        self.memory.end(&alive);
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
