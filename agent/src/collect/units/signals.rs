//! systemd's D-Bus signals, reduced to what to look at again and to the states that they carry.
//!
//! A task of its own drains the connection, so that a storm of signals never blocks a reply. The
//! set it fills is bounded: beyond that many names everything is looked at.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use safetytwin_crds::names::{UnitName, UnitType};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::properties::States;
use crate::collect::CollectError;
use crate::collect::bus::{self, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, UNITS_PATH, unit_of};

const MOST: usize = 4096;
/// A reload of which the end was not heard is over after this time.
const RELOAD_AT_MOST: Duration = Duration::from_secs(20);

/// What signals say of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The unit was loaded (again), or changed in a way that the signal does not tell.
    pub look: bool,
    /// The unit was unloaded.
    pub gone: bool,
    /// Its states now, as far as they changed.
    pub states: States,
}

/// What to look at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Units that changed, appeared or went.
    pub units: BTreeMap<String, Change>,
    /// Files or enablement changed.
    pub files: bool,
    /// The service manager has read all unit files again.
    pub reloaded: bool,
    /// Everything: signals may have been lost.
    pub all: bool,
    /// Since when the service manager reads all unit files. Not news, and not taken with them.
    reloading: Option<Instant>,
}

impl Dirty {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && !self.files && !self.reloaded && !self.all
    }

    /// Whether the service manager is reading all unit files now, until when at the latest.
    fn reloading_until(&self) -> Option<Instant> {
        let until = self.reloading? + RELOAD_AT_MOST;
        (Instant::now() < until).then_some(until)
    }

    /// Whether there is something to look at now. While the service manager reads all unit files it answers
    /// nothing, and says of every unit that it went and came: only the files are news.
    fn is_due(&self) -> bool {
        self.files || self.all || (!self.is_empty() && self.reloading_until().is_none())
    }

    /// Adds what came later.
    pub fn append(&mut self, later: Self) {
        for (name, change) in later.units {
            self.insert(name, |known| {
                if change.gone {
                    *known = Change::default();
                }
                known.gone = change.gone || (known.gone && !change.look);
                known.look |= change.look;
                known.states.update(change.states);
            });
        }
        self.files |= later.files;
        self.reloaded |= later.reloaded;
        self.all |= later.all;
    }

    fn insert(&mut self, name: String, note: impl FnOnce(&mut Change)) {
        if !is_followed(&name) {
        } else if self.units.len() < MOST || self.units.contains_key(&name) {
            note(self.units.entry(name).or_default());
        } else {
            self.all = true;
        }
    }

    fn note(&mut self, message: &Message) {
        let header = message.header();
        let body = message.body();
        match header.member().map(|m| m.as_str()).unwrap_or_default() {
            "UnitNew" => {
                if let Ok((name, _)) = body.deserialize::<(String, OwnedObjectPath)>() {
                    self.insert(name, |change| {
                        change.look = true;
                        change.gone = false;
                    });
                }
            }
            "UnitRemoved" => {
                if let Ok((name, _)) = body.deserialize::<(String, OwnedObjectPath)>() {
                    self.insert(name, |change| {
                        *change = Change {
                            gone: true,
                            ..Change::default()
                        }
                    });
                }
            }
            "PropertiesChanged" => {
                let path = header.path().map(|p| p.as_str()).unwrap_or_default();
                if let Some(name) = unit_of(path).filter(|name| is_followed(name))
                    && let Ok((_, values, invalid)) =
                        body.deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>()
                {
                    self.insert(name, |change| {
                        change.states.update(States::read(&values));
                        change.look |= invalid.iter().any(|key| States::has(key));
                    });
                }
            }
            "UnitFilesChanged" => self.files = true,
            // Sent with `true` when a reload begins and `false` when it is done.
            "Reloading" => {
                let begins = body.deserialize::<(bool,)>().is_ok_and(|(begins,)| begins);
                self.reloading = begins.then(Instant::now);
                self.reloaded |= !begins;
            }
            "NameOwnerChanged" => {
                self.all = true;
                self.reloading = None;
            }
            _ => {}
        }
    }
}

/// Whether the state of a unit is ever looked at: what is no name of one is not asked about, whatever the bus says.
pub fn is_followed(name: &str) -> bool {
    let unit_type = name.parse::<UnitName>().map(|unit| unit.unit_type());
    unit_type.is_ok_and(|unit_type| !matches!(unit_type, UnitType::Device | UnitType::Scope))
}

