//! Scans of a `/proc` of the tests' own, one after the other.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::events::News;
use super::helper::Helper;
use super::*;
use crate::collect::Content;
use crate::hostroot::HostRoot;

/// A scanner of a `/proc` of the test's own, a thousand seconds after boot, whose process 100 started with it.
fn of_one_process() -> (tempfile::TempDir, Scanner) {
    let proc = tempfile::tempdir().unwrap();
    std::fs::write(proc.path().join("uptime"), "1000.00 1.00\n").unwrap();
    plant(proc.path(), 100, 0);
    let scanner = Scanner {
        root: HostRoot::new("/", proc.path(), "/sys"),
        helper: Helper::none(proc.path()),
        known: HashMap::new(),
        ..tests::scanner()
    };
    (proc, scanner)
}

/// A process that started so many ticks after boot.
fn plant(proc: &Path, pid: i32, start: u64) {
    let dir = proc.join(pid.to_string());
    std::fs::create_dir_all(dir.join("fd")).unwrap();
    let stat = format!("{pid} (x) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n");
    for (file, text) in [
        ("stat", stat.as_str()),
        ("cmdline", "/bin/x\0"),
        ("cgroup", "0::/\n"),
        ("status", "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"),
    ] {
        std::fs::write(dir.join(file), text).unwrap();
    }
}

/// Process 100 listens from now on.
fn listen(proc: &Path) {
    std::fs::create_dir_all(proc.join("1/net")).unwrap();
    let line = "0: 00000000:0050 00000000:0000 0A 0 0 0 0 0 4242 1";
    std::fs::write(proc.join("1/net/tcp"), format!("header\n{line}\n")).unwrap();
    std::os::unix::fs::symlink("socket:[4242]", proc.join("100/fd/3")).unwrap();
}

#[test]
fn while_the_same_processes_run_a_scan_is_worth_its_cost_once_a_minute() {
    let (proc, mut scanner) = of_one_process();
    let (start, quiet) = (Instant::now(), News::default());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(scanner.is_worth(at(0), &quiet), "the first");
    scanner.scan(at(0), &quiet).unwrap();
    assert!(!scanner.is_worth(at(2), &quiet));
    assert!(!scanner.is_worth(at(59), &quiet));
    assert!(scanner.is_worth(at(60), &quiet));
    let renewed = News {
        renewed: HashSet::from([100]),
        ..News::default()
    };
    assert!(scanner.is_worth(at(2), &renewed), "it runs another program");
    scanner.pids.set([("cron.service", 100)].into_iter());
    assert!(scanner.is_worth(at(2), &quiet), "it is a service's");
    scanner.scan(at(2), &quiet).unwrap();
    scanner
        .pids
        .set([("cron.service", 100), ("web.service", 7)].into_iter());
    assert!(
        !scanner.is_worth(at(3), &quiet),
        "what is in that service's group is its own"
    );
    plant(proc.path(), 101, 0);
    assert!(scanner.is_worth(at(3), &quiet), "another process");
}

#[test]
fn a_process_that_is_young_or_has_just_gone_is_scanned_for_until_it_counts() {
    let (proc, mut scanner) = of_one_process();
    let (start, quiet) = (Instant::now(), News::default());
    let at = |seconds| start + Duration::from_secs(seconds);
    plant(proc.path(), 101, 99_000);
    scanner.scan(at(0), &quiet).unwrap();
    let young = scanner.scan(at(1), &quiet).unwrap().young;
    assert_eq!(young.len(), 1);
    assert!(scanner.is_worth(at(2), &quiet));
    std::fs::write(proc.path().join("uptime"), "1040.00 1.00\n").unwrap();
    scanner.scan(at(40), &quiet).unwrap();
    assert!(!scanner.is_worth(at(41), &quiet), "both are listed");
    std::fs::remove_dir_all(proc.path().join("101")).unwrap();
    assert!(scanner.is_worth(at(42), &quiet));
    scanner.scan(at(42), &quiet).unwrap();
    assert!(
        scanner.is_worth(at(43), &quiet),
        "it has not been absent for long enough"
    );
    scanner.scan(at(73), &quiet).unwrap();
    assert!(!scanner.is_worth(at(74), &quiet));
}

