//! A service manager at the other end of a socket: it has the units that a test gives it and writes
//! down what it is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use zbus::connection::Builder;
use zbus::message::Type;
use zbus::{Connection, Guid, Message, MessageStream, ObjectPath, OwnedObjectPath, Variant};

use crate::collect::bus::{MANAGER, MANAGER_PATH, PROPERTIES, unit_of, unit_path};

/// A loaded unit.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    pub active: &'static str,
    pub pid: u32,
    pub stale: bool,
    pub user: &'static str,
}

/// Properties of a unit.
pub type Properties = HashMap<&'static str, Variant<'static>>;

#[derive(Default)]
pub struct State {
    pub units: BTreeMap<String, Unit>,
    /// Answers about enablement.
    pub enablement: BTreeMap<String, &'static str>,
    /// Calls that it answers with a text, whatever is asked.
    pub wrong: BTreeSet<&'static str>,
    /// What it says of a unit beside the usual, or instead of it.
    pub odd: BTreeMap<String, fn() -> Properties>,
    /// Units about which it does not answer.
    pub silent: BTreeSet<String>,
    asked: Vec<String>,
}

/// The service manager.
#[derive(Clone)]
pub struct Systemd {
    connection: Connection,
    state: Arc<Mutex<State>>,
}

impl Systemd {
    /// Starts it; the other end of its socket.
    pub async fn start() -> (Self, Connection) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guid = Guid::generate();
        let server = Builder::unix_stream(ours).server(guid).p2p().build();
        let client = Builder::unix_stream(theirs).p2p().build();
        let (connection, client) = futures::try_join!(server, client).unwrap();
        let state = Arc::<Mutex<State>>::default();
        tokio::spawn(serve(connection.clone(), state.clone()));
        (Self { connection, state }, client)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Loads a unit, without a signal.
    pub fn load(&self, name: &str, active: &'static str, pid: u32) {
        let unit = Unit {
            active,
            pid,
            ..Unit::default()
        };
        self.state().units.insert(name.to_owned(), unit);
    }

    /// What it was asked since the last time, in order; about single units by name.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.state().asked);
        asked.sort();
        asked
    }

    pub async fn signal_new(&self, name: &str) {
        let body = (name, ObjectPath::try_from(unit_path(name)).unwrap());
        self.signal("UnitNew", &body).await;
    }

    pub async fn signal_removed(&self, name: &str) {
        let body = (name, ObjectPath::try_from(unit_path(name)).unwrap());
        self.signal("UnitRemoved", &body).await;
    }

    /// Reads all unit files again, as `systemctl daemon-reload` has it done.
    pub async fn reload(&self) {
        self.begin_reload().await;
        self.end_reload().await;
    }

    /// Begins to read all unit files.
    pub async fn begin_reload(&self) {
        self.signal("Reloading", &(true,)).await;
    }

    /// Has read all unit files.
    pub async fn end_reload(&self) {
        let names: Vec<String> = self.state().units.keys().cloned().collect();
        for name in &names {
            self.signal_removed(name).await;
        }
        for name in &names {
            self.signal_new(name).await;
        }
        self.signal("Reloading", &(false,)).await;
    }

    /// Says that a unit has other states now.
    pub async fn signal_states(&self, name: &str, active: &'static str, pid: u32) {
        self.load(name, active, pid);
        let none: Vec<String> = Vec::new();
        let service = HashMap::from([("MainPID", Variant::from(pid))]);
        let unit = HashMap::from([("ActiveState", Variant::from(active))]);
        for (interface, values) in [("Service", service), ("Unit", unit)] {
            let body = (format!("org.freedesktop.systemd1.{interface}"), values, &none);
            self.connection
                .emit_signal(
                    None::<&str>,
                    unit_path(name),
                    PROPERTIES,
                    "PropertiesChanged",
                    &body,
                )
                .await
                .unwrap();
        }
    }

    async fn signal<B>(&self, member: &str, body: &B)
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.connection
            .emit_signal(None::<&str>, MANAGER_PATH, MANAGER, member, body)
            .await
            .unwrap();
    }
}