#[derive(Default)]
struct Shared {
    dirty: Mutex<Dirty>,
    bell: Notify,
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Dirty) -> T) -> T {
        work(&mut self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A subscription; ends when dropped.
pub struct Signals {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Signals {
    /// Subscribes to the manager's signals and those of all units.
    pub async fn subscribe(connection: &Connection) -> Result<Self, CollectError> {
        let fail = |source| CollectError::Bus {
            call: "AddMatch",
            source,
        };
        let manager = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .interface(MANAGER)
            .path(MANAGER_PATH)
            .build()
            .map_err(fail)?;
        // Those of the interface of a type too: a service's tell its main pid.
        let units = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .interface(PROPERTIES)
            .path_namespace(UNITS_PATH)
            .arg0ns(SYSTEMD)
            .build()
            .map_err(fail)?;
        let restarted = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .add_arg(SYSTEMD)
            .build()
            .map_err(fail)?;
        let mut streams = Vec::new();
        for rule in [manager, units, restarted] {
            let stream = MessageStream::for_match_rule(rule, connection, None).await;
            streams.push(stream.map_err(fail)?);
        }
        bus::subscribe(connection).await?;
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(drain(streams, shared.clone())).abort_handle();
        Ok(Self { shared, task })
    }

    /// Takes what has gathered.
    pub fn take(&self) -> Dirty {
        self.shared.with(|dirty| {
            let left = Dirty {
                reloading: dirty.reloading,
                ..Dirty::default()
            };
            std::mem::replace(dirty, left)
        })
    }

    /// Takes only whether unit files changed.
    pub fn take_files(&self) -> bool {
        self.shared.with(|dirty| std::mem::take(&mut dirty.files))
    }

    /// Notes that unit files changed on disk.
    pub fn note_files(&self) {
        self.shared.with(|dirty| dirty.files = true);
    }

    /// Whether the service manager is reading all unit files now.
    pub fn reloading(&self) -> bool {
        self.shared.with(|dirty| dirty.reloading_until()).is_some()
    }

    /// Whether the connection is gone.
    pub fn ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Resolves when there is something to look at.
    pub async fn changed(&self) {
        loop {
            let bell = self.shared.bell.notified();
            let (due, until) = self
                .shared
                .with(|dirty| (dirty.is_due(), dirty.reloading_until()));
            if due {
                return;
            }
            tokio::select! {
                () = bell => {}
                () = async { match until { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {}
            }
        }
    }
}

async fn drain(streams: Vec<MessageStream>, shared: Arc<Shared>) {
    let mut messages = futures::stream::select_all(streams);
    while let Some(message) = messages.next().await {
        let Ok(message) = message else { break };
        let news = shared.with(|dirty| {
            dirty.note(&message);
            !dirty.is_empty()
        });
        if news {
            shared.bell.notify_one();
        }
    }
    shared.with(|dirty| dirty.all = true);
    shared.bell.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_names_is_bounded_and_becomes_a_look_at_everything() {
        let mut dirty = Dirty::default();
        for n in 0..=MOST {
            dirty.insert(format!("u{n}.service"), |_| ());
        }
        dirty.insert("sda.device".into(), |_| ());
        assert_eq!((dirty.units.len(), dirty.all), (MOST, true));
    }

    #[test]
    fn what_came_later_counts() {
        let name = || "a.service".to_owned();
        let change = |look, gone, active: Option<&str>| Change {
            look,
            gone,
            states: States {
                active_state: active.map(str::to_owned),
                ..States::default()
            },
        };
        let after = |first: Change, second: Change| {
            let mut dirty = Dirty {
                units: BTreeMap::from([(name(), first)]),
                ..Dirty::default()
            };
            dirty.append(Dirty {
                units: BTreeMap::from([(name(), second)]),
                ..Dirty::default()
            });
            dirty.units[&name()].clone()
        };
        let (active, gone, new) = (
            change(false, false, Some("active")),
            change(false, true, None),
            change(true, false, None),
        );
        assert_eq!(after(active.clone(), gone.clone()), gone);
        assert_eq!(after(gone, new.clone()), new);
        assert_eq!(after(new, active), change(true, false, Some("active")));
    }
}
