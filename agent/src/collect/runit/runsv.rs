//! Whether any runsv runs. The name of every process costs a thousand files; so only those are asked that are not
//! known to be something else.

use std::time::{Duration, Instant};

use crate::collect::census::Census;
use crate::hostroot::HostRoot;

/// How long it is believed that none runs though other processes start.
const BELIEVED: Duration = Duration::from_secs(60);
/// Then every process is asked: one may have become a runsv, or a pid have been used again.
const WHOLE: Duration = Duration::from_secs(600);

/// What is known of a host on which no runsv runs.
struct Absence {
    seen: Instant,
    census: Option<Census>,
    /// When every process was asked.
    whole: Instant,
    /// Pids, in order, of processes that were something else.
    others: Vec<i32>,
    /// Of these, those that were so at two looks: they will hardly call another program any more.
    settled: Vec<i32>,
}

impl Absence {
    fn stands(&self, now: Instant, census: Option<Census>) -> bool {
        now.saturating_duration_since(self.seen) < BELIEVED || (census.is_some() && census == self.census)
    }
}

/// Looks for a runsv, and remembers where there was none.
#[derive(Default)]
pub struct Runsv {
    absence: Option<Absence>,
}

impl Runsv {
    /// Whether one runs, as of a minute ago at most where none did and others have started since.
    pub fn runs(&mut self, root: &HostRoot) -> bool {
        self.runs_at(root, Instant::now())
    }

    fn runs_at(&mut self, root: &HostRoot, now: Instant) -> bool {
        let census = Census::read(root.proc());
        let known = self.absence.take();
        let known = known.filter(|known| now.saturating_duration_since(known.whole) < WHOLE);
        if known.as_ref().is_some_and(|known| known.stands(now, census)) {
            self.absence = known;
            return false;
        }
        let pids = root.pids().unwrap_or_default();
        let (settled, others) = match &known {
            Some(known) => (known.settled.as_slice(), known.others.as_slice()),
            None => Default::default(),
        };
        let mut asked = pids.iter().filter(|pid| settled.binary_search(pid).is_err());
        if asked.any(|pid| root.is_called(*pid, b"runsv")) {
            return true;
        }
        let twice = |pid: &i32| others.binary_search(pid).is_ok();
        let settled = pids.iter().copied().filter(twice).collect();
        self.absence = Some(Absence {
            seen: now,
            census,
            whole: known.map_or(now, |known| known.whole),
            settled,
            others: pids,
        });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host {
        proc: tempfile::TempDir,
        runsv: Runsv,
        begin: Instant,
    }

    impl Host {
        fn new() -> Self {
            let host = Self {
                proc: tempfile::tempdir().unwrap(),
                runsv: Runsv::default(),
                begin: Instant::now(),
            };
            host.is(1, "systemd");
            host
        }

        fn is(&self, pid: i32, comm: &str) {
            let dir = self.proc.path().join(pid.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("comm"), format!("{comm}\n")).unwrap();
        }

        fn runs(&mut self, seconds: u64) -> bool {
            let root = HostRoot::new("/nowhere", self.proc.path(), "/sys");
            self.runsv
                .runs_at(&root, self.begin + Duration::from_secs(seconds))
        }
    }

    #[test]
    fn one_that_starts_is_seen_a_minute_later_also_when_it_was_something_else_at_first() {
        let mut host = Host::new();
        assert!(!host.runs(0));
        host.is(2, "runsvdir");
        assert!(!host.runs(60));
        host.is(2, "runsv");
        assert!(!host.runs(119), "nobody is asked within a minute");
        assert!(host.runs(120));
        assert!(host.runs(121), "of one that runs nothing is believed");
        std::fs::remove_dir_all(host.proc.path().join("2")).unwrap();
        assert!(!host.runs(122));
    }

    #[test]
    fn what_was_something_else_twice_is_asked_again_after_ten_minutes() {
        let mut host = Host::new();
        for seconds in [0, 60, 120] {
            assert!(!host.runs(seconds));
        }
        host.is(1, "runsv");
        for seconds in [180, 599] {
            assert!(!host.runs(seconds));
        }
        assert!(host.runs(600));
    }
}
