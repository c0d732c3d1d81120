//! systemd's D-Bus signals, reduced to the names of units to look at again.
//!
//! A task of its own drains the connection, so that a storm of signals never blocks a reply. The
//! set it fills is bounded: beyond that many names everything is looked at.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath};

use crate::collect::CollectError;
use crate::collect::bus::{self, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, UNIT};

const UNITS_PATH: &str = "/org/freedesktop/systemd1/unit";
const MOST: usize = 4096;

/// What to look at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Units that changed, appeared or went.
    pub units: BTreeSet<String>,
    /// Files or enablement changed.
    pub files: bool,
    /// Everything: signals may have been lost.
    pub all: bool,
}

impl Dirty {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && !self.files && !self.all
    }
}

#[derive(Default)]
struct Shared {
    dirty: Mutex<Dirty>,
    bell: Notify,
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
        let units = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .interface(PROPERTIES)
            .path_namespace(UNITS_PATH)
            .add_arg(UNIT)
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
        match bus::manage(connection, "Subscribe", &()).await {
            // By an earlier attempt on this connection whose answer came too late.
            Err(error) if is_named(&error, "org.freedesktop.systemd1.AlreadySubscribed") => {}
            answer => drop(answer?),
        }
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(drain(streams, shared.clone())).abort_handle();
        Ok(Self { shared, task })
    }

    /// Takes what has gathered.
    pub fn take(&self) -> Dirty {
        std::mem::take(&mut *self.shared.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that unit files changed on disk.
    pub fn note_files(&self) {
        self.shared
            .dirty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files = true;
    }

    /// Whether the connection is gone.
    pub fn ended(&self) -> bool {
        self.task.is_finished()
    }

    fn has_news(&self) -> bool {
        let dirty = self.shared.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        !dirty.is_empty()
    }

    /// Resolves when there is something to take.
    pub async fn changed(&self) {
        loop {
            let bell = self.shared.bell.notified();
            if self.has_news() {
                return;
            }
            bell.await;
        }
    }
}

/// Whether the service manager refused a call with this D-Bus error.
fn is_named(error: &CollectError, expected: &str) -> bool {
    matches!(error, CollectError::Bus { source: zbus::Error::MethodError(name, _, _), .. } if name.as_str() == expected)
}

async fn drain(streams: Vec<MessageStream>, shared: Arc<Shared>) {
    let mut messages = futures::stream::select_all(streams);
    while let Some(message) = messages.next().await {
        let Ok(message) = message else { break };
        let mut dirty = shared.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut dirty, &message);
        let news = !dirty.is_empty();
        drop(dirty);
        if news {
            shared.bell.notify_one();
        }
    }
    shared.dirty.lock().unwrap_or_else(PoisonError::into_inner).all = true;
    shared.bell.notify_one();
}

fn note(dirty: &mut Dirty, message: &Message) {
    let header = message.header();
    let member = header.member().map(|m| m.as_str()).unwrap_or_default();
    match member {
        "UnitNew" | "UnitRemoved" => {
            if let Ok((name, _)) = message.body().deserialize::<(String, OwnedObjectPath)>() {
                insert(dirty, name);
            }
        }
        "PropertiesChanged" => {
            let path = header.path().map(|p| p.as_str()).unwrap_or_default();
            if let Some(name) = unit_of(path) {
                insert(dirty, name);
            }
        }
        "UnitFilesChanged" => dirty.files = true,
        // Sent with `true` when a reload begins and `false` when it is done.
        "Reloading" => {
            dirty.files |= message
                .body()
                .deserialize::<(bool,)>()
                .is_ok_and(|(begins,)| !begins)
        }
        "NameOwnerChanged" => dirty.all = true,
        _ => {}
    }
}

fn insert(dirty: &mut Dirty, name: String) {
    let followed = !name.ends_with(".device") && !name.ends_with(".scope");
    if followed && dirty.units.len() < MOST {
        dirty.units.insert(name);
    } else if followed {
        dirty.all = true;
    }
}

/// The unit of an object path: `_xx` is a byte in hex (sd_bus_path_encode(3)).
fn unit_of(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS_PATH)?.strip_prefix('/')?;
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            let hex = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_name_their_units() {
        let path = format!("{UNITS_PATH}/dev_2ddisk_2dby_5cx2duuid_2eswap");
        assert_eq!(unit_of(&path).as_deref(), Some("dev-disk-by\\x2duuid.swap"));
        assert_eq!(unit_of(&format!("{UNITS_PATH}/bad_zz")), None);
        assert_eq!(unit_of("/elsewhere"), None);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_becomes_a_look_at_everything() {
        let mut dirty = Dirty::default();
        for n in 0..=MOST {
            insert(&mut dirty, format!("u{n}.service"));
        }
        insert(&mut dirty, "sda.device".into());
        assert_eq!((dirty.units.len(), dirty.all), (MOST, true));
    }
}
