//! Processes of their own: in no service and no container (see `table`), that have lived
//! `minAge`. A listed one leaves only after `minAge` of absence, so that a restart is no change.
//!
//! Never read: the environment of any process.

pub(crate) mod events;
pub(crate) mod files;
pub mod helper;
mod listed;
pub(crate) mod listens;
mod memory;
pub(crate) mod packages;
mod read;
mod rows;
mod scan;
mod sock_diag;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use safetytwin_crds::section::SectionName;

use self::events::{EventSource, ScanOnly, Watch};
use self::scan::{Scan, Scanner};
pub(super) use self::table::Stat;
use super::{CollectError, Collected, Collector, Scope};
use crate::settings::Settings;

/// Between two scans where the kernel tells nothing of starts and ends.
const SCAN: Duration = Duration::from_secs(10);
/// Between two scans where it does: they are for what it does not tell, such as a socket that begins to listen, and
/// for what processes use.
const AUDIT: Duration = Duration::from_secs(60);
/// Scans that events cause are at least this far apart.
const APART: Duration = Duration::from_secs(1);
/// About what all that are read take, at most; those that left lately are kept beside them.
const MOST_BYTES: usize = 1024 * 1024;
/// Kernel clock ticks per second in `stat`; fixed at 100 in the user interface of Linux.
const TICKS: u64 = 100;

/// Main processes of the services that give others a place to run, by unit name; none as long as no service manager
/// has told.
type Mains = Option<BTreeMap<String, u32>>;

/// These main processes, from the units collector. Cloning shares them.
#[derive(Clone, Default)]
pub struct MainPids(Arc<Mutex<Arc<Mains>>>);

impl MainPids {
    /// Replaces all, of these main processes of any units. As long as they are equal they are the same allocation.
    pub fn set<'a>(&self, pids: impl Iterator<Item = (&'a str, u32)>) {
        let hosts = pids.filter(|(unit, _)| table::is_host(unit));
        let now: Mains = Some(hosts.map(|(unit, pid)| (unit.to_owned(), pid)).collect());
        let mut mains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if **mains != now {
            *mains = now.into();
        }
    }

    fn get(&self) -> Arc<Mains> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The collector.
pub struct Processes {
    scanner: Scanner,
    /// What the last scan gave.
    last: Option<Collected>,
    interval: Duration,
    /// Where starts and ends are heard; opened when somebody waits for them.
    source: Option<Box<dyn EventSource>>,
    watch: Watch,
    scanned: Instant,
}

impl Processes {
    /// A collector; `helper` is started by the caller, before threads are.
    pub fn new(settings: &Settings, pids: MainPids) -> Self {
        Self {
            last: None,
            source: None,
            watch: Watch::new(settings.min_age),
            scanned: Instant::now(),
            interval: SCAN.min(settings.interval),
            scanner: Scanner::new(settings, pids),
        }
    }

    /// Takes in what a scan found, in the allocations of the last one where it is equal.
    fn take(&mut self, Scan { mut collected, young }: Scan, last: Option<Collected>) -> Collected {
        let listed = collected.observed.processes.iter();
        self.watch.publish(listed.map(|process| process.pid));
        young.into_iter().for_each(|(pid, at)| self.watch.expect(pid, at));
        let Some(last) = last else {
            return collected;
        };
        let observed = Arc::make_mut(&mut collected.observed);
        observed.process_events.clone_from(&last.observed.process_events);
        collected.sharing(&last)
    }
}

#[async_trait]
impl Collector for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Processes)
    }

    fn audit_interval(&self) -> Duration {
        match &self.source {
            Some(source) if source.tells() => AUDIT,
            _ => self.interval,
        }
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        self.scanner.check_helper()?;
        let now = Instant::now();
        let told = self.source.as_ref().is_some_and(|source| source.tells());
        let news = self.watch.news(told);
        let mut collected = match self.last.take() {
            Some(last) if !self.scanner.is_worth(now, &news) => last,
            last => {
                let scan = self.scanner.scan(now, &news).inspect_err(|_| {
                    // What was heard is lost with it.
                    self.watch.miss();
                })?;
                self.take(scan, last)
            }
        };
        self.scanned = now;
        self.watch.scanned(now);
        let not_asked = ScanOnly("nobody waits for events".into());
        let source = self.source.as_deref().unwrap_or(&not_asked);
        let told = Some(self.watch.told(source));
        if collected.observed.process_events != told {
            Arc::make_mut(&mut collected.observed).process_events = told;
        }
        self.last = Some(collected.clone());
        Ok(collected)
    }

    async fn changed(&mut self) {
        if self.source.is_none() {
            self.source = Some(events::best().await);
            // What happened until now was told to nobody.
            self.watch.miss();
        }
        let Some(source) = self.source.as_deref_mut() else {
            return;
        };
        events::worth_a_scan(source, &mut self.watch, self.scanned + APART).await;
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod scans;
#[cfg(test)]
pub(crate) mod tests;