async fn serve(connection: Connection, state: Arc<Mutex<State>>) {
    let mut messages = MessageStream::from(&connection);
    while let Some(Ok(message)) = messages.next().await {
        if message.message_type() == Type::MethodCall {
            answer(&connection, &state, &message).await;
        }
    }
}

type Row<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    OwnedObjectPath,
    u32,
    &'a str,
    OwnedObjectPath,
);

async fn answer(connection: &Connection, state: &Mutex<State>, call: &Message) {
    let header = call.header();
    let member = header.member().unwrap().as_str().to_owned();
    let body = call.body();
    if state.lock().unwrap().wrong.contains(&*member) {
        return connection.reply(&header, &"a text").await.unwrap();
    }
    match member.as_str() {
        "Subscribe" => connection.reply(&header, &()).await.unwrap(),
        "ListUnits" | "ListUnitsByPatterns" => {
            let patterns = body.deserialize::<(Vec<String>, Vec<String>)>();
            let named = patterns.map_or_else(|_| Vec::new(), |(_, named)| named);
            let units = {
                let mut state = state.lock().unwrap();
                let question = [&[member], &named[..]].concat().join(" ");
                state.asked.push(question);
                state.units.clone()
            };
            let path = OwnedObjectPath::try_from(MANAGER_PATH).unwrap();
            let rows: Vec<Row<'_>> = units
                .iter()
                .filter(|(name, _)| named.is_empty() || named.contains(name))
                .map(|(name, unit)| {
                    let (path, job) = (path.clone(), path.clone());
                    (&**name, "", "loaded", unit.active, "", "", path, 0, "", job)
                })
                .collect();
            connection.reply(&header, &rows).await.unwrap();
        }
        "GetUnitFileState" => {
            let (name,) = body.deserialize::<(String,)>().unwrap();
            let said = {
                let mut state = state.lock().unwrap();
                state.asked.push(format!("GetUnitFileState {name}"));
                state.enablement.get(&name).copied()
            };
            match said {
                Some(said) => connection.reply(&header, &said).await.unwrap(),
                None => refuse(connection, call, "org.freedesktop.DBus.Error.FileNotFound").await,
            }
        }
        "GetAll" => properties(connection, state, call).await,
        other => panic!("{other} is no call that the agent should make"),
    }
}

async fn properties(connection: &Connection, state: &Mutex<State>, call: &Message) {
    let header = call.header();
    let name = unit_of(header.path().unwrap().as_str());
    let unit = {
        let mut state = state.lock().unwrap();
        let what = name.as_deref().unwrap_or("manager");
        state.asked.push(format!("GetAll {what}"));
        if state.silent.contains(what) {
            return;
        }
        state.units.get(what).cloned()
    };
    let (Some(name), unit) = (name, unit) else {
        let mut defaults = HashMap::from([("DefaultTasksMax", Variant::from(100u64))]);
        let odd = state.lock().unwrap().odd.get("manager").copied();
        defaults.extend(odd.map(|odd| odd()).unwrap_or_default());
        return connection.reply(&header, &defaults).await.unwrap();
    };
    // Reading a property of a unit that is not loaded would load it.
    let unit = unit.unwrap_or_else(|| panic!("{name} is not loaded"));
    let mut map = HashMap::from([
        ("LoadState", Variant::from("loaded")),
        ("ActiveState", Variant::from(unit.active)),
        ("NeedDaemonReload", Variant::from(unit.stale)),
    ]);
    if name.ends_with(".service") {
        map.insert("MainPID", Variant::from(unit.pid));
        map.insert("ExecMainPID", Variant::from(unit.pid));
        map.insert("User", Variant::from(unit.user));
    }
    let odd = state.lock().unwrap().odd.get(&name).copied();
    map.extend(odd.map(|odd| odd()).unwrap_or_default());
    connection.reply(&header, &map).await.unwrap();
}

async fn refuse(connection: &Connection, call: &Message, error: &str) {
    connection
        .reply_error(&call.header(), error, &("refused",))
        .await
        .unwrap();
}
