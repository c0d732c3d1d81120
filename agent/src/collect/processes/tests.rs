use std::collections::HashMap;

use safetytwin_crds::item::ProcessItem;
use safetytwin_crds::item::unit::Account;

use super::events::News;
use super::files::command_line;
use super::helper::Helper;
use super::listed::Seen;
use super::memory::{Known, Memory};
use super::packages::Packages;
use super::rows::Rows;
use super::scan::{Candidate, Scanner};
use super::*;
use crate::collect::Content;
use crate::collect::accounts::Accounts;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

pub(super) fn scanner() -> Scanner {
    Scanner {
        root: HostRoot::new("/", "/proc", "/sys"),
        redactor: Redactor::default(),
        full: true,
        min_age: Duration::from_secs(30),
        helper: Helper::none(std::path::Path::new("/proc")),
        pids: MainPids::default(),
        mains: Arc::default(),
        // So that the next scan is not the first.
        known: HashMap::from([(
            (1, 1),
            Seen::new("".into(), Instant::now(), &candidate(1, "x", 1).0),
        )]),
        listed: BTreeMap::new(),
        memory: Memory::default(),
        rows: Rows::default(),
        sockets: listens::Sockets::default(),
        others_listen: false,
        uptime: 0,
        packages: Packages::default(),
        rests_until: None,
    }
}

fn account() -> Account {
    Account {
        name: "root".into(),
        id: Some(0),
        primary_group: None,
    }
}

pub(super) fn candidate(pid: i32, argument: &str, start: u64) -> Candidate {
    let stat = Stat {
        pid,
        ppid: 1,
        comm: b"x".as_slice().into(),
        state: b'S',
        tty: 0,
        start,
        kernel: false,
        cpu: 0,
        resident: 0,
        alone: true,
        ran: None,
    };
    let item = ProcessItem {
        key: String::new(),
        comm: "x".into(),
        executable: Some("/bin/x".into()),
        executable_gone: false,
        argv: vec!["x".into(), argument.into()],
        redactions: 0,
        truncated: false,
        working_directory: None,
        user: account(),
        group: account(),
        listens: Vec::new(),
        ordinal: 0,
        unknown: Vec::new(),
    };
    let base = read::key(&item, 0).into();
    (
        stat,
        Known {
            item: Arc::new(item),
            base,
            line: 0,
        },
    )
}

fn step(scanner: &mut Scanner, candidates: Vec<Candidate>, now: Instant) -> usize {
    step_with(scanner, candidates, now, &News::default())
}

fn step_with(scanner: &mut Scanner, candidates: Vec<Candidate>, now: Instant, news: &News) -> usize {
    let all: Vec<Stat> = candidates.iter().map(|(stat, _)| *stat).collect();
    scanner.read_clock();
    match &*scanner.publish(candidates, &all, now, news).collected.content {
        Content::Processes(items) => items.len(),
        _ => unreachable!(),
    }
}

#[test]
fn a_process_is_listed_after_thirty_seconds_and_leaves_after_thirty_of_absence() {
    let mut scanner = scanner();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    scanner.read_clock();
    let young = scanner.uptime / 10;
    let one = |pid| vec![candidate(pid, "a", young)];
    assert_eq!(step(&mut scanner, one(5), at(0)), 0);
    assert_eq!(step(&mut scanner, one(5), at(29)), 0);
    assert_eq!(step(&mut scanner, one(5), at(31)), 1);
    // Restarted under another pid within the time: nothing changes.
    assert_eq!(step(&mut scanner, vec![], at(40)), 1);
    assert_eq!(step(&mut scanner, one(6), at(50)), 1);
    assert_eq!(step(&mut scanner, vec![], at(79)), 1);
    assert_eq!(step(&mut scanner, vec![], at(108)), 1);
    assert_eq!(step(&mut scanner, vec![], at(110)), 0);
}

#[test]
fn the_absence_of_a_process_begins_when_it_was_heard_to_end() {
    let mut scanner = scanner();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(step(&mut scanner, vec![candidate(5, "a", 1)], at(0)), 1);
    let news = News {
        ended: HashMap::from([(5, at(50))]),
        ..News::default()
    };
    // Another process caused this scan.
    assert_eq!(step_with(&mut scanner, vec![], at(60), &news), 1);
    assert_eq!(step(&mut scanner, vec![], at(79)), 1);
    assert_eq!(step(&mut scanner, vec![], at(81)), 0);
}

#[test]
fn a_process_that_is_too_young_is_expected_when_it_is_old_enough() {
    let mut scanner = scanner();
    let now = Instant::now();
    scanner.read_clock();
    let all: Vec<Candidate> = vec![candidate(5, "a", scanner.uptime / 10)];
    let stats: Vec<Stat> = all.iter().map(|(stat, _)| *stat).collect();
    let young = scanner.publish(all, &stats, now, &News::default()).young;
    let [(5, at)] = young[..] else {
        panic!("{young:?}");
    };
    assert!(at > now + Duration::from_secs(28) && at <= now + Duration::from_secs(30));
}

#[test]
fn a_process_that_changes_its_arguments_begins_anew() {
    let mut scanner = scanner();
    let start = Instant::now();
    assert_eq!(step(&mut scanner, vec![candidate(5, "a", 1)], start), 1);
    let later = start + Duration::from_secs(5);
    assert_eq!(
        step(&mut scanner, vec![candidate(5, "b", 1)], later),
        1,
        "only the old one"
    );
}

#[test]
fn equal_processes_have_ordinals_in_start_order() {
    let mut scanner = scanner();
    let two = vec![candidate(5, "a", 1), candidate(6, "a", 2)];
    assert_eq!(step(&mut scanner, two, Instant::now()), 2);
    let ordinals: Vec<u32> = scanner
        .listed
        .values()
        .map(|listed| listed.item.ordinal)
        .collect();
    assert!(ordinals.contains(&0) && ordinals.contains(&1));
}

