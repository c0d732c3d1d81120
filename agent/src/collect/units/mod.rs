//! systemd units over D-Bus, with their files from disk.
//!
//! ```text
//! first, and each audit:  ListUnits + GetAll of each item + ListUnitFiles + load path
//! afterwards:             signals and inotify name what changed; only that is read again
//! ```
//! Invariants: an unloaded unit is never loaded by looking; one bulk call per burst of changes;
//! the published state follows the files on disk, also before a daemon-reload.

mod build;
mod disk;
mod manager;
mod packages;
pub mod properties;
mod runclass;
mod select;
mod signals;
mod text;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::item::{Observed, RunClass, UnitItem};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::section::SectionName;
use zbus::Connection;

use self::build::Facts;
use self::disk::{Disk, UnitFiles};
use self::packages::Packages;
use self::properties::{Live, Map};
use self::runclass::Debounce;
use self::signals::{Dirty, Signals};
use self::watch::Watch;
use super::accounts::Accounts;
use super::bus::{Bus, loaded_unit};
use super::processes::MainPids;
use super::{Budget, CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::HostRoot;
use crate::settings::Settings;

/// Signals of one burst are looked at together.
const BURST: Duration = Duration::from_millis(150);
/// An emulated machine with hundreds of units answers that slowly.
const SLOWEST_AUDIT: Duration = Duration::from_secs(120);
const AUDIT: Duration = Duration::from_secs(600);
/// With more changed units than this, their states are read in one call.
const FEW: usize = 20;

/// The collector.
pub struct Units {
    root: HostRoot,
    bus: Bus,
    pids: MainPids,
    signals: Option<Signals>,
    watch: Option<Watch>,
    packages: Packages,
    accounts: Accounts,
    defaults: Map,
    enablement: BTreeMap<String, String>,
    live: HashMap<String, Live>,
    files: HashMap<String, UnitFiles>,
    published: BTreeMap<String, (bool, UnitItem)>,
    debounce: Debounce,
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
            packages: Packages::default(),
            accounts: Accounts::default(),
            defaults: Map::new(),
            enablement: BTreeMap::new(),
            live: HashMap::new(),
            files: HashMap::new(),
            published: BTreeMap::new(),
            debounce: Debounce::default(),
        }
    }

    async fn connect(&mut self) -> Result<(Connection, bool), CollectError> {
        if self.signals.as_ref().is_some_and(Signals::ended) {
            self.signals = None;
        }
        let connection = self.bus.connection().await?;
        let fresh = self.signals.is_none();
        if fresh {
            self.signals = Some(Signals::subscribe(&connection).await?);
        }
        Ok((connection, fresh))
    }

    /// Everything anew.
    async fn audit(&mut self, connection: &Connection) -> Result<(), CollectError> {
        self.defaults = manager::defaults(connection).await?;
        self.read_disk(connection).await?;
        let listed = manager::list_units(connection).await?;
        // What does not run is known from its files, as what is not loaded: each question costs systemd
        // milliseconds, and a hundred of them a slow machine's patience.
        let wanted = listed
            .iter()
            .filter(|l| is_followed(&l.name) && l.active_state != "inactive");
        let paths = wanted.map(|l| (l.name.clone(), l.path.clone())).collect();
        let maps = manager::properties(connection, paths).await;
        self.live = maps
            .into_iter()
            .map(|(name, map)| (name, Live::new(&map, &self.defaults, &self.accounts)))
            .collect();
        self.files.clear();
        Ok(())
    }

    /// What changed, only.
    async fn update(&mut self, connection: &Connection, mut dirty: Dirty) -> Result<(), CollectError> {
        let mut must = BTreeSet::new();
        if dirty.files {
            let before = std::mem::take(&mut self.files);
            self.read_disk(connection).await?;
            self.reload_files()?;
            let changed = self
                .files
                .iter()
                .filter(|(name, files)| before.get(*name) != Some(files));
            must.extend(changed.map(|(name, _)| name.clone()));
            // Loaded from older files until now: a daemon-reload may just have ended that.
            let stale = self.live.iter().filter(|(_, live)| live.stale);
            must.extend(stale.map(|(name, _)| name.clone()));
        }
        if dirty.units.len() > FEW {
            self.update_states(connection, &mut dirty.units).await?;
        }
        dirty.units.append(&mut must);
        let mut paths = Vec::new();
        for name in dirty.units.iter().filter(|name| is_followed(name)) {
            match loaded_unit(connection, name).await? {
                Some(path) => paths.push((name.clone(), path)),
                None => {
                    self.live.remove(name);
                }
            }
        }
        for (name, map) in manager::properties(connection, paths).await {
            self.live
                .insert(name, Live::new(&map, &self.defaults, &self.accounts));
        }
        Ok(())
    }

    /// States of all units in one call; leaves in `dirty` those that must be read one by one:
    /// new ones, and those whose files changed.
    async fn update_states(
        &mut self,
        connection: &Connection,
        dirty: &mut BTreeSet<String>,
    ) -> Result<(), CollectError> {
        let listed = manager::list_units(connection).await?;
        let names: BTreeSet<&str> = listed.iter().map(|l| l.name.as_str()).collect();
        self.live.retain(|name, _| names.contains(name.as_str()));
        dirty.retain(|name| names.contains(name.as_str()));
        for row in &listed {
            if let Some(live) = self.live.get_mut(&row.name) {
                let moved = live.active_state != row.active_state || live.load_state != row.load_state;
                live.active_state.clone_from(&row.active_state);
                live.sub_state.clone_from(&row.sub_state);
                let again = moved || live.stale || !self.files.contains_key(&row.name);
                if !again {
                    dirty.remove(&row.name);
                }
            } else if is_followed(&row.name) {
                dirty.insert(row.name.clone());
            }
        }
        Ok(())
    }

    async fn read_disk(&mut self, connection: &Connection) -> Result<(), CollectError> {
        self.enablement = manager::list_unit_files(connection).await?;
        let root = self.root.clone();
        let mut packages = std::mem::take(&mut self.packages);
        let task = tokio::task::spawn_blocking(move || {
            packages.refresh(&root);
            (packages, Accounts::read(&root))
        });
        (self.packages, self.accounts) = task.await.map_err(|_| CollectError::Panicked)?;
        Ok(())
    }

    /// Files of all units that are or may be items.
    fn reload_files(&mut self) -> Result<(), CollectError> {
        let disk = Disk::scan(&self.root)?;
        if self.watch.is_none() {
            self.watch = Watch::new().ok();
        }
        if let Some(watch) = &self.watch {
            watch.follow(&self.root, &disk);
        }
        let names: BTreeSet<&String> = self.enablement.keys().chain(self.live.keys()).collect();
        let mut files = HashMap::new();
        for name in names {
            if let Ok(unit) = name.parse::<UnitName>() {
                let from = self.live.get(name).map(|live| live.fragment_path.as_str());
                files.insert(name.clone(), disk.files(&self.root, &self.packages, &unit, from));
            }
        }
        self.files = files;
        Ok(())
    }

    /// The items, from what is known.
    fn assemble(&mut self) -> Result<Collected, CollectError> {
        if self.live.keys().any(|name| !self.files.contains_key(name)) {
            self.reload_files()?;
        }
        let lingering = select::lingering_users(&self.root, &self.accounts);
        let now = Instant::now();
        let names: BTreeSet<String> = self.files.keys().cloned().collect();
        let mut published = BTreeMap::new();
        let mut gaps = Vec::new();
        for name in names {
            let Ok(unit) = name.parse::<UnitName>() else {
                gaps.push(format!("unit {name:?} is refused"));
                continue;
            };
            let live = self.live.get(&name);
            let in_use = live.is_some_and(|l| !matches!(l.active_state.as_str(), "inactive"));
            let has_file = self.enablement.contains_key(&name);
            if select::is_item(
                &unit,
                live.map(|l| l.load_state.as_str()),
                in_use,
                has_file,
                &lingering,
            ) && let Some(entry) = self.item(&unit, now)
            {
                published.insert(name, entry);
            }
        }
        self.published = published;
        Ok(Collected {
            content: self.content(),
            gaps,
            observed: self.observed(),
        })
    }

    fn item(&mut self, unit: &UnitName, now: Instant) -> Option<(bool, UnitItem)> {
        let name = unit.as_str();
        let facts = Facts {
            name: unit,
            live: self.live.get(name),
            files: self.files.get(name)?,
            enablement: self.enablement.get(name).map(String::as_str),
        };
        let before = self.published.get(name);
        let run_before = before.map(|(_, item)| item.run);
        let active = facts.live.map_or("inactive", |l| &l.active_state);
        // A unit that was unloaded keeps what was known of it while its files are the same, so that
        // garbage collection of an idle unit is no change.
        let kept = before.filter(|(was_live, item)| {
            *was_live
                && facts.live.is_none()
                && item.fragment == facts.files.fragment
                && item.drop_ins == facts.files.drop_ins
        });
        let run = match kept {
            Some((_, item)) if item.run == RunClass::OnDemand => RunClass::OnDemand,
            _ => runclass::class(active, facts.nature(), run_before),
        };
        let run = self.debounce.settle(name, run, run_before, now);
        match kept {
            Some((_, item)) => Some((
                true,
                UnitItem {
                    run,
                    enablement: facts.enablement().to_owned(),
                    ..item.clone()
                },
            )),
            None => Some((facts.live.is_some(), facts.item(run, &self.accounts))),
        }
    }

    fn content(&self) -> Content {
        let count = |test: &dyn Fn(&str, &Live) -> bool| {
            let count = self.live.iter().filter(|(name, live)| test(name, live)).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        Content::Units {
            items: self.published.values().map(|(_, item)| item.clone()).collect(),
            services: count(&|name, live| name.ends_with(".service") && live.load_state == "loaded"),
            failed: count(&|_, live| live.active_state == "failed"),
        }
    }

    fn observed(&self) -> Observed {
        let mut units: Vec<ObservedUnit> = Vec::new();
        let mut pids = BTreeMap::new();
        for (name, live) in &self.live {
            if live.main_pid != 0 {
                pids.insert(name.clone(), live.main_pid);
            }
            if self.published.contains_key(name) {
                units.push(ObservedUnit {
                    name: name.clone(),
                    active_state: live.active_state.clone(),
                    sub_state: live.sub_state.clone(),
                    main_pid: live.main_pid,
                    restarts: live.restarts,
                    result: live.result.clone(),
                });
            }
        }
        self.pids.set(pids);
        units.sort_by(|a, b| a.name.cmp(&b.name));
        Observed {
            units,
            ..Observed::default()
        }
    }
}

/// Whether the properties of a unit are ever read.
fn is_followed(name: &str) -> bool {
    !name.ends_with(".device") && !name.ends_with(".scope")
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
        let (connection, fresh) = self.connect().await?;
        let dirty = self.signals.as_ref().map(Signals::take).unwrap_or_default();
        if fresh || dirty.all || scope == Scope::Audit {
            self.audit(&connection).await?;
        } else {
            self.update(&connection, dirty).await?;
        }
        self.assemble()
    }

    async fn changed(&mut self) {
        let due = self.debounce.due();
        let watch = self.watch.as_ref();
        let signals = self.signals.as_ref();
        tokio::select! {
            () = async { match signals { Some(s) => s.changed().await, None => std::future::pending().await } } => {}
            () = async { match watch { Some(w) => w.changed().await, None => std::future::pending().await } } => {
                if let Some(signals) = signals {
                    signals.note_files();
                }
            }
            () = async { match due { Some(at) => tokio::time::sleep_until(at.into()).await, None => std::future::pending().await } } => return,
        }
        tokio::time::sleep(BURST).await;
    }
}