#[test]
fn a_socket_that_begins_to_listen_is_its_processs_within_a_minute() {
    let (proc, mut scanner) = of_one_process();
    let (start, quiet) = (Instant::now(), News::default());
    let mut listens = |seconds| {
        let now = start + Duration::from_secs(seconds);
        let scan = scanner.scan(now, &quiet).unwrap();
        match &*scan.collected.content {
            Content::Processes(items) => items[0].listens.clone(),
            _ => unreachable!(),
        }
    };
    assert!(listens(0).is_empty());
    listen(proc.path());
    assert!(
        listens(29).is_empty(),
        "the tables are believed for half a minute"
    );
    assert_eq!(listens(61), ["tcp:0.0.0.0:80"]);
    std::fs::remove_file(proc.path().join("1/net/tcp")).unwrap();
    assert!(listens(122).is_empty());
}

#[test]
fn a_socket_that_is_seen_when_another_process_is_read_has_its_owner_at_the_next_scan() {
    let (proc, mut scanner) = of_one_process();
    let (start, quiet) = (Instant::now(), News::default());
    let at = |seconds| start + Duration::from_secs(seconds);
    scanner.scan(at(0), &quiet).unwrap();
    listen(proc.path());
    plant(proc.path(), 101, 0);
    scanner.scan(at(10), &quiet).unwrap();
    assert!(scanner.is_worth(at(11), &quiet));
    let scan = scanner.scan(at(11), &quiet).unwrap();
    let Content::Processes(items) = &*scan.collected.content else {
        unreachable!()
    };
    let listening = items.iter().filter(|item| item.listens == ["tcp:0.0.0.0:80"]);
    assert_eq!(listening.count(), 1);
}

#[tokio::test]
async fn a_look_that_finds_nothing_new_gives_what_the_last_one_gave_and_a_failed_one_is_made_good() {
    let (proc, scanner) = of_one_process();
    let mut processes = Processes {
        scanner,
        last: None,
        interval: SCAN,
        source: None,
        watch: Watch::new(Duration::from_secs(30)),
        scanned: Instant::now(),
    };
    let first = processes.collect(Scope::Audit).await.unwrap();
    let second = processes.collect(Scope::Audit).await.unwrap();
    assert!(Arc::ptr_eq(&first.content, &second.content) && Arc::ptr_eq(&first.observed, &second.observed));
    let away = proc.path().with_extension("away");
    std::fs::rename(proc.path(), &away).unwrap();
    processes.collect(Scope::Audit).await.unwrap_err();
    std::fs::rename(&away, proc.path()).unwrap();
    plant(proc.path(), 101, 0);
    let third = processes.collect(Scope::Audit).await.unwrap();
    let Content::Processes(items) = &*third.content else {
        unreachable!()
    };
    assert_eq!(items.len(), 2);
}

#[tokio::test]
async fn what_was_read_anew_and_is_the_same_is_held_once() {
    let (proc, scanner) = of_one_process();
    plant(proc.path(), 101, 0);
    let mut processes = Processes {
        scanner,
        last: None,
        interval: SCAN,
        source: None,
        watch: Watch::new(Duration::from_secs(30)),
        scanned: Instant::now(),
    };
    processes.collect(Scope::Audit).await.unwrap();
    processes.watch.miss();
    let again = processes.collect(Scope::Audit).await.unwrap();
    let Content::Processes(items) = &*again.content else {
        unreachable!()
    };
    let listed = processes.scanner.listed.values().map(|listed| &listed.item);
    assert!(items.len() == 2 && items.iter().zip(listed).all(|(a, b)| Arc::ptr_eq(a, b)));
    // The content, the list and the memory.
    assert!(items.iter().all(|item| Arc::strong_count(item) == 3));
}

