//! systemd units over D-Bus, with their files from disk.
//!
//! ```text
//! first, and each audit:  ListUnits + GetAll of what runs + the load path
//! afterwards:             signals carry states; inotify names what is read again on disk
//! seldom:                 one list and GetAll of units that were loaded or reloaded,
//!                         GetUnitFileState where the files do not tell
//! ```
//! Invariants: an unloaded unit is never loaded by looking; systemd is asked about a unit only when
//! something about that unit changed; the published state follows the files on disk, also before a
//! daemon-reload; a look that is cut short loses nothing of what it read.

mod build;
mod enablement;
mod files;
mod install;
mod items;
mod listing;
mod loaded;
mod manager;
mod on_disk;
mod packages;
mod properties;
mod runclass;
mod select;
mod signals;
pub(crate) mod text;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use safetytwin_crds::names::UnitName;
use safetytwin_crds::section::SectionName;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use zbus::Connection;

use self::items::Items;
use self::loaded::Loaded;
use self::on_disk::OnDisk;
use self::signals::{Dirty, Signals};
use self::watch::Watch;
use super::bus::{Bus, Listed};
use super::processes::MainPids;
use super::{Budget, CollectError, Collected, Collector, Scope};
use crate::hostroot::HostRoot;
use crate::settings::Settings;

/// Signals of one burst are looked at together.
const BURST: Duration = Duration::from_millis(100);
/// A step of an installation follows the one before within this time.
const QUIET: Duration = Duration::from_millis(700);
/// Longest wait for an installation to be complete; a daemon-reload takes seconds on an emulated machine.
const SETTLE_AT_MOST: Duration = Duration::from_secs(20);
/// An emulated machine with hundreds of units answers that slowly.
const SLOWEST_AUDIT: Duration = Duration::from_secs(120);
const AUDIT: Duration = Duration::from_secs(600);
/// What a look had no time for waits that long.
const REST: Duration = Duration::from_secs(1);
/// How long a look asks for enablement.
const ASK_FOR: Duration = Duration::from_secs(20);
/// A look at the disk is repeated while directories appear that were not watched.
const LOOKS: usize = 3;

/// The collector.
pub struct Units {
    root: HostRoot,
    bus: Bus,
    pids: MainPids,
    signals: Option<Signals>,
    watch: Option<Watch>,
    /// News that no look has taken in to its end.
    pending: Dirty,
    disk: Arc<Mutex<OnDisk>>,
    loaded: Loaded,
    items: Items,
}

impl Units {
    /// A collector that connects on its first look.
    pub fn new(settings: &Settings, bus: Bus, pids: MainPids) -> Self {
        Self {
            root: settings.root.clone(),
            bus,
            pids,
            signals: None,
            watch: None,
            pending: Dirty::default(),
            disk: Arc::new(Mutex::new(OnDisk::new(settings.root.clone()))),
            loaded: Loaded::default(),
            items: Items::default(),
        }
    }

    async fn connect(&mut self) -> Result<Connection, CollectError> {
        if self.signals.as_ref().is_some_and(Signals::ended) {
            self.signals = None;
        }
        let connection = self.bus.connection().await?;
        if self.signals.is_none() {
            self.signals = Some(Signals::subscribe(&connection).await?);
            self.pending.all = true;
        }
        Ok(connection)
    }

    fn disk(&self) -> MutexGuard<'_, OnDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what is on disk now.
    async fn look_at_disk(&mut self) -> Result<(), CollectError> {
        for _ in 0..LOOKS {
            let fragments = self.loaded.fragments();
            let changes = self.disk().look(&fragments)?;
            self.loaded.note(&changes);
            // What appeared in a directory before it was watched would be missed.
            if !self.follow() {
                break;
            }
        }
        Ok(())
    }

    /// Watches the directories that are there; says whether there are new ones.
    fn follow(&mut self) -> bool {
        let directories = self.disk().directories();
        if self.watch.is_none() {
            self.watch = Watch::new().ok();
        }
        let watch = self.watch.as_mut();
        watch.is_some_and(|watch| watch.follow(&self.root, &directories))
    }

