//! What is known over D-Bus of the units in systemd's memory.
//!
//! A change of state comes with its signal and is taken from there. A unit's properties are read
//! when it is first seen, when systemd has read files again that were edited before, and at every
//! third audit, a third of them at each. What is still to be read outlives a look that ran out of
//! time, so that also a very slow machine gets there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, timeout_at};
use zbus::Connection;

use super::dependencies::Names;
use super::manager;
use super::on_disk::Changes;
use super::properties::{Live, States};
use super::signals::{Dirty, is_followed};
use super::variant::Map;
use crate::collect::CollectError;
use crate::collect::accounts::Accounts;
use crate::collect::bus::{self, Listed};

/// With more units to look up than this, all are listed.
const FEW: usize = 20;
/// An audit reads one unit in so many, those that were not read for the longest time: each costs process 1 as much as it
/// costs the agent, and hardly any of it can change without a signal or a file.
const ROUNDS: usize = 3;
/// After this time what is known is published, and the rest read next.
const READ_FOR: Duration = Duration::from_secs(40);

/// Loaded units.
pub struct Loaded {
    live: HashMap<String, Box<Live>>,
    defaults: Map,
    /// How often anything was read.
    readings: u64,
    /// Which reading the manager's own properties are of.
    defaults_reading: u64,
    /// What they name.
    names: Names,
    /// Units whose properties are to be read.
    todo: BTreeSet<String>,
    /// An audit began and has not read everything.
    auditing: bool,
    /// How long a look reads.
    pub read_for: Duration,
}

impl Default for Loaded {
    fn default() -> Self {
        Self {
            live: HashMap::new(),
            defaults: Map::new(),
            readings: 0,
            defaults_reading: 0,
            names: Names::default(),
            todo: BTreeSet::new(),
            auditing: false,
            read_for: READ_FOR,
        }
    }
}

impl Loaded {
    /// A loaded unit.
    pub fn get(&self, name: &str) -> Option<&Live> {
        self.live.get(name).map(|live| &**live)
    }

