//! The process table, of which only what may have changed is read again.
//!
//! A thousand `stat` files take some five milliseconds, their list a tenth of that. What has run for a while and has no
//! terminal seldom changes. So a row counts for a minute (half of it, when a scan is made anyway) while the process and
//! its parent are listed and nothing was told of either; for two, then four, of a process that does not use the
//! processor meanwhile. What the list does not show and the kernel does not tell shows that much later: another name
//! without an exec, a parent that nobody reaps; and where it tells nothing at all, a program that calls another in its
//! place, an end that nobody reaps, and a pid that is used again within seconds.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::events::News;
use super::memory::{CHECKED, FRESH};
use super::table::Stat;
use crate::collect::census::Census;
use crate::hostroot::{entries, read_record};

/// How often the time for which a row counts is doubled.
const DOUBLED: u8 = 2;

/// How long the row of a kernel's thread counts.
const OF_KERNEL: Duration = Duration::from_secs(600);

/// A row that counts for a while.
struct Row {
    stat: Stat,
    read: Instant,
    /// How often the process was found as it had been, [`DOUBLED`] at most.
    still: u8,
}

impl Row {
    /// What was read now, where `before` was known.
    fn new(stat: Stat, read: Instant, before: Option<&Self>) -> Self {
        let same = before.filter(|row| {
            let then = &row.stat;
            (then.start, then.comm, then.ppid, then.cpu) == (stat.start, stat.comm, stat.ppid, stat.cpu)
        });
        let still = match same {
            // Two looks in short order say little.
            Some(row) if read.saturating_duration_since(row.read) < row.counts() => row.still,
            Some(row) => DOUBLED.min(row.still + 1),
            None => 0,
        };
        Self { stat, read, still }
    }

    /// When it is to be read again though nothing else asks for a scan.
    fn due(&self) -> Instant {
        self.read + self.rests()
    }

    fn rests(&self) -> Duration {
        CHECKED * 2_u32.pow(self.still.into())
    }

    /// How long a scan that is made anyway does not read it again.
    fn counts(&self) -> Duration {
        // A thread of the kernel is no item; only that it still is one is of interest.
        if self.stat.kernel {
            OF_KERNEL
        } else {
            self.rests() - FRESH
        }
    }
}

/// What was read of the table.
#[derive(Default)]
pub struct Rows {
    /// Settled processes, by pid.
    settled: Vec<Row>,
    /// All that were listed, by pid.
    listed: Vec<i32>,
    /// Before they were listed.
    census: Option<Census>,
}

impl Rows {
    /// When the row of a program is to be read again though nothing else asks for a scan.
    pub fn due(&self) -> Option<Instant> {
        let programs = self.settled.iter().filter(|row| !row.stat.kernel);
        programs.map(Row::due).min()
    }

    /// Whether `proc` lists the same processes as when it was read last. It is not listed while the kernel has counted
    /// no start and no end.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn unchanged(&mut self, proc: &Path) -> io::Result<bool> {
        let census = Census::read(proc);
        if let (Some(now), Some(before)) = (&census, &self.census)
            && (now == before || now.is_as(before, proc))
        {
            self.census = census;
            return Ok(true);
        }
        let same = entries::pids(&entries::open_plain(proc)?)? == self.listed;
        self.census = census.filter(|_| same);
        Ok(same)
    }

    /// All processes that `proc` lists, by pid; those that vanish meanwhile are left out. A row is kept for the next
    /// time when its process is `settled`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(
        &mut self,
        proc: &Path,
        now: Instant,
        news: &News,
        settled: impl Fn(&Stat) -> bool,
    ) -> io::Result<Vec<Stat>> {
        self.census = Census::read(proc);
        let dir = entries::open_plain(proc)?;
        self.listed = entries::pids(&dir)?;
        let mut known = std::mem::take(&mut self.settled).into_iter().peekable();
        let mut all = Vec::with_capacity(self.listed.len());
        self.settled.reserve_exact(self.listed.len());
        for pid in &self.listed {
            while known.next_if(|row| row.stat.pid < *pid).is_some() {}
            let row = match known.next_if(|row| row.stat.pid == *pid) {
                Some(row) if self.stands(&row, now, news) => row,
                before => match read_row(&dir, *pid) {
                    Some(stat) => Row::new(stat, now, before.as_ref()),
                    None => continue,
                },
            };
            all.push(row.stat);
            if settled(&row.stat) {
                self.settled.push(row);
            }
        }
        Ok(all)
    }

    /// Whether a row need not be read again.
    fn stands(&self, row: &Row, now: Instant, news: &News) -> bool {
        let stat = &row.stat;
        !news.missed
            && (stat.ppid == 0 || self.listed.binary_search(&stat.ppid).is_ok())
            && !news.renewed.contains(&stat.pid)
            && !news.renewed.contains(&stat.ppid)
            && !news.ended.contains_key(&stat.pid)
            && now.saturating_duration_since(row.read) < row.counts()
    }
}

fn read_row(dir: &OwnedFd, pid: i32) -> Option<Stat> {
    let bytes = read_record(dir, Path::new(&format!("{pid}/stat")));
    Stat::parse(&bytes.ok()?)
}

#[cfg(test)]
mod tests {
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
        let own = planted.proc.path().join("self");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("status"), "NSpid:\t7\n").unwrap();
        let last = |pid: u32| {
            std::fs::write(planted.proc.path().join("loadavg"), format!("0 0 0 1/2 {pid}\n")).unwrap();
        };
        last(100);
        planted
            .rows
            .read(planted.proc.path(), planted.begin, &News::default(), |_| true)
            .unwrap();
        let of = |pid: &str| planted.proc.path().join(pid);
        std::fs::rename(of("100"), of("101")).unwrap();
        assert!(
            planted.rows.unchanged(planted.proc.path()).unwrap(),
            "a list would show it"
        );
        last(101);
        assert!(!planted.rows.unchanged(planted.proc.path()).unwrap());
        std::fs::rename(of("101"), of("100")).unwrap();
        assert!(
            planted.rows.unchanged(planted.proc.path()).unwrap(),
            "it has come and gone"
        );
    }
}
