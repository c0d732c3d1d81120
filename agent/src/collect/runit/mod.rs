//! Services of runit, from its files alone: the worked example of a collector (docs/agent.md).
//!
//! ```text
//! /etc/service/NAME/run               the program             ─▶ unit runit-NAME.service
//! /etc/service/NAME/down              not started by itself   ─▶ disabled
//! /etc/service/NAME/supervise/status  20 bytes of runsv's     ─▶ Up, Down; pid (observed)
//! ```
//! They join the section `units`, so that a twin runs them as services of its systemd. A host
//! without runit costs one stat a minute and has no such section. inotify tells of new services, and of
//! each state that a runsv writes, where it can. Invariants: nothing is opened but
//! regular files, never a FIFO of runsv's; no text of a script is published, only its digest.

mod item;
mod runsv;
mod status;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::item::{Observed, RunClass, UnitItem};
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;
use tokio::time::{Instant, sleep_until};

use self::item::Script;
use self::runsv::Runsv;
use self::status::{State, Status};
use super::watch::Watch;
use super::{CollectError, Collected, Collector, Content, Scope, shared};
use crate::hostroot::entries::Kind;
use crate::hostroot::{HostRoot, ReadError, read_plain};
use crate::redact::Redactor;
use crate::settings::Settings;

/// Where runsvdir looks for services: Debian's place, and that of runit's own documentation.
const DIRECTORIES: [&str; 2] = ["/etc/service", "/etc/runit/runsvdir/current"];
/// Most services (runsvdir.c of runit 2.1: MAXSERVICES).
const SERVICES: usize = 1000;
/// Longest script that is read.
const SCRIPT: u64 = 64 * 1024;
const WITHOUT_RUNIT: Duration = Duration::from_secs(60);
/// Not every directory can be watched, and a runsv that was killed writes nothing.
const SCAN: Duration = Duration::from_secs(10);
/// Where no service is up there is no runsv whose end nobody would tell.
const NOTHING_UP: Duration = Duration::from_secs(60);
/// A runsv that takes a service up writes several files.
const BURST: Duration = Duration::from_millis(100);
/// Looks that events cause are at least this far apart: a service that fails each second changes its state as often.
const APART: Duration = Duration::from_secs(2);

/// The collector.
pub struct Runit {
    root: HostRoot,
    redactor: Redactor,
    /// The directory of services, while there is one.
    directory: Option<&'static str>,
    /// A service is up, or one could not be read.
    may_end: bool,
    watch: Option<Watch>,
    looked: Instant,
    runsv: RefCell<Runsv>,
}

/// Whether any runsv runs.
type AnyRunsv<'a> = &'a dyn Fn() -> bool;

/// A service, and what changes by itself.
type Seen = (UnitItem, ObservedUnit);

/// The services of a host, without a watch; and those that could not be read.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn look(root: &HostRoot, redactor: &Redactor) -> (Vec<UnitItem>, Vec<String>) {
    let mut gaps = Vec::new();
    let runit = Runit::of(root.clone(), redactor.clone());
    let [directory, _] = DIRECTORIES;
    let seen = runit.services(directory, &mut gaps).unwrap_or_default();
    (seen.into_iter().map(|(item, _)| item).collect(), gaps)
}

/// Whether runit is process 1, so that no systemd can be.
pub fn is_init(root: &HostRoot) -> bool {
    let name = read_plain(&root.proc().join("1/comm"), 64);
    name.is_ok_and(|name| name.trim_ascii_end() == b"runit")
}

/// Files of a service, or of its supervise directory, that say something when they change: not those that runsv
/// renames to `status`, `stat` and `pid`, nor what repeats it, nor what is opened to ask or tell a runsv something.
fn matters(name: &[u8]) -> bool {
    let other: [&[u8]; 5] = [b"stat", b"pid", b"ok", b"control", b"lock"];
    !name.ends_with(b".new") && !other.contains(&name)
}

