//! What the agent takes from a unit's D-Bus properties (org.freedesktop.systemd1(5)).

use std::collections::{BTreeMap, HashMap};

use safetytwin_crds::item::unit::Service;
use zbus::{OwnedVariant, Variant};

use crate::collect::accounts::Accounts;

/// `GetAll` of a unit, all interfaces.
pub type Map = HashMap<String, OwnedVariant>;

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
    /// Dependency property to sorted unit names, all of them.
    pub dependencies: BTreeMap<String, Vec<String>>,
    /// Limits that differ from the manager's defaults.
    pub limits: BTreeMap<String, String>,
    /// Services only.
    pub service: Option<Service>,
    /// `BusName` of a service.
    pub bus_name: String,
    /// `MainPID`.
    pub main_pid: u32,
    /// `NRestarts`.
    pub restarts: u32,
    /// `Result`.
    pub result: String,
}

const DEPENDENCIES: [&str; 10] = [
    "Requires",
    "Requisite",
    "Wants",
    "BindsTo",
    "PartOf",
    "Conflicts",
    "After",
    "Before",
    "TriggeredBy",
    "Triggers",
];

/// Limits whose default is "none" or "not set".
const UNLIMITED: [&str; 7] = [
    "MemoryMax",
    "MemoryHigh",
    "MemorySwapMax",
    "CPUWeight",
    "IOWeight",
    "CPUQuotaPerSecUSec",
    "RuntimeMaxUSec",
];
/// Limits whose default the manager names, as `Default` + name.
const DEFAULTED: [&str; 9] = [
    "TasksMax",
    "LimitNOFILE",
    "LimitNPROC",
    "LimitCORE",
    "LimitMEMLOCK",
    "LimitSTACK",
    "LimitAS",
    "LimitFSIZE",
    "LimitCPU",
];

impl Live {
    /// Reads `map`; `defaults` are the manager's own properties.
    pub fn new(map: &Map, defaults: &Map, accounts: &Accounts) -> Self {
        let get = |key| map.get(key).and_then(text).unwrap_or_default();
        Self {
            load_state: get("LoadState"),
            active_state: get("ActiveState"),
            sub_state: get("SubState"),
            file_state: get("UnitFileState"),
            fragment_path: get("FragmentPath"),
            stale: map.get("NeedDaemonReload").is_some_and(truth),
            relinked: false,
            read: true,
            dependencies: dependencies(map),
            limits: limits(map, defaults),
            service: map.contains_key("ExecMainPID").then(|| service(map, accounts)),
            bus_name: get("BusName"),
            main_pid: number(map.get("MainPID")).unwrap_or_default() as u32,
            restarts: number(map.get("NRestarts")).unwrap_or_default() as u32,
            result: get("Result"),
        }
    }
}

impl Live {
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
        } = later;
        self.load_state = load_state.or(self.load_state.take());
        self.active_state = active_state.or(self.active_state.take());
        self.sub_state = sub_state.or(self.sub_state.take());
        self.result = result.or(self.result.take());
        self.main_pid = main_pid.or(self.main_pid);
        self.restarts = restarts.or(self.restarts);
    }
}

fn dependencies(map: &Map) -> BTreeMap<String, Vec<String>> {
    let mut dependencies = BTreeMap::new();
    for key in DEPENDENCIES {
        let mut names = map.get(key).map(texts).unwrap_or_default();
        names.sort();
        if !names.is_empty() {
            dependencies.insert(key.to_owned(), names);
        }
    }
    dependencies
}

fn limits(map: &Map, defaults: &Map) -> BTreeMap<String, String> {
    let mut limits = BTreeMap::new();
    for key in UNLIMITED {
        if let Some(value) = number(map.get(key)).filter(|v| *v != u64::MAX) {
            limits.insert(key.to_owned(), value.to_string());
        }
    }
    for key in DEFAULTED {
        let default = number(defaults.get(&format!("Default{key}")));
        let value = number(map.get(key));
        if let Some(value) = value.filter(|v| Some(*v) != default) {
            let text = if value == u64::MAX {
                "infinity".to_owned()
            } else {
                value.to_string()
            };
            limits.insert(key.to_owned(), text);
        }
    }
    limits
}

fn service(map: &Map, accounts: &Accounts) -> Service {
    let get = |key| map.get(key).and_then(text).filter(|t: &String| !t.is_empty());
    let mut names: Vec<String> = map
        .get("Environment")
        .map(texts)
        .unwrap_or_default()
        .iter()
        .filter_map(|assignment| Some(assignment.split_once('=')?.0.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    Service {
        type_: get("Type").unwrap_or_default(),
        remain_after_exit: map.get("RemainAfterExit").is_some_and(truth),
        executables: ["ExecStartPre", "ExecStart", "ExecStartPost"]
            .iter()
            .flat_map(|key| map.get(*key).map(executables).unwrap_or_default())
            .collect(),
        user: get("User").map(|name| accounts.user(&name)),
        group: get("Group").map(|name| accounts.group(&name)),
        // "!" marks a directory that may be missing; "~" is the user's home.
        working_directory: get("WorkingDirectory").filter(|path| path.starts_with('/')),
        dynamic_user: map.get("DynamicUser").is_some_and(truth),
        environment_names: names,
    }
}

/// Paths of an `a(sasbttttuii)` command list whose failure is not ignored.
fn executables(value: &OwnedVariant) -> Vec<String> {
    let Variant::Array(commands) = &**value else {
        return Vec::new();
    };
    let path = |command: &Variant<'_>| {
        let Variant::Structure(fields) = command else {
            return None;
        };
        match fields.fields() {
            [Variant::Str(path), _, Variant::Bool(false), ..] => Some(path.to_string()),
            _ => None,
        }
    };
    commands.inner().iter().filter_map(path).collect()
}

/// A string.
pub fn text(value: &OwnedVariant) -> Option<String> {
    match &**value {
        Variant::Str(text) => Some(text.to_string()),
        _ => None,
    }
}

fn texts(value: &OwnedVariant) -> Vec<String> {
    let Variant::Array(values) = &**value else {
        return Vec::new();
    };
    let text = |value: &Variant<'_>| match value {
        Variant::Str(text) => Some(text.to_string()),
        _ => None,
    };
    values.inner().iter().filter_map(text).collect()
}

fn truth(value: &OwnedVariant) -> bool {
    matches!(&**value, Variant::Bool(true))
}

fn number(value: Option<&OwnedVariant>) -> Option<u64> {
    match &**value? {
        Variant::U64(n) => Some(*n),
        Variant::U32(n) => Some(u64::from(*n)),
        _ => None,
    }
}
