//! What the agent keeps of a loaded unit's D-Bus properties (org.freedesktop.systemd1(5)).

use std::collections::BTreeMap;

use safetytwin_crds::item::InForce;
use safetytwin_crds::item::observed::ObservedTimer;
use safetytwin_crds::item::unit::{PathWatch, Service, Socket, Timer};
use safetytwin_crds::names::{UnitName, UnitType};

use super::dependencies::{self, Names};
use super::variant::{Map, number, text, truth};
use super::{limits, service, triggers};
use crate::collect::accounts::Accounts;

/// Effective properties of a loaded unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// `LoadState`.
    pub load_state: String,
    /// `ActiveState`.
    pub active_state: String,
    /// `SubState`.
    pub sub_state: String,
    /// `UnitFileState`.
    pub file_state: String,
    /// `FragmentPath`.
    pub fragment_path: String,
    /// `NeedDaemonReload`, or an edit that was seen: the files on disk are newer than what is loaded.
    pub stale: bool,
    /// A reload of the service manager will change its properties, although its files are the same.
    pub relinked: bool,
    /// Its properties were read, not its states only.
    pub read: bool,
    /// Which reading that was: what is not a state is the same as long as this number is.
    pub reading: u64,
    /// All that are in force, in both directions.
    pub dependencies: InForce,
    /// Limits that differ from the manager's defaults.
    pub limits: BTreeMap<String, String>,
    /// Services only.
    pub service: Option<Service>,
    /// Timers only.
    pub timer: Option<Timer>,
    /// Sockets only.
    pub socket: Option<Socket>,
    /// Path units only.
    pub path: Option<PathWatch>,
    /// `BusName` of a service.
    pub bus_name: String,
    /// `MainPID`.
    pub main_pid: u32,
    /// `NRestarts`.
    pub restarts: u32,
    /// `Result`.
    pub result: String,
    /// `ActiveEnterTimestamp`, microseconds since 1970; 0 for never.
    pub active_enter_timestamp: u64,
    /// Of a timer.
    pub runs: Option<ObservedTimer>,
}

impl Live {
    /// Reads `map`, of the unit `name`; `manager` are the manager's own properties, `names` those of units that are known.
    pub fn new(name: &str, map: &Map, manager: &Map, accounts: &Accounts, names: &mut Names) -> Self {
        let get = |key| map.get(key).and_then(text).unwrap_or_default();
        let unit_type = name
            .parse()
            .map_or(UnitType::Service, |unit: UnitName| unit.unit_type());
        let mut live = Self {
            file_state: get("UnitFileState"),
            fragment_path: get("FragmentPath"),
            stale: map.get("NeedDaemonReload").is_some_and(truth),
            read: true,
            dependencies: dependencies::in_force(map, names),
            limits: limits::loaded(map, manager, unit_type),
            service: service::loaded(map, accounts),
            timer: triggers::timer(map),
            socket: triggers::socket(map),
            path: triggers::path(map),
            bus_name: get("BusName"),
            ..Self::default()
        };
        live.set(States::read(map));
        live
    }

    /// Of a unit whose properties are never read.
    pub fn of(states: States) -> Self {
        let mut live = Self::default();
        live.set(states);
        live
    }

    /// Takes over states that changed.
    pub fn set(&mut self, states: States) {
        let put =
            |text: &mut String, new: Option<String>| *text = new.unwrap_or_else(|| std::mem::take(text));
        put(&mut self.load_state, states.load_state);
        put(&mut self.active_state, states.active_state);
        put(&mut self.sub_state, states.sub_state);
        put(&mut self.result, states.result);
        self.main_pid = states.main_pid.unwrap_or(self.main_pid);
        self.restarts = states.restarts.unwrap_or(self.restarts);
        self.active_enter_timestamp = states
            .active_enter_timestamp
            .unwrap_or(self.active_enter_timestamp);
        self.runs = states.runs.or(self.runs.take());
    }
}

/// Properties that change by themselves, which signals carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// `LoadState`.
    pub load_state: Option<String>,
    /// `ActiveState`.
    pub active_state: Option<String>,
    /// `SubState`.
    pub sub_state: Option<String>,
    /// `Result`.
    pub result: Option<String>,
    /// `MainPID`.
    pub main_pid: Option<u32>,
    /// `NRestarts`.
    pub restarts: Option<u32>,
    /// `ActiveEnterTimestamp`.
    pub active_enter_timestamp: Option<u64>,
    /// The next and the last run of a timer, which one signal carries together.
    pub runs: Option<ObservedTimer>,
}

impl States {
    /// Those that are in `map`.
    pub fn read(map: &Map) -> Self {
        let word = |key| map.get(key).and_then(text);
        let count = |key| number(map.get(key)).and_then(|n| u32::try_from(n).ok());
        Self {
            load_state: word("LoadState"),
            active_state: word("ActiveState"),
            sub_state: word("SubState"),
            result: word("Result"),
            main_pid: count("MainPID"),
            restarts: count("NRestarts"),
            active_enter_timestamp: number(map.get("ActiveEnterTimestamp")),
            runs: triggers::runs(map),
        }
    }

    /// Whether `key` is one of them.
    pub fn has(key: &str) -> bool {
        matches!(
            key,
            "LoadState" | "ActiveState" | "SubState" | "Result" | "MainPID" | "NRestarts"
        )
    }

    /// Takes over what `later` has.
    pub fn update(&mut self, later: Self) {
        let Self {
            load_state,
            active_state,
            sub_state,
            result,
            main_pid,
            restarts,
            active_enter_timestamp,
            runs,
        } = later;
        self.load_state = load_state.or(self.load_state.take());
        self.active_state = active_state.or(self.active_state.take());
        self.sub_state = sub_state.or(self.sub_state.take());
        self.result = result.or(self.result.take());
        self.main_pid = main_pid.or(self.main_pid);
        self.restarts = restarts.or(self.restarts);
        self.active_enter_timestamp = active_enter_timestamp.or(self.active_enter_timestamp);
        self.runs = runs.or(self.runs.take());
    }
}