#[test]
fn a_huge_command_line_is_cut_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cmdline");
    std::fs::write(&path, vec![b'a'; 2 * 1024 * 1024]).unwrap();
    let (argv, truncated) = command_line(&path).unwrap();
    assert!(truncated && argv.concat().len() == files::ARGV_LIMIT as usize);
    std::fs::write(&path, b"x\0\0a\nb\0").unwrap();
    assert_eq!(
        command_line(&path).unwrap(),
        (vec![b"x".to_vec(), Vec::new(), b"a\nb".to_vec()], false)
    );
}

/// Processes of a `/proc` of the test's own, through the same code as on a host.
pub(crate) mod planted {
    use super::*;

    /// A process to be.
    pub struct Fake {
        argv: Vec<String>,
        /// Target of `exe`.
        pub executable: String,
        /// Target of `cwd`.
        pub directory: String,
    }

    impl Fake {
        pub fn of(argv: &[&str]) -> Self {
            Self {
                argv: argv.iter().map(|a| (*a).to_owned()).collect(),
                executable: "/bin/a".into(),
                directory: "/".into(),
            }
        }
    }

    /// Their identities.
    pub fn keys(fakes: &[Fake], redactor: &Redactor) -> Vec<String> {
        match &*collected(fakes, redactor).content {
            Content::Processes(items) => items.iter().map(|item| item.key.clone()).collect(),
            _ => unreachable!(),
        }
    }

    /// What the collector says of them.
    pub fn collected(fakes: &[Fake], redactor: &Redactor) -> Collected {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("uptime"), "100000.00 1.00\n").unwrap();
        let mut scanner = Scanner {
            root: HostRoot::new(dir.path(), dir.path(), "/sys"),
            helper: Helper::none(dir.path()),
            redactor: redactor.clone(),
            known: HashMap::new(),
            ..scanner()
        };
        scanner.read_clock();
        let mut candidates = Vec::new();
        for (number, fake) in fakes.iter().enumerate() {
            let mut stat = candidate(number as i32 + 100, "", 100).0;
            let own = dir.path().join(stat.pid.to_string());
            std::fs::create_dir_all(own.join("fd")).unwrap();
            std::fs::write(own.join("cmdline"), fake.argv.join("\0") + "\0").unwrap();
            std::fs::write(own.join("status"), "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n").unwrap();
            std::os::unix::fs::symlink(&fake.executable, own.join("exe")).unwrap();
            std::os::unix::fs::symlink(&fake.directory, own.join("cwd")).unwrap();
            let name = fake.argv[0].rsplit('/').next().unwrap_or_default();
            stat.comm = name.as_bytes().into();
            candidates.extend(scanner.candidate(&stat, &Accounts::default(), Instant::now()));
        }
        let all: Vec<Stat> = candidates.iter().map(|(stat, _)| *stat).collect();
        scanner
            .publish(candidates, &all, Instant::now(), &News::default())
            .collected
    }
}

#[test]
fn more_processes_than_fit_are_left_out_unread_and_that_is_said() {
    let proc = tempfile::tempdir().unwrap();
    std::fs::write(proc.path().join("uptime"), "1000.00 0.00\n").unwrap();
    let add = |pid: u32, ppid: u32, argument: &str| {
        let dir = proc.path().join(pid.to_string());
        std::fs::create_dir(&dir).unwrap();
        let stat = format!("{pid} (x) S {ppid} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 0 0\n");
        std::fs::write(dir.join("stat"), stat).unwrap();
        std::fs::write(dir.join("cmdline"), format!("/bin/x\0{argument}\0")).unwrap();
        std::fs::write(dir.join("status"), "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n").unwrap();
        std::fs::write(dir.join("cgroup"), "0::/\n").unwrap();
    };
    add(1, 0, "init");
    for pid in 100..140 {
        add(pid, 1, &"word ".repeat(13_000));
    }
    let mut scanner = Scanner {
        root: HostRoot::new("/", proc.path(), "/sys"),
        known: HashMap::new(),
        ..scanner()
    };
    let collected = scanner.scan(Instant::now(), &News::default()).unwrap().collected;
    let Content::Processes(items) = &*collected.content else {
        unreachable!()
    };
    assert_eq!(items.len(), 17);
    assert_eq!(
        collected.gaps,
        ["over its size budget: 23 processes were left out"]
    );
}

#[test]
fn what_a_program_that_has_just_started_may_still_change_is_read_again_until_it_is_old_enough() {
    let proc = tempfile::tempdir().unwrap();
    let dir = proc.path().join("100");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("cmdline"), "/bin/x\0").unwrap();
    let mut scanner = Scanner {
        root: HostRoot::new("/", proc.path(), "/sys"),
        ..scanner()
    };
    // It starts a second after boot.
    let (stat, _) = candidate(100, "", 100);
    let mut user_at = |seconds: u64, user: u32| {
        std::fs::write(
            dir.join("status"),
            format!("Uid:\t0\t{user}\t0\t0\nGid:\t0\t0\t0\t0\n"),
        )
        .unwrap();
        scanner.uptime = seconds * 1000;
        scanner
            .memory
            .owner(&stat, Instant::now(), || Some(super::table::Owner::Nobody));
        let (_, known) = scanner
            .candidate(&stat, &Accounts::default(), Instant::now())
            .unwrap();
        known.item.user.id
    };
    assert_eq!(user_at(11, 0), Some(0));
    assert_eq!(user_at(21, 33), Some(33), "it has given up its rights");
    assert_eq!(user_at(31, 33), Some(33));
    assert_eq!(user_at(41, 0), Some(33), "known by now");
}
