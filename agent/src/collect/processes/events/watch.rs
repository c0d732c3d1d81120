//! What the events say: how many there were, and when a scan would find something new. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use safetytwin_crds::item::observed::ProcessEvents;

use super::{Event, EventSource};
use crate::collect::steady::Steady;

/// Most processes that are waited for; beyond it the scan finds them.
const WAITED: usize = 16 * 1024;
/// A scan finds a process old enough this much after the event: start times have the grain of a tick.
const MARGIN: Duration = Duration::from_millis(100);

/// What was heard since the last scan.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The source tells of each start, exec and end.
    pub told: bool,
    /// Processes that are there anew, or run another program.
    pub renewed: HashSet<i32>,
    /// Published processes that are gone, and since when.
    pub ended: HashMap<i32, Instant>,
    /// More happened than this says.
    pub missed: bool,
}

/// Counts events and knows which processes reach the age at which something is to be published.
pub struct Watch {
    min_age: Duration,
    /// Processes that are published.
    listed: HashSet<i32>,
    /// When a process is old enough, or absent long enough; and the same in that order.
    due: HashMap<i32, Instant>,
    order: BTreeSet<(Instant, i32)>,
    news: News,
    started: u64,
    executed: u64,
    ended: u64,
    lost: u64,
    steady: Steady,
}

impl Watch {
    /// Nothing was heard yet.
    pub fn new(min_age: Duration) -> Self {
        Self {
            min_age,
            listed: HashSet::new(),
            due: HashMap::new(),
            order: BTreeSet::new(),
            news: News::default(),
            started: 0,
            executed: 0,
            ended: 0,
            lost: 0,
            steady: Steady::default(),
        }
    }

    /// These processes are published now.
    pub fn publish(&mut self, pids: impl Iterator<Item = i32>) {
        self.listed = pids.collect();
    }

    /// Takes in an event.
    pub fn note(&mut self, event: Event, now: Instant) {
        match event {
            Event::Started(pid) => {
                self.started += 1;
                self.renew(pid);
                self.wait(pid, now);
            }
            Event::Executed(pid) => {
                self.executed += 1;
                self.renew(pid);
                self.wait(pid, now);
            }
            Event::Ended(pid) => {
                self.ended += 1;
                // Whoever has its pid next starts first.
                self.news.renewed.remove(&pid);
                self.forget(pid);
                // It leaves when it was absent for as long.
                if self.listed.contains(&pid) {
                    self.news.ended.insert(pid, now);
                    self.wait(pid, now);
                }
            }
            Event::Lost => {
                self.lost += 1;
                self.news.missed = true;
            }
        }
    }

    fn renew(&mut self, pid: i32) {
        if self.news.renewed.len() < WAITED {
            self.news.renewed.insert(pid);
        } else {
            self.news.missed = true;
        }
    }

    fn wait(&mut self, pid: i32, now: Instant) {
        self.expect(pid, now + self.min_age);
    }

    /// A scan would find something new of this process at that time.
    pub fn expect(&mut self, pid: i32, at: Instant) {
        self.forget(pid);
        if self.due.len() < WAITED {
            let at = at + MARGIN;
            self.due.insert(pid, at);
            self.order.insert((at, pid));
        }
    }

    fn forget(&mut self, pid: i32) {
        if let Some(at) = self.due.remove(&pid) {
            self.order.remove(&(at, pid));
        }
    }

    /// What was heard since the last call; `told` says whether the source tells of everything.
    pub fn news(&mut self, told: bool) -> News {
        News {
            told,
            ..std::mem::take(&mut self.news)
        }
    }

    /// What was heard was of no use: the next scan reads everything.
    pub fn miss(&mut self) {
        self.news.missed = true;
    }

    /// When the next scan would find something new.
    pub fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Forgets what a scan at `now` has found.
    pub fn scanned(&mut self, now: Instant) {
        while let Some((_, pid)) = self.order.first().copied().filter(|(at, _)| *at <= now) {
            self.forget(pid);
        }
    }

    /// What was heard from `source`, for the `observed` section.
    pub fn told(&mut self, source: &dyn EventSource) -> ProcessEvents {
        let numbers = [
            ("started", self.started),
            ("executed", self.executed),
            ("ended", self.ended),
            ("lost", self.lost),
        ];
        let [started, executed, ended, lost] = numbers.map(|(key, n)| self.steady.hold(key, n));
        self.steady.end();
        ProcessEvents {
            source: source.name().to_owned(),
            reason: source.why(),
            started,
            executed,
            ended,
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ScanOnly;
    use super::*;

    const AGE: Duration = Duration::from_secs(30);

    #[test]
    fn what_ends_early_is_counted_and_causes_no_scan() {
        let (mut watch, now) = (Watch::new(AGE), Instant::now());
        for pid in 1..=500 {
            watch.note(Event::Started(pid), now);
            watch.note(Event::Executed(pid), now);
            watch.note(Event::Ended(pid), now + Duration::from_millis(5));
        }
        assert_eq!(watch.next_due(), None);
        let told = watch.told(&ScanOnly("a test".into()));
        assert_eq!(
            (told.started, told.executed, told.ended, told.lost),
            (500, 500, 500, 0)
        );
    }

    #[test]
    fn a_scan_is_due_when_a_process_is_old_enough_and_when_a_listed_one_is_long_gone() {
        let (mut watch, now) = (Watch::new(AGE), Instant::now());
        watch.note(Event::Started(7), now);
        watch.note(Event::Executed(7), now + Duration::from_secs(1));
        let due = watch.next_due().unwrap();
        assert_eq!(due, now + Duration::from_secs(31) + MARGIN);
        watch.scanned(due);
        assert_eq!(watch.next_due(), None);
        watch.note(Event::Ended(7), due);
        assert_eq!(watch.next_due(), None, "it was not listed");
        watch.publish([7].into_iter());
        watch.note(Event::Ended(7), due);
        assert_eq!(watch.next_due(), Some(due + AGE + MARGIN));
    }

    #[test]
    fn a_storm_of_processes_is_bounded() {
        let (mut watch, now) = (Watch::new(AGE), Instant::now());
        for pid in 0..100_000 {
            watch.note(Event::Started(pid), now);
        }
        assert_eq!((watch.due.len(), watch.order.len()), (WAITED, WAITED));
        watch.scanned(now + AGE * 2);
        assert_eq!((watch.due.len(), watch.order.len()), (0, 0));
    }

    #[test]
    fn what_was_heard_is_told_once_and_a_storm_is_said_to_be_one() {
        let (mut watch, now) = (Watch::new(AGE), Instant::now());
        watch.publish([7].into_iter());
        for event in [
            Event::Executed(5),
            Event::Started(6),
            Event::Ended(7),
            Event::Started(8),
            Event::Ended(8),
        ] {
            watch.note(event, now);
        }
        let news = watch.news(true);
        assert_eq!(news.renewed, HashSet::from([5, 6]));
        assert_eq!(news.ended, HashMap::from([(7, now)]));
        assert!(news.told && !news.missed);
        let none = watch.news(false);
        assert!(none.renewed.is_empty() && none.ended.is_empty() && !none.missed);
        (0..100_000).for_each(|pid| watch.note(Event::Executed(pid), now));
        let storm = watch.news(true);
        assert!(storm.missed && storm.renewed.len() == WAITED);
    }
}