    /// All that are not inactive, or were not when they were last looked at.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Live)> + '_ {
        self.live.iter().map(|(name, live)| (name, &**live))
    }

    /// What the sockets, timers and paths that run start.
    pub fn triggered(&self) -> BTreeSet<String> {
        let running = self
            .iter()
            .filter(|(name, live)| starts_others(name) && live.active_state == "active");
        let named = running.flat_map(|(_, live)| live.dependencies.get("Triggers"));
        named.map(str::to_owned).collect()
    }

    /// Units whose properties are still to be read.
    pub fn unread(&self) -> &BTreeSet<String> {
        &self.todo
    }

    /// The manager's own properties: defaults of limits; and which reading that is.
    pub fn manager(&self) -> (&Map, u64) {
        (&self.defaults, self.defaults_reading)
    }

    /// Names, and where each was loaded from.
    pub fn fragments(&self) -> BTreeMap<String, String> {
        let read = self.live.iter().filter(|(_, live)| live.read);
        read.map(|(name, live)| (name.clone(), live.fragment_path.clone()))
            .collect()
    }

    /// What changed on disk makes what is loaded old.
    pub fn note(&mut self, changes: &Changes) {
        for name in &changes.edited {
            if let Some(live) = self.live.get_mut(name) {
                live.stale = true;
            }
        }
        for name in &changes.relinked {
            if let Some(live) = self.live.get_mut(name) {
                live.relinked = true;
            }
        }
        let read = |name: &&String| self.live.get(*name).is_some_and(|live| live.read);
        self.todo.extend(changes.written.iter().filter(read).cloned());
    }

    /// Lists all units; of those that are or may be items the ones that were read longest ago are to be read anew, or
    /// `all`, where nothing that is known can be believed. Goes on with an audit that ran out of time.
    pub async fn audit(
        &mut self,
        connection: &Connection,
        mut all: bool,
        is_item: impl Fn(&Listed) -> bool,
    ) -> Result<(), CollectError> {
        let anew = all || !self.auditing;
        if anew || self.defaults.is_empty() {
            all |= self.take_defaults(manager::defaults(connection).await?);
        }
        let rows = bus::units(connection).await?;
        // What does not run is known from its files, as what is not loaded: each question costs systemd
        // milliseconds, and a hundred of them a slow machine's patience.
        let rows = rows
            .into_iter()
            .filter(|row| is_followed(&row.name) && row.active_state != "inactive");
        let rows: BTreeMap<String, Listed> = rows.map(|row| (row.name.clone(), row)).collect();
        self.live.retain(|name, _| rows.contains_key(name));
        self.todo.retain(|name| rows.contains_key(name));
        self.names.forget_unused();
        let rows: Vec<(bool, Listed)> = rows.into_values().map(|row| (is_item(&row), row)).collect();
        let items = rows
            .iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, row)| &*row.name);
        let newest = if all { u64::MAX } else { self.oldest_round(items) };
        for (wanted, row) in rows {
            let old = |live: &Live| live.reading <= newest;
            let due = anew && self.get(&row.name).is_none_or(old);
            self.take(row, wanted, due);
        }
        self.auditing = true;
        Ok(())
    }

    /// Takes the manager's own properties; answers whether they are others, for which items have to be made anew.
    fn take_defaults(&mut self, defaults: Map) -> bool {
        let others = self.defaults != defaults;
        if others {
            self.readings += 1;
            (self.defaults, self.defaults_reading) = (defaults, self.readings);
        }
        others
    }

    /// The newest reading of those of these units that are due at an audit.
    fn oldest_round<'a>(&self, items: impl Iterator<Item = &'a str>) -> u64 {
        let read = items.filter_map(|name| self.get(name)).filter(|live| live.read);
        let mut readings: Vec<u64> = read.map(|live| live.reading).collect();
        readings.sort_unstable();
        let due = readings.len().div_ceil(ROUNDS);
        due.checked_sub(1)
            .and_then(|last| readings.get(last).copied())
            .unwrap_or(u64::MAX)
    }

    /// Takes in what signals say.
    pub async fn update(
        &mut self,
        connection: &Connection,
        dirty: &Dirty,
        is_item: impl Fn(&Listed) -> bool,
    ) -> Result<(), CollectError> {
        let names = self.apply(dirty);
        if names.is_empty() {
            return Ok(());
        }
        let rows = if names.len() > FEW {
            bus::units(connection).await?
        } else {
            let named: Vec<&str> = names.iter().map(String::as_str).collect();
            bus::units_named(connection, &named).await?
        };
        let mut gone = names.clone();
        for row in rows.into_iter().filter(|row| names.contains(&row.name)) {
            gone.remove(&row.name);
            if row.active_state != "inactive" || self.live.contains_key(&row.name) {
                let wanted = is_item(&row);
                self.take(row, wanted, false);
            }
        }
        for name in gone {
            self.forget(&name);
        }
        Ok(())
    }

    /// Applies states; gives the units that must be looked up.
    fn apply(&mut self, dirty: &Dirty) -> BTreeSet<String> {
        let mut look = BTreeSet::new();
        for (name, change) in &dirty.units {
            // A daemon-reload says of every unit that it went, and only later that it is there again: whether
            // one really went, the list tells.
            if change.gone && (self.live.contains_key(name) || self.todo.contains(name)) {
                look.insert(name.clone());
            }
            let active = change.states.active_state.as_deref();
            match self.live.get_mut(name) {
                Some(live) => live.set(change.states.clone()),
                // One that starts; one that was only loaded is known from its files.
                None if active.is_some_and(|state| state != "inactive") => {
                    look.insert(name.clone());
                }
                None => {}
            }
            if change.look {
                look.insert(name.clone());
            }
        }
        if dirty.reloaded {
            let old = self.live.iter().filter(|(_, live)| live.stale || live.relinked);
            look.extend(old.map(|(name, _)| name.clone()));
        }
        look
    }

    fn take(&mut self, row: Listed, wanted: bool, anew: bool) {
        let states = States {
            load_state: Some(row.load_state),
            active_state: Some(row.active_state),
            sub_state: Some(row.sub_state),
            ..States::default()
        };
        let live = self.live.get_mut(&row.name);
        let old = live
            .as_ref()
            .is_none_or(|live| !live.read || live.stale || live.relinked);
        if wanted && (anew || old) {
            self.todo.insert(row.name.clone());
        }
        match live {
            Some(live) => live.set(states),
            None if !wanted => {
                self.live.insert(row.name, Live::of(states).into());
            }
            // Its properties tell.
            None => {}
        }
    }

    fn forget(&mut self, name: &str) {
        self.live.remove(name);
        self.todo.remove(name);
    }

    /// Reads properties that are to be read, as many as there is time for.
    ///
    /// # Errors
    /// The connection is lost or systemd does not answer; what was read until then is kept.
    pub async fn read(&mut self, connection: &Connection, accounts: &Accounts) -> Result<(), CollectError> {
        let until = Instant::now() + self.read_for;
        // What starts others first: what these are depends on it.
        let (mut first, rest): (Vec<String>, Vec<String>) =
            self.todo.iter().cloned().partition(|name| starts_others(name));
        first.extend(rest);
        let mut replies = std::pin::pin!(manager::properties(connection, first));
        while let Ok(Some((name, reply))) = timeout_at(until, replies.next()).await {
            match reply {
                Ok(map) => {
                    let mut live = Live::new(&name, &map, &self.defaults, accounts, &mut self.names);
                    self.readings += 1;
                    live.reading = self.readings;
                    self.live.insert(name.clone(), live.into());
                }
                // It went meanwhile.
                Err(CollectError::Bus {
                    source: zbus::Error::MethodError(error, _, _),
                    ..
                }) => {
                    tracing::debug!(%error, "a unit went before its properties were read");
                    self.live.remove(&name);
                }
                Err(error) => return Err(error),
            }
            self.todo.remove(&name);
        }
        self.auditing &= !self.todo.is_empty();
        Ok(())
    }
}

fn starts_others(unit: &str) -> bool {
    [".timer", ".socket", ".path"]
        .iter()
        .any(|suffix| unit.ends_with(suffix))
}
