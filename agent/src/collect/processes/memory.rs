//! What was read of a process and need not be read again. Pure.
//!
//! A thousand processes cost some ten thousand system calls when everything is read, a tenth of that when only their
//! `stat` is. A program changes by an exec, which the kernel tells; what it does not tell (another command line or
//! directory, an executable that was replaced) shows when what was read is too old.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::ProcessItem;

use super::events::News;
use super::table::{Owner, Stat};

/// Nothing is believed for longer where the kernel tells of each exec.
const TOLD: Duration = Duration::from_secs(600);
/// And where it does not: only the name in `stat` shows one then.
const NOT_TOLD: Duration = Duration::from_secs(60);

/// Pid and start time: one process, also when its pid is used again.
pub type Id = (i32, u64);

/// A process as an item, and its identity without ordinal.
#[derive(Clone, Debug)]
pub struct Known {
    /// The item, with key and ordinal as it had them last.
    pub item: Arc<ProcessItem>,
    /// What it is called without its ordinal.
    pub base: String,
}

struct Entry {
    read: Instant,
    comm: Vec<u8>,
    owner: Option<Owner>,
    known: Option<Known>,
}

/// What is known of all processes.
#[derive(Default)]
pub struct Memory {
    entries: HashMap<Id, Entry>,
    /// Listening sockets by inode, as of the last scan.
    listening: HashMap<u64, String>,
}

impl Memory {
    /// Forgets what `news` made old, and takes in the listening sockets: where others listen now, it is not known
    /// whose they are.
    pub fn begin(&mut self, now: Instant, news: &News, listening: HashMap<u64, String>) {
        let keep = if news.told { TOLD } else { NOT_TOLD };
        let other = self.listening != listening;
        self.listening = listening;
        if news.missed {
            self.entries.clear();
        }
        self.entries.retain(|(pid, _), entry| {
            now.saturating_duration_since(entry.read) < keep && !news.executed.contains(pid)
        });
        if other {
            self.entries.values_mut().for_each(|entry| entry.known = None);
        }
    }

    /// Listening sockets by inode.
    pub fn listening(&self) -> &HashMap<u64, String> {
        &self.listening
    }

    /// To whom a process belongs; `read` is asked where that is not known.
    pub fn owner(
        &mut self,
        stat: &Stat,
        now: Instant,
        read: impl FnOnce() -> Option<Owner>,
    ) -> Option<Owner> {
        if self.known(stat).is_none() {
            let entry = Entry {
                read: now,
                comm: stat.comm.clone(),
                owner: read(),
                known: None,
            };
            self.entries.insert(id(stat), entry);
        }
        self.entries.get(&id(stat))?.owner.clone()
    }

    /// The item of a process, if it was read and nothing is known to have changed.
    pub fn item(&self, stat: &Stat) -> Option<Known> {
        self.known(stat)?.known.clone()
    }

    /// Keeps what was read of a process whose owner was asked for.
    pub fn keep(&mut self, stat: &Stat, known: &Known) {
        if let Some(entry) = self.entries.get_mut(&id(stat)) {
            entry.known = Some(known.clone());
        }
    }

    /// Forgets the processes that are gone.
    pub fn end(&mut self, alive: &HashSet<Id>) {
        self.entries.retain(|id, _| alive.contains(id));
    }

    fn known(&self, stat: &Stat) -> Option<&Entry> {
        self.entries
            .get(&id(stat))
            .filter(|entry| entry.comm == stat.comm)
    }
}

/// The process that this is of.
pub fn id(stat: &Stat) -> Id {
    (stat.pid, stat.start)
}

#[cfg(test)]
mod tests {
    use super::super::tests::candidate;
    use super::*;

    fn told() -> News {
        News {
            told: true,
            ..News::default()
        }
    }

    /// A memory of process 5, and its `stat`.
    fn of_one(start: Instant) -> (Memory, Stat) {
        let (stat, known) = candidate(5, "a", 1);
        let mut memory = Memory::default();
        memory.begin(start, &told(), HashMap::new());
        assert_eq!(
            memory.owner(&stat, start, || Some(Owner::Nobody)),
            Some(Owner::Nobody)
        );
        memory.keep(&stat, &known);
        (memory, stat)
    }

    #[test]
    fn a_process_is_read_once_until_something_tells_that_it_changed() {
        let start = Instant::now();
        let (mut memory, stat) = of_one(start);
        let later = start + Duration::from_secs(599);
        memory.begin(later, &told(), HashMap::new());
        let unread = || unreachable!("it is known");
        assert_eq!(memory.owner(&stat, later, unread), Some(Owner::Nobody));
        assert!(memory.item(&stat).is_some());
        let renamed = Stat {
            comm: b"y".to_vec(),
            ..stat.clone()
        };
        assert!(memory.item(&renamed).is_none(), "its name is another");
        memory.begin(start + TOLD, &told(), HashMap::new());
        assert!(memory.item(&stat).is_none(), "it is too old");
    }

    #[test]
    fn an_exec_a_loss_of_events_and_another_listening_socket_have_it_read_again() {
        let start = Instant::now();
        let executed = News {
            executed: HashSet::from([5]),
            ..told()
        };
        let missed = News {
            missed: true,
            ..told()
        };
        let sockets = HashMap::from([(7, "tcp:0.0.0.0:80".to_owned())]);
        for (news, listening) in [
            (executed, HashMap::new()),
            (missed, HashMap::new()),
            (told(), sockets),
        ] {
            let (mut memory, stat) = of_one(start);
            memory.begin(start, &news, listening);
            assert!(memory.item(&stat).is_none(), "{news:?}");
        }
    }

    #[test]
    fn where_the_kernel_tells_nothing_a_minute_is_the_limit() {
        let start = Instant::now();
        let (mut memory, stat) = of_one(start);
        memory.begin(start + Duration::from_secs(59), &News::default(), HashMap::new());
        assert!(memory.item(&stat).is_some());
        memory.begin(start + NOT_TOLD, &News::default(), HashMap::new());
        assert!(memory.item(&stat).is_none());
    }
}