/// Whether there is no such file, also because what should hold it is no directory.
fn is_absent(error: &ReadError) -> bool {
    let kind = match error {
        ReadError::Open { source, .. } => source.kind(),
        _ => return false,
    };
    matches!(
        kind,
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

impl Runit {
    /// A collector of the host below `settings.root`.
    pub fn new(settings: &Settings) -> Self {
        Self::of(settings.root.clone(), settings.redactor.clone())
    }

    fn of(root: HostRoot, redactor: Redactor) -> Self {
        Self {
            root,
            redactor,
            directory: None,
            may_end: false,
            watch: None,
            looked: Instant::now(),
            runsv: RefCell::default(),
        }
    }

    /// Watches what is there before it is looked at: what is written meanwhile is told.
    fn follow(&mut self, directory: Option<&str>) {
        let Some(directory) = directory else {
            self.watch = None;
            return;
        };
        if self.watch.is_none() {
            self.watch = Watch::new(matters).ok();
        }
        let names = self.root.list(directory).unwrap_or_default();
        let names = names.iter().filter_map(|name| name.to_str());
        let services = names.map(|name| format!("{directory}/{name}"));
        let below = services.flat_map(|service| [format!("{service}/supervise"), service]);
        let all: Vec<String> = std::iter::once(directory.to_owned()).chain(below).collect();
        if let Some(watch) = &mut self.watch {
            watch.follow(&self.root, all.iter().map(String::as_str));
        }
    }

    /// All services; `gaps` gets those that could not be read.
    fn services(&self, directory: &str, gaps: &mut Vec<String>) -> Result<Vec<Seen>, ReadError> {
        let entries = self.root.entries(directory)?.unwrap_or_default();
        // Nothing is out of sight of who sees all of the host.
        let runsv = || !self.root.is_whole() && self.runsv.borrow_mut().runs(&self.root);
        let mut seen = Vec::new();
        for (name, kind) in entries.names {
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if hidden || !matches!(kind, Kind::Directory | Kind::Link(_)) {
                continue;
            }
            if seen.len() == SERVICES {
                gaps.push(format!("runit: more than {SERVICES} services"));
                break;
            }
            let service = name.to_str().ok_or_else(|| "its name is no text".to_owned());
            match service.and_then(|name| self.service(directory, name, &runsv)) {
                Ok(found) => seen.extend(found),
                Err(why) => {
                    let name = printable(&name.to_string_lossy(), 64);
                    gaps.push(format!("runit: {name}: {}", printable(&why, 160)));
                }
            }
        }
        Ok(seen)
    }

    /// One service; none when its directory has no `run`, which runsv would not start either.
    fn service(&self, directory: &str, name: &str, runsv: AnyRunsv<'_>) -> Result<Option<Seen>, String> {
        let path = format!("{directory}/{name}");
        let script = match self.root.read(&format!("{path}/run"), SCRIPT) {
            Ok(bytes) => Some(bytes),
            // A program instead of a script.
            Err(ReadError::TooLarge { .. }) => None,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let status = self.status(&path, runsv)?;
        let script = Script {
            directory: &path,
            name,
            bytes: script.as_deref(),
            redactor: &self.redactor,
            finishes: self.root.modified(&format!("{path}/finish")).is_some(),
            is_down: self.root.modified(&format!("{path}/down")).is_some(),
        };
        let runs = self.runs(status.as_ref());
        let item = script.item(if runs { RunClass::Up } else { RunClass::Down })?;
        let pid = status.filter(|_| runs).map_or(0, |status| status.pid);
        let observed = ObservedUnit {
            name: item.name.to_string(),
            active_state: if runs { "active" } else { "inactive" }.to_owned(),
            sub_state: if pid == 0 { "dead" } else { "running" }.to_owned(),
            main_pid: pid,
            ..ObservedUnit::default()
        };
        Ok(Some((item, observed)))
    }

    /// What runsv wrote last; none when no runsv has taken the service up yet.
    fn status(&self, path: &str, runsv: AnyRunsv<'_>) -> Result<Option<Status>, String> {
        match self.root.read(&format!("{path}/supervise/status"), 64) {
            Ok(bytes) => Status::parse(&bytes).map(Some),
            Err(error) if error.is_not_found() => {
                // Debian's `supervise` is a link into /run, which leads nowhere where this process does not see it or
                // before a runsv has taken the service up: without any runsv nobody has.
                let supervise = format!("{path}/supervise");
                let link = self.root.read_link_below(path, "supervise".as_ref());
                match link.filter(|_| self.root.modified(&supervise).is_none()) {
                    Some(_) if runsv() => Err("its state is out of sight".to_owned()),
                    _ => Ok(None),
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether a service is to run and somebody sees to it. A status outlives the runsv that wrote it,
    /// so the process that it names must be a runsv's child.
    fn runs(&self, status: Option<&Status>) -> bool {
        match status {
            Some(status) if !status.wants_up => false,
            Some(status) if status.state == State::Down => true,
            Some(status) => status::is_supervised(self.root.proc(), status.pid),
            None => false,
        }
    }
}

#[async_trait]
impl Collector for Runit {
    fn name(&self) -> &'static str {
        "runit"
    }

    /// None on a host without runit: it says nothing about units there.
    fn section(&self) -> Option<SectionName> {
        self.directory.map(|_| SectionName::Units)
    }

    fn audit_interval(&self) -> Duration {
        match self.directory {
            Some(_) if self.may_end => SCAN,
            Some(_) => NOTHING_UP,
            None => WITHOUT_RUNIT,
        }
    }

    async fn changed(&mut self) {
        match &self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
        sleep_until((Instant::now() + BURST).max(self.looked + APART)).await;
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        let mut directories = DIRECTORIES.into_iter();
        let there = directories.find(|directory| self.root.modified(directory).is_some());
        // One that was there and went takes its services with it.
        self.directory = there.or(self.directory);
        let mut gaps = Vec::new();
        self.looked = Instant::now();
        self.follow(there);
        let seen = match there {
            Some(directory) => self.services(directory, &mut gaps)?,
            None => Vec::new(),
        };
        let (items, units): (Vec<UnitItem>, Vec<ObservedUnit>) = seen.into_iter().unzip();
        // As those of systemd are counted: what is down is an item, not one that runs.
        let up = items.iter().filter(|item| item.run == RunClass::Up).count();
        self.may_end = up > 0 || !gaps.is_empty();
        Ok(Collected {
            content: Arc::new(Content::Units {
                services: i32::try_from(up).unwrap_or(i32::MAX),
                failed: 0,
                items: shared(items),
            }),
            gaps,
            observed: Arc::new(Observed {
                units,
                ..Observed::default()
            }),
        })
    }
}