#[test]
fn when_packages_change_what_runs_on_is_read_again() {
    let (proc, mut scanner) = of_one_process();
    let host = tempfile::tempdir().unwrap();
    let info = host.path().join("var/lib/dpkg/info");
    std::fs::create_dir_all(&info).unwrap();
    scanner.root = HostRoot::new(host.path(), proc.path(), "/sys");
    let told = News {
        told: true,
        ..News::default()
    };
    let start = Instant::now();
    let mut argument = |seconds| {
        let scan = scanner.scan(start + Duration::from_secs(seconds), &told).unwrap();
        let Content::Processes(items) = &*scan.collected.content else {
            unreachable!()
        };
        items.iter().map(|item| item.argv[0].lossy()).collect::<Vec<_>>()
    };
    assert_eq!(argument(0), ["/bin/x"]);
    std::fs::write(proc.path().join("100/cmdline"), "/bin/y\0").unwrap();
    assert_eq!(argument(60), ["/bin/x"], "nothing tells");
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(info.join("x.list"), "/bin/x\n").unwrap();
    argument(120);
    // Under its other name it is young for as long as the old one is missed.
    assert_eq!(argument(160), ["/bin/y"]);
}

/// A helper that tells the same executable of each process, until the file `stop` is there.
fn helper(dir: &Path) -> Helper {
    let stop = dir.join("stop").display().to_string();
    let script = dir.join("helper.sh");
    let answer = "=2f62696e2f78\\t=2f\\t=30\\t=";
    let text = format!("while read -r line; do [ -e {stop} ] && exit; printf '{answer}\\n'; done\n");
    std::fs::write(&script, text).unwrap();
    Helper::start(Path::new("/bin/sh"), &script).unwrap()
}

#[tokio::test]
async fn when_the_helper_ends_the_processes_are_unavailable_and_keep_their_identities() {
    let (proc, mut scanner) = of_one_process();
    let dir = tempfile::tempdir().unwrap();
    scanner.helper = helper(dir.path());
    let end = scanner.helper.end().unwrap();
    let mut processes = Processes {
        scanner,
        last: None,
        interval: SCAN,
        source: None,
        watch: Watch::new(Duration::from_secs(30)),
        scanned: Instant::now(),
    };
    let board = crate::collect::board::Board::default();
    let mut look = async || {
        let result = processes.collect(Scope::Audit).await;
        board.post("processes", processes.section(), result);
        board.reports()["processes"].clone()
    };
    let before = look().await;
    let Some(Content::Processes(items)) = before.content.as_deref() else {
        panic!("{before:?}");
    };
    assert_eq!(items[0].executable, Some("/bin/x".into()));
    std::fs::write(dir.path().join("stop"), "").unwrap();
    // It ends over the question about this one.
    plant(proc.path(), 101, 0);
    for _ in 0..2 {
        let after = look().await;
        assert_eq!(after.state, safetytwin_crds::section::SectionState::Unavailable);
        assert_eq!(after.content, before.content);
        let message = after.message.unwrap();
        assert!(
            message.starts_with("the helper process of --level full ended"),
            "{message}"
        );
    }
    let noted = tokio::time::timeout(Duration::from_millis(1), end.wait()).await;
    assert!(
        noted.is_err(),
        "it ended too soon after its start to end the agent at once"
    );
}

#[test]
fn a_process_that_rewrites_its_command_line_at_each_look_is_listed_when_it_keeps_one() {
    let (proc, mut scanner) = of_one_process();
    let (start, quiet) = (Instant::now(), News::default());
    let line = proc.path().join("100/cmdline");
    let mut listed = |seconds: u64, title: &str| {
        std::fs::write(&line, title).unwrap();
        let scan = scanner
            .scan(start + Duration::from_secs(seconds), &quiet)
            .unwrap();
        let Content::Processes(items) = &*scan.collected.content else {
            unreachable!()
        };
        let argv = items
            .iter()
            .map(|item| item.argv.iter().map(|word| word.lossy()).collect());
        argv.collect::<Vec<Vec<String>>>()
    };
    assert_eq!(listed(0, "/bin/x\0"), [["/bin/x"]]);
    for number in 1..60u64 {
        // A writer may have cleared it only, or have written over a longer one.
        let title = match number % 3 {
            0 => String::new(),
            1 => format!("worker: job {number}"),
            _ => format!("worker: job {number}\0\0\0"),
        };
        let found = listed(10 * number, &title);
        let first = number < 9 && found == [["/bin/x"]];
        assert!(first || found.is_empty(), "{number}: {found:?}");
    }
    for seconds in [600, 610, 620] {
        assert_eq!(listed(seconds, "worker: idle"), [[""; 0]; 0], "{seconds}");
    }
    assert_eq!(listed(630, "worker: idle"), [["worker: idle"]]);
}
