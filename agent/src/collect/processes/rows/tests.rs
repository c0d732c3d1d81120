//! Looks at a `/proc` of the tests' own, one after the other.

use std::collections::HashSet;
use std::time::Duration;

use super::*;

/// A `/proc` with process 1 and its child 100, and what is read of it.
struct Planted {
    proc: tempfile::TempDir,
    rows: Rows,
    begin: Instant,
}

impl Planted {
    fn new() -> Self {
        let planted = Self {
            proc: tempfile::tempdir().unwrap(),
            rows: Rows::default(),
            begin: Instant::now(),
        };
        planted.write(1, 0, "init");
        planted.write(100, 1, "before");
        planted
    }

    fn write(&self, pid: i32, ppid: i32, name: &str) {
        let dir = self.proc.path().join(pid.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let stat = format!("{pid} ({name}) S {ppid} 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 0 0\n");
        std::fs::write(dir.join("stat"), stat).unwrap();
    }

    /// Has the kernel count starts and ends: this pid was given last.
    fn count(&self, last_pid: u32) {
        let own = self.proc.path().join("self");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("status"), "NSpid:\t7\n").unwrap();
        let averages = format!("0 0 0 1/2 {last_pid}\n");
        std::fs::write(self.proc.path().join("loadavg"), averages).unwrap();
    }

    /// What a scan so many seconds after the first finds, where all are settled.
    fn scan(&mut self, seconds: u64) -> Vec<Stat> {
        let now = self.begin + Duration::from_secs(seconds);
        let (proc, quiet) = (self.proc.path(), News::default());
        self.rows.read(proc, now, &quiet, |_| true).unwrap()
    }

    /// The name of process 100 at a scan so many seconds after the first.
    fn name(&mut self, seconds: u64, news: &News, settled: bool) -> String {
        let now = self.begin + Duration::from_secs(seconds);
        let all = self.rows.read(self.proc.path(), now, news, |_| settled).unwrap();
        let row = all.iter().find(|stat| stat.pid == 100).unwrap();
        String::from_utf8(row.comm.as_bytes().to_vec()).unwrap()
    }
}

#[test]
fn a_settled_process_is_read_again_by_a_scan_half_a_minute_later() {
    let mut planted = Planted::new();
    let quiet = News::default();
    assert_eq!(planted.name(0, &quiet, true), "before");
    planted.write(100, 1, "after");
    assert_eq!(planted.name(29, &quiet, true), "before");
    assert_eq!(planted.name(30, &quiet, true), "after");
}

#[test]
fn a_process_that_stays_still_is_read_after_one_minute_two_and_four() {
    let mut planted = Planted::new();
    let mut read = Vec::new();
    // The sockets that listen cause a scan each minute.
    for minute in 0..20 {
        planted.name(60 * minute, &News::default(), true);
        let row = planted
            .rows
            .settled
            .iter()
            .find(|row| row.stat.pid == 100)
            .unwrap();
        if row.read == planted.begin + Duration::from_secs(60 * minute) {
            read.push(minute);
        }
    }
    assert_eq!(read, [0, 1, 3, 7, 11, 15, 19]);
    assert_eq!(
        planted.rows.due(),
        Some(planted.begin + Duration::from_secs(60 * 23))
    );
    planted.write(100, 1, "after");
    assert_eq!(planted.name(60 * 23, &News::default(), true), "after");
    assert_eq!(
        planted.rows.due(),
        Some(planted.begin + Duration::from_secs(60 * 24))
    );
}

#[test]
fn two_looks_in_short_order_do_not_make_a_process_still() {
    let mut planted = Planted::new();
    let missed = News {
        missed: true,
        ..News::default()
    };
    for second in 0..5 {
        planted.name(second, &missed, true);
    }
    planted.write(100, 1, "after");
    assert_eq!(planted.name(33, &News::default(), true), "before");
    assert_eq!(planted.name(34, &News::default(), true), "after");
}

#[test]
fn a_thread_of_the_kernel_is_read_every_ten_minutes() {
    let mut planted = Planted::new();
    let stat = planted.proc.path().join("100/stat");
    let thread = |name: &str| {
        let rest = "0 0 0 -1 2097152 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0";
        std::fs::write(&stat, format!("100 ({name}) S 1 {rest}\n")).unwrap();
    };
    thread("before");
    assert_eq!(planted.name(0, &News::default(), true), "before");
    thread("after");
    assert_eq!(planted.name(599, &News::default(), true), "before");
    assert_eq!(planted.name(600, &News::default(), true), "after");
}

#[test]
fn a_process_whose_only_thread_has_not_run_is_as_it_was_for_half_an_hour() {
    let mut planted = Planted::new();
    let ran = planted.proc.path().join("100/schedstat");
    std::fs::write(&ran, "500000 7 1\n").unwrap();
    let quiet = News::default();
    assert_eq!(planted.name(0, &quiet, true), "before");
    planted.write(100, 1, "after");
    let read = (1..40).find(|minute| planted.name(60 * minute, &quiet, true) == "after");
    assert!(read.is_some_and(|minute| (30..34).contains(&minute)), "{read:?}");
    planted.write(100, 1, "last");
    assert_eq!(planted.name(2400, &quiet, true), "after");
    std::fs::write(&ran, "500001 7 2\n").unwrap();
    assert_eq!(planted.name(2700, &quiet, true), "last", "it ran");
}

