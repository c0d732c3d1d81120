//! systemd units over D-Bus, with their files from disk.
//!
//! ```text
//! first:                  ListUnits + GetAll of what runs + the load path
//! each audit:             the same, GetAll of a third
//! afterwards:             signals carry states; inotify names what is read again on disk
//! seldom:                 one list and GetAll of units that were loaded or reloaded,
//!                         GetUnitFileState where the files do not tell
//! ```
//! What a change waits for until it is on the board:
//! - `BURST`, 100 ms, for the rest of its burst; another 25 ms in the publisher, then one request for the
//!   section and one for the head, in that order;
//! - an edited, linked or removed file: nothing more. The files tell, also while the service manager is
//!   busy with a daemon-reload (seconds on an emulated machine), and what is loaded stays known until it is
//!   done: `declared` makes the edit one change before and after;
//! - a state: nothing more, its signal carries it; a stop 2 s, so that a restart is none (`runclass`);
//! - a unit that starts: the answer of two calls about it;
//! - a unit that is new and does not run: until it starts, or nothing was done to it for 700 ms
//!   (`arrivals`), so that an installation in steps is one change. Others do not wait for it;
//! - what was loaded by a daemon-reload: its end, before which nothing that signals say of units is believed.
//!
//! Invariants: an unloaded unit is never loaded by looking; systemd is asked about a unit only when
//! something about that unit changed; the published state follows the files on disk, also before a
//! daemon-reload; a look that is cut short loses nothing of what it read.

mod arrivals;
pub(crate) mod build;
pub(crate) mod clean;
mod declared;
pub(crate) mod dependencies;
mod enablement;
pub(crate) mod files;
mod inputs;
pub(crate) mod install;
mod items;
mod limits;
mod listing;
mod loaded;
mod manager;
mod on_disk;
pub(crate) mod packages;
pub(crate) mod presets;
pub(crate) mod properties;
pub(crate) mod quantity;
mod runclass;
mod select;
mod service;
mod signals;
pub(crate) mod text;
mod triggers;
pub(crate) mod variant;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
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
use super::bus::{Bus, Listed};
use super::processes::MainPids;
use super::watch::Watch;
use super::{Budget, CollectError, Collected, Collector, Scope, runit};
use crate::hostroot::HostRoot;
use crate::settings::Settings;

/// News of one burst is looked at together.
const BURST: Duration = Duration::from_millis(100);
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
            disk: Arc::new(Mutex::new(OnDisk::new(
                settings.root.clone(),
                settings.redactor.clone(),
            ))),
            loaded: Loaded::default(),
            items: Items::new(settings.redactor.clone()),
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
            self.watch = Watch::new(watch::is_unit_file).ok();
        }
        let watched = self.watch.as_mut();
        watched.is_some_and(|watched| watched.follow(&self.root, watch::directories(&directories)))
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

    fn has_unfinished(&self) -> bool {
        !self.loaded.unread().is_empty() || !self.disk().unasked().is_empty()
    }

    /// Makes the items; of all units if it is not known which ones changed.
    fn assemble(&mut self, changed: Option<&BTreeSet<String>>) -> Collected {
        let pids = self.loaded.iter().filter(|(_, live)| live.main_pid != 0);
        self.pids
            .set(pids.map(|(name, live)| (name.as_str(), live.main_pid)));
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        self.items.assemble(&self.root, &disk, &self.loaded, changed)
    }
}

#[async_trait]
impl Collector for Units {
    fn name(&self) -> &'static str {
        "units"
    }

    /// None where another service manager is process 1: the units are those of its collector.
    fn section(&self) -> Option<SectionName> {
        (!runit::is_init(&self.root)).then_some(SectionName::Units)
    }

    fn budget(&self) -> Budget {
        Budget {
            wall: SLOWEST_AUDIT,
            cpu: SLOWEST_AUDIT / 2,
            ..Budget::default()
        }
    }

    fn audit_interval(&self) -> Duration {
        AUDIT
    }

    async fn collect(&mut self, scope: Scope) -> Result<Collected, CollectError> {
        let connection = self.connect().await?;
        let reloading = self.signals.as_ref().is_some_and(Signals::reloading);
        self.items.note_reload(reloading);
        if reloading && scope == Scope::Changes && !self.pending.all && !self.has_unfinished() {
            // The files tell; the service manager answers, and is believed, when it is done.
            if self.signals.as_ref().is_some_and(Signals::take_files) {
                self.look_at_disk().await?;
            }
            return Ok(self.assemble(None));
        }
        if let Some(signals) = &self.signals {
            self.pending.append(signals.take());
        }
        let all = self.pending.all || scope == Scope::Audit;
        let mut whole = all || self.pending.files || self.pending.reloaded;
        if whole {
            self.look_at_disk().await?;
        }
        let is_item = self.is_item();
        if all {
            self.loaded.audit(&connection, self.pending.all, is_item).await?;
        } else {
            self.loaded.update(&connection, &self.pending, is_item).await?;
        }
        let mut changed: BTreeSet<String> = std::mem::take(&mut self.pending).units.into_keys().collect();
        changed.extend(self.loaded.unread().iter().cloned());
        let accounts = self.disk().accounts();
        self.loaded.read(&connection, &accounts).await?;
        if self
            .loaded
            .fragments()
            .keys()
            .any(|name| !self.disk().knows(name))
        {
            whole = true;
            self.look_at_disk().await?;
        }
        whole |= !self.disk().unasked().is_empty();
        self.ask(&connection).await?;
        Ok(self.assemble((!whole).then_some(&changed)))
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
            () = async { match due { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => return,
            () = sleep(REST), if unfinished => return,
        }
        sleep(BURST).await;
    }
}
