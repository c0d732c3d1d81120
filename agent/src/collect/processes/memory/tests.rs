//! What a memory of the tests' own asks for again, second by second.

use std::collections::HashSet;

use super::super::tests::candidate;
use super::*;

/// The item, where nothing is to be looked at.
fn item(memory: &mut Memory, stat: &Stat) -> Option<Known> {
    memory.item(stat, |due, _| unreachable!("{due:?}"))
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
    memory.begin(start, &told(), false);
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
    // Its moment in the half-hour is the 163rd second.
    let later = start + Duration::from_secs(162);
    memory.begin(later, &told(), false);
    let unread = || unreachable!("it is known");
    assert_eq!(memory.owner(&stat, later, unread), Some(Owner::Nobody));
    assert!(item(&mut memory, &stat).is_some());
    let renamed = Stat {
        comm: b"y".as_slice().into(),
        ..stat
    };
    assert!(item(&mut memory, &renamed).is_none(), "its name is another");
    memory.begin(start + Duration::from_secs(163), &told(), false);
    assert!(item(&mut memory, &stat).is_none(), "it is too old");
}

#[test]
fn what_was_read_at_once_is_read_again_spread_over_half_an_hour_and_nothing_is_older() {
    let start = Instant::now();
    let mut memory = Memory::default();
    memory.begin(start, &told(), false);
    let mut each_minute = [0; 60];
    let stats: Vec<Stat> = (1000..2000).map(|pid| candidate(pid, "a", 1).0).collect();
    for (minute, read) in each_minute.iter_mut().enumerate() {
        let now = start + Duration::from_secs(60 * minute as u64);
        memory.begin(now, &told(), false);
        for stat in &stats {
            memory.owner(stat, now, || {
                *read += 1;
                Some(Owner::Nobody)
            });
        }
    }
    assert_eq!(each_minute[0], 1000);
    assert!(
        each_minute[1..].iter().all(|read| (30..38).contains(read)),
        "{each_minute:?}"
    );
}

#[test]
fn an_exec_and_a_loss_of_events_have_it_read_again() {
    let start = Instant::now();
    let executed = News {
        renewed: HashSet::from([5]),
        ..told()
    };
    let missed = News {
        missed: true,
        ..told()
    };
    for news in [executed, missed] {
        let (mut memory, stat) = of_one(start);
        memory.begin(start, &news, false);
        assert!(item(&mut memory, &stat).is_none(), "{news:?}");
    }
}

#[test]
fn where_others_listen_its_sockets_are_looked_at_and_nothing_else() {
    let start = Instant::now();
    let (mut memory, stat) = of_one(start);
    memory.begin(start, &told(), true);
    let sockets = Due {
        sockets: true,
        ..Due::default()
    };
    let same = |answer| move |due: Due, _: &Known| (due == sockets) && answer;
    assert!(memory.item(&stat, same(true)).is_some());
    assert!(item(&mut memory, &stat).is_some(), "they were looked at");
    memory.begin(start, &told(), true);
    assert!(memory.item(&stat, same(false)).is_none());
    assert!(item(&mut memory, &stat).is_none(), "it is read again");
}

/// At which of these seconds after it was read a process that stays the same is looked at, or read again; `ran` says
/// for how long it has run then.
fn looks(until: u64, ran: impl Fn(u64) -> Option<NonZeroU64>) -> Vec<u64> {
    let start = Instant::now();
    let (mut memory, stat) = of_one(start);
    let (_, known) = candidate(5, "a", 1);
    let looked = (0..until).step_by(10).filter(|seconds| {
        let now = start + Duration::from_secs(*seconds);
        memory.begin(now, &News::default(), false);
        let ran = ran(*seconds);
        let stat = Stat { ran, ..stat };
        let mut group = false;
        memory.owner(&stat, now, || {
            group = true;
            Some(Owner::Nobody)
        });
        let mut line = false;
        let item = memory.item(&stat, |due, _| {
            line = due.line;
            true
        });
        if item.is_none() {
            memory.keep(&stat, &known);
            return true;
        }
        assert_eq!(group, line);
        line
    });
    looked.collect()
}

#[test]
fn where_the_kernel_tells_nothing_group_and_command_line_are_looked_at_after_growing_times() {
    assert_eq!(looks(1300, |_| None), [60, 170, 230, 350, 590, 830, 1070]);
}

#[test]
fn of_a_process_that_has_not_run_since_they_are_not_looked_at() {
    // It ran once, in the fifth minute; it is read again at its moment in the half-hour.
    let ran = |seconds| NonZeroU64::new(if seconds < 300 { 500 } else { 501 });
    assert_eq!(looks(1300, ran), [60, 170, 300]);
}

#[test]
fn what_is_due_stays_due_until_the_process_has_run_however_often_its_owner_is_asked_for() {
    let start = Instant::now();
    // Its moment in the half-hour is the 1112th second.
    let (stat, known) = candidate(1, "a", 1);
    let mut memory = Memory::default();
    memory.begin(start, &told(), false);
    memory.owner(&stat, start, || Some(Owner::Nobody));
    memory.keep(&stat, &known);
    let at = |ran| Stat {
        ran: NonZeroU64::new(ran),
        ..stat
    };
    let looked = |memory: &mut Memory, stat: &Stat, seconds: u64| {
        let now = start + Duration::from_secs(seconds);
        memory.begin(now, &News::default(), false);
        let mut groups = 0;
        for _ in 0..2 {
            memory.owner(stat, now, || {
                groups += 1;
                Some(Owner::Nobody)
            });
        }
        let mut line = false;
        let known = memory.item(stat, |due, _| {
            line = due.line;
            true
        });
        assert!(known.is_some());
        (groups, line)
    };
    assert_eq!(looked(&mut memory, &at(500), 60), (1, true));
    // Its row may be older than the look that is due.
    assert_eq!(looked(&mut memory, &at(500), 190), (0, false));
    assert_eq!(looked(&mut memory, &at(501), 200), (1, true));
    assert_eq!(looked(&mut memory, &at(502), 210), (0, false), "it is not due");
}

#[test]
fn a_process_with_another_command_line_is_read_again() {
    let start = Instant::now();
    let (mut memory, stat) = of_one(start);
    let now = start + CHECKED;
    memory.begin(now, &News::default(), false);
    memory.owner(&stat, now, || Some(Owner::Nobody));
    assert!(memory.item(&stat, |_, _| false).is_none());
    assert!(item(&mut memory, &stat).is_none());
}

#[test]
fn a_process_that_came_into_another_group_is_read_again() {
    let start = Instant::now();
    let (mut memory, stat) = of_one(start);
    let now = start + CHECKED;
    memory.begin(now, &News::default(), false);
    let moved = Some(Owner::Service);
    assert_eq!(memory.owner(&stat, now, || moved.clone()), moved);
    assert!(item(&mut memory, &stat).is_none());
}