#[test]
fn one_that_sleeps_has_another_parent_once_that_has_ended_though_nobody_reaps_it() {
    let mut planted = Planted::new();
    planted.write(50, 1, "parent");
    planted.write(100, 50, "before");
    std::fs::write(planted.proc.path().join("100/schedstat"), "500000 7 1\n").unwrap();
    let parent = |planted: &mut Planted, seconds| {
        let all = planted.scan(seconds);
        all.iter().find(|stat| stat.pid == 100).unwrap().ppid
    };
    assert_eq!(parent(&mut planted, 0), 50);
    let ended = "50 (parent) Z 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 50 0 0\n";
    std::fs::write(planted.proc.path().join("50/stat"), ended).unwrap();
    planted.write(100, 1, "before");
    assert_eq!(parent(&mut planted, 60), 1);
}

#[test]
fn where_the_kernel_counts_no_start_and_no_end_a_scan_lists_nothing_either() {
    let mut planted = Planted::new();
    let proc = planted.proc.path().to_path_buf();
    planted.count(100);
    let pids = |planted: &mut Planted, seconds| {
        let all = planted.scan(seconds);
        all.iter().map(|stat| stat.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&mut planted, 0), [1, 100]);
    // In the place of another, so that the root of procfs has as many links.
    std::fs::rename(proc.join("100"), proc.join("101")).unwrap();
    let stat = "101 (x) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 101 0 0\n";
    std::fs::write(proc.join("101/stat"), stat).unwrap();
    assert_eq!(pids(&mut planted, 1), [1, 100], "a list would show it");
    planted.count(101);
    assert_eq!(pids(&mut planted, 2), [1, 101]);
}

#[test]
fn one_with_other_threads_or_whose_time_is_not_counted_is_read_each_time() {
    for (threads, ran) in [(2, "500000 7 1\n"), (1, "0 0 0\n")] {
        let mut planted = Planted::new();
        std::fs::write(planted.proc.path().join("100/schedstat"), ran).unwrap();
        let write = |planted: &Planted, name: &str| {
            let stat = format!("100 ({name}) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 100 0 0\n");
            std::fs::write(planted.proc.path().join("100/stat"), stat).unwrap();
        };
        write(&planted, "before");
        assert_eq!(planted.name(0, &News::default(), true), "before");
        write(&planted, "after");
        assert_eq!(planted.name(60, &News::default(), true), "after", "{ran}");
    }
}

#[test]
fn a_young_process_is_read_each_time() {
    let mut planted = Planted::new();
    planted.name(0, &News::default(), false);
    planted.write(100, 1, "after");
    assert_eq!(planted.name(1, &News::default(), false), "after");
}

#[test]
fn news_and_the_end_of_its_parent_have_a_process_read_again() {
    let renewed = News {
        renewed: HashSet::from([100]),
        ..News::default()
    };
    let missed = News {
        missed: true,
        ..News::default()
    };
    for news in [renewed, missed] {
        let mut planted = Planted::new();
        planted.name(0, &News::default(), true);
        planted.write(100, 1, "after");
        assert_eq!(planted.name(1, &news, true), "after", "{news:?}");
    }
    let mut planted = Planted::new();
    planted.write(50, 1, "parent");
    planted.write(100, 50, "before");
    planted.name(0, &News::default(), true);
    std::fs::remove_dir_all(planted.proc.path().join("50")).unwrap();
    planted.write(100, 1, "after");
    assert_eq!(planted.name(1, &News::default(), true), "after");
}

#[test]
fn a_process_that_ended_is_not_there_and_nothing_that_is_no_process_is() {
    let mut planted = Planted::new();
    std::fs::create_dir_all(planted.proc.path().join("self")).unwrap();
    planted.name(0, &News::default(), true);
    std::fs::remove_dir_all(planted.proc.path().join("100")).unwrap();
    let (proc, now) = (planted.proc.path(), planted.begin);
    let all = planted.rows.read(proc, now, &News::default(), |_| true).unwrap();
    assert_eq!(all.iter().map(|stat| stat.pid).collect::<Vec<_>>(), [1]);
}

#[test]
fn the_table_is_unchanged_as_long_as_the_same_processes_are_listed() {
    let mut planted = Planted::new();
    assert!(
        !planted.rows.unchanged(planted.proc.path()).unwrap(),
        "never read"
    );
    planted.name(0, &News::default(), true);
    planted.write(100, 1, "after");
    assert!(planted.rows.unchanged(planted.proc.path()).unwrap());
    planted.write(101, 1, "another");
    assert!(!planted.rows.unchanged(planted.proc.path()).unwrap());
    assert!(
        !planted.rows.unchanged(planted.proc.path()).unwrap(),
        "it is still not read"
    );
    planted.name(1, &News::default(), true);
    assert!(planted.rows.unchanged(planted.proc.path()).unwrap());
}

#[test]
fn where_the_kernel_counts_no_start_and_no_end_nothing_is_listed() {
    let mut planted = Planted::new();
    planted.count(100);
    planted.scan(0);
    let of = |pid: &str| planted.proc.path().join(pid);
    std::fs::rename(of("100"), of("101")).unwrap();
    assert!(
        planted.rows.unchanged(planted.proc.path()).unwrap(),
        "a list would show it"
    );
    planted.count(101);
    assert!(!planted.rows.unchanged(planted.proc.path()).unwrap());
    std::fs::rename(of("101"), of("100")).unwrap();
    assert!(
        planted.rows.unchanged(planted.proc.path()).unwrap(),
        "it has come and gone"
    );
}