    /// Whether a unit in memory may be an item, so that its properties are worth a question.
    fn is_item(&self) -> impl Fn(&Listed) -> bool + use<> {
        let (root, disk) = (self.root.clone(), self.disk.clone());
        let lingering = select::lingering_users(&root, &self.disk().accounts());
        move |row| {
            let disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            row.name.parse::<UnitName>().is_ok_and(|unit| {
                let has_file = disk.has_file(&row.name);
                select::is_item(&unit, Some(&row.load_state), true, has_file, &lingering)
            })
        }
    }

    /// Asks for the enablement that the files do not tell.
    async fn ask(&self, connection: &Connection) -> Result<(), CollectError> {
        let until = Instant::now() + ASK_FOR;
        let unasked = self.disk().unasked();
        let mut replies = std::pin::pin!(manager::unit_file_states(connection, unasked));
        while let Ok(Some((name, reply))) = timeout_at(until, replies.next()).await {
            let state = match reply {
                Ok(state) => state,
                // What `systemctl list-unit-files` says of a file that systemd refuses.
                Err(CollectError::Bus {
                    source: zbus::Error::MethodError(..),
                    ..
                }) => "bad".to_owned(),
                Err(error) => return Err(error),
            };
            self.disk().answer(&name, state);
        }
        Ok(())
    }

    /// Waits until a service that is being installed step by step is complete: it started, or nothing more
    /// came for a moment.
    async fn settle(&self) {
        let Some(signals) = &self.signals else { return };
        let at_most = Instant::now() + SETTLE_AT_MOST;
        while signals.awaits_more() && Instant::now() < at_most {
            let watch = self.watch.as_ref();
            tokio::select! {
                () = signals.next() => {}
                () = async { match watch { Some(w) => w.changed().await, None => std::future::pending().await } } => {
                    signals.note_files();
                }
                () = sleep(QUIET) => if !signals.reloading() { return },
            }
        }
        // Its other signals.
        sleep(BURST).await;
    }

    fn has_unfinished(&self) -> bool {
        !self.loaded.unread().is_empty() || !self.disk().unasked().is_empty()
    }

    fn assemble(&mut self) -> Collected {
        let pids = self.loaded.iter().filter(|(_, live)| live.main_pid != 0);
        self.pids
            .set(pids.map(|(name, live)| (name.clone(), live.main_pid)).collect());
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        self.items.assemble(&self.root, &disk, &self.loaded)
    }
}

#[async_trait]
impl Collector for Units {
    fn name(&self) -> &'static str {
        "units"
    }

    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Units)
    }

    fn budget(&self) -> Budget {
        Budget {
            wall: SLOWEST_AUDIT,
            ..Budget::default()
        }
    }

    fn audit_interval(&self) -> Duration {
        AUDIT
    }

    async fn collect(&mut self, scope: Scope) -> Result<Collected, CollectError> {
        let connection = self.connect().await?;
        if let Some(signals) = &self.signals {
            self.pending.append(signals.take());
        }
        let all = self.pending.all || scope == Scope::Audit;
        if all || self.pending.files || self.pending.reloaded {
            self.look_at_disk().await?;
        }
        if all {
            self.loaded.audit(&connection, self.is_item()).await?;
        } else {
            let is_item = self.is_item();
            self.loaded.update(&connection, &self.pending, is_item).await?;
        }
        self.pending = Dirty::default();
        let accounts = self.disk().accounts();
        self.loaded.read(&connection, &accounts).await?;
        if self
            .loaded
            .fragments()
            .keys()
            .any(|name| !self.disk().knows(name))
        {
            self.look_at_disk().await?;
        }
        self.ask(&connection).await?;
        Ok(self.assemble())
    }

    async fn changed(&mut self) {
        let due = self.items.due();
        let unfinished = self.has_unfinished();
        let watch = self.watch.as_ref();
        let signals = self.signals.as_ref();
        tokio::select! {
            () = async { match signals { Some(s) => s.changed().await, None => std::future::pending().await } } => {}
            () = async { match watch { Some(w) => w.changed().await, None => std::future::pending().await } } => {
                if let Some(signals) = signals {
                    signals.note_files();
                }
            }
            () = async { match due { Some(at) => sleep_until(at.into()).await, None => std::future::pending().await } } => return,
            () = sleep(REST), if unfinished => return,
        }
        sleep(BURST).await;
        self.settle().await;
    }
}
