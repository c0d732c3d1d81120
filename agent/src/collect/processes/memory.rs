//! What was read of a process and need not be read again. Pure.
//!
//! A thousand processes cost some ten thousand system calls when everything is read (`rows` is about their `stat`). A
//! program changes by an exec, which the kernel tells; where it does not, name, group and command line are compared
//! each minute. What neither tells (another user or directory, an executable that was
//! replaced) shows when what was read is too old; of a process that is too young to be listed nothing is kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::ProcessItem;

use super::events::News;
use super::table::{Owner, Stat};

/// Nothing is believed for longer.
const BELIEVED: Duration = Duration::from_secs(600);
/// What is believed is checked this often: the row of each process, and where the kernel does not tell of each exec,
/// its group and command line, too; one that has another is read again.
pub const CHECKED: Duration = Duration::from_secs(60);

/// Pid and start time: one process, also when its pid is used again.
pub type Id = (i32, u64);

/// A process as an item, and its identity without ordinal.
#[derive(Clone, Debug)]
pub struct Known {
    /// The item, with key and ordinal as it had them last.
    pub item: Arc<ProcessItem>,
    /// What it is called without its ordinal.
    pub base: String,
    /// The mark of its command line.
    pub line: u64,
}

struct Entry {
    read: Instant,
    checked: Instant,
    /// Its group, and its command line, are to be looked at again.
    due: (bool, bool),
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
        let other = self.listening != listening;
        self.listening = listening;
        if news.missed {
            self.entries.clear();
        }
        self.entries.retain(|(pid, _), entry| {
            now.saturating_duration_since(entry.read) < BELIEVED && !news.renewed.contains(pid)
        });
        if !news.told {
            let old = |entry: &&mut Entry| now.saturating_duration_since(entry.checked) >= CHECKED;
            for entry in self.entries.values_mut().filter(old) {
                (entry.checked, entry.due) = (now, (true, true));
            }
        }
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
        let known = self.known(stat).map(|entry| (entry.due.0, entry.owner.clone()));
        let owner = match &known {
            Some((false, owner)) => return owner.clone(),
            _ => read(),
        };
        match self.entries.get_mut(&id(stat)) {
            Some(entry) if known.is_some_and(|(_, before)| before == owner) => entry.due.0 = false,
            _ => {
                let entry = Entry {
                    read: now,
                    checked: now,
                    due: (false, false),
                    comm: stat.comm.clone(),
                    owner: owner.clone(),
                    known: None,
                };
                self.entries.insert(id(stat), entry);
            }
        }
        owner
    }

    /// The item of a process, if it was read and nothing is known to have changed; `line` is asked for the mark of its
    /// command line where that is to be looked at again.
    pub fn item(&mut self, stat: &Stat, line: impl FnOnce() -> Option<u64>) -> Option<Known> {
        let known = self.known(stat)?.known.clone()?;
        let entry = self.entries.get_mut(&id(stat))?;
        if entry.due.1 && line() != Some(known.line) {
            entry.known = None;
            return None;
        }
        entry.due.1 = false;
        Some(known)
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

    /// The item, where no command line is to be looked at.
    fn item(memory: &mut Memory, stat: &Stat) -> Option<Known> {
        memory.item(stat, || unreachable!("its command line is not looked at"))
    }

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
        assert!(item(&mut memory, &stat).is_some());
        let renamed = Stat {
            comm: b"y".to_vec(),
            ..stat.clone()
        };
        assert!(item(&mut memory, &renamed).is_none(), "its name is another");
        memory.begin(start + BELIEVED, &told(), HashMap::new());
        assert!(item(&mut memory, &stat).is_none(), "it is too old");
    }

    #[test]
    fn an_exec_a_loss_of_events_and_another_listening_socket_have_it_read_again() {
        let start = Instant::now();
        let executed = News {
            renewed: HashSet::from([5]),
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
            assert!(item(&mut memory, &stat).is_none(), "{news:?}");
        }
    }

    #[test]
    fn where_the_kernel_tells_nothing_group_and_command_line_are_looked_at_each_minute() {
        let start = Instant::now();
        let (mut memory, stat) = of_one(start);
        let nobody = || Some(Owner::Nobody);
        let unread = || unreachable!("it is known");
        memory.begin(start + Duration::from_secs(59), &News::default(), HashMap::new());
        assert_eq!(memory.owner(&stat, start, unread), nobody());
        assert!(item(&mut memory, &stat).is_some());
        let line = item(&mut memory, &stat).map(|known| known.line);
        let now = start + CHECKED;
        memory.begin(now, &News::default(), HashMap::new());
        assert_eq!(memory.owner(&stat, now, nobody), nobody());
        assert!(memory.item(&stat, || line).is_some(), "nothing changed");
        assert!(item(&mut memory, &stat).is_some(), "it was looked at");
        memory.begin(now + CHECKED, &News::default(), HashMap::new());
        assert_eq!(memory.owner(&stat, now + CHECKED, nobody), nobody());
        assert!(memory.item(&stat, || Some(1)).is_none(), "another command line");
        assert!(item(&mut memory, &stat).is_none(), "it is read again");
    }

    #[test]
    fn a_process_that_came_into_another_group_is_read_again() {
        let start = Instant::now();
        let (mut memory, stat) = of_one(start);
        let now = start + CHECKED;
        memory.begin(now, &News::default(), HashMap::new());
        let moved = Some(Owner::Service);
        assert_eq!(memory.owner(&stat, now, || moved.clone()), moved);
        assert!(item(&mut memory, &stat).is_none());
    }
}
