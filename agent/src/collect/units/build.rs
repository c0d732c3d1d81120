//! Makes the item of a unit from its effective properties and its files.
//!
//! A loaded unit's properties win unless its files are newer than what is loaded; a unit that is
//! not loaded, or is stale, is described by its files alone and is never loaded for asking.

use std::collections::BTreeMap;

use safetytwin_crds::item::RunClass;
use safetytwin_crds::item::unit::{Service, UnitItem};
use safetytwin_crds::names::{UnitName, UnitType};

use super::files::UnitFiles;
use super::properties::Live;
use super::runclass::Nature;
use super::text::{UnitText, words};
use crate::collect::accounts::Accounts;
use crate::redact::Redactor;

/// Everything about one unit.
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a UnitName,
    /// Properties, when it is loaded.
    pub live: Option<&'a Live>,
    /// Its files.
    pub files: &'a UnitFiles,
    /// `UnitFileState` by its files, when it has any.
    pub enablement: Option<&'a str>,
}

impl Facts<'_> {
    fn fresh(&self) -> Option<&Live> {
        self.live.filter(|live| !live.stale)
    }

    /// `UnitFileState`: as it is on disk, else the unit's own property.
    pub fn enablement(&self) -> &str {
        let own = self.live.map(|live| live.file_state.as_str());
        self.enablement.or(own).unwrap_or_default()
    }

    /// What decides on the run class.
    pub fn nature(&self) -> Nature {
        let text = &self.files.text;
        let service = self.name.unit_type() == UnitType::Service;
        let (oneshot, bus) = match self.fresh().and_then(|live| Some((live, live.service.as_ref()?))) {
            Some((live, s)) => (
                s.type_ == "oneshot" && !s.remain_after_exit,
                !live.bus_name.is_empty(),
            ),
            None => (
                text.last("Service", "Type") == Some("oneshot") && !text.flag("Service", "RemainAfterExit"),
                text.last("Service", "BusName").is_some(),
            ),
        };
        let triggered = self
            .live
            .is_some_and(|live| live.dependencies.contains_key("TriggeredBy"));
        Nature {
            oneshot: service && oneshot,
            triggered: service && (triggered || bus),
            enabled: self.enablement().starts_with("enabled"),
        }
    }

    /// The item, in run class `run`.
    pub fn item(&self, run: RunClass, accounts: &Accounts, redactor: &Redactor) -> UnitItem {
        let text = &self.files.text;
        let (mut dependencies, mut limits, mut service) = match self.fresh() {
            Some(live) => (
                declared(&live.dependencies, self.name, text),
                live.limits.clone(),
                live.service.clone(),
            ),
            None => (named(text), limits(text), service(self.name, text, accounts)),
        };
        let clean = |text: &mut String| *text = redactor.text(text).text;
        limits.values_mut().for_each(clean);
        service.iter_mut().flat_map(texts).for_each(clean);
        for name in dependencies.values_mut().flatten() {
            *name = match name.parse() {
                Ok(unit) => redactor.unit_name(&unit).as_str().to_owned(),
                // What is no name is not in force, but it is told as it is written.
                Err(_) => redactor.text(name).text,
            };
        }
        UnitItem {
            name: redactor.unit_name(self.name),
            load_state: self.load_state().to_owned(),
            run,
            enablement: self.enablement().to_owned(),
            origin: self.files.origin.clone(),
            fragment: self.files.fragment.clone(),
            drop_ins: self.files.drop_ins.clone(),
            dependencies,
            limits,
            service,
        }
    }

    fn load_state(&self) -> &str {
        match self.fresh() {
            Some(live) => &live.load_state,
            None if self.files.masked => "masked",
            None if self.files.fragment.is_some() => "loaded",
            None => self.live.map_or("not-found", |live| &live.load_state),
        }
    }
}

/// All that is taken from the text as it is: anything may stand there.
fn texts(service: &mut Service) -> impl Iterator<Item = &mut String> {
    let accounts = service.user.iter_mut().chain(&mut service.group);
    let names = accounts.map(|account| &mut account.name);
    let paths = service
        .executables
        .iter_mut()
        .chain(&mut service.working_directory);
    let names = names.chain(paths).chain(&mut service.environment_names);
    names.chain(std::iter::once(&mut service.type_))
}

/// Properties that gain members when *another* unit appears: only what the unit's own files name
/// is its declaration.
fn is_mutual(property: &str, unit: &UnitName) -> bool {
    matches!(property, "After" | "Before" | "Conflicts")
        || (unit.unit_type() == UnitType::Target && matches!(property, "Wants" | "Requires"))
}

fn declared(
    effective: &BTreeMap<String, Vec<String>>,
    unit: &UnitName,
    text: &UnitText,
) -> BTreeMap<String, Vec<String>> {
    let mut own = effective.clone();
    own.retain(|property, names| {
        if is_mutual(property, unit) {
            let written = text.names("Unit", property);
            names.retain(|name| written.contains(&name.as_str()));
        }
        !names.is_empty()
    });
    own
}

fn named(text: &UnitText) -> BTreeMap<String, Vec<String>> {
    let properties = [
        "Requires",
        "Requisite",
        "Wants",
        "BindsTo",
        "PartOf",
        "Conflicts",
        "After",
        "Before",
    ];
    let mut found = BTreeMap::new();
    for property in properties {
        let mut names: Vec<String> = text
            .names("Unit", property)
            .into_iter()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            found.insert(property.to_owned(), names);
        }
    }
    found
}

fn limits(text: &UnitText) -> BTreeMap<String, String> {
    let keys = [
        "MemoryMax",
        "MemoryHigh",
        "MemorySwapMax",
        "TasksMax",
        "CPUWeight",
        "IOWeight",
        "CPUQuota",
        "LimitNOFILE",
        "LimitNPROC",
        "LimitCORE",
        "LimitMEMLOCK",
    ];
    let value = |key: &&str| Some(((*key).to_owned(), text.last("Service", key)?.to_owned()));
    keys.iter().filter_map(value).collect()
}

fn service(unit: &UnitName, text: &UnitText, accounts: &Accounts) -> Option<Service> {
    if unit.unit_type() != UnitType::Service {
        return None;
    }
    let get = |key| text.last("Service", key);
    let default_type = match (get("BusName"), get("ExecStart")) {
        (Some(_), _) => "dbus",
        (None, Some(_)) => "simple",
        (None, None) => "oneshot",
    };
    let mut environment: Vec<String> = text
        .all("Service", "Environment")
        .into_iter()
        .flat_map(words)
        .filter_map(|word| Some(word.split_once('=')?.0.to_owned()))
        .collect();
    environment.sort();
    environment.dedup();
    Some(Service {
        type_: get("Type").unwrap_or(default_type).to_owned(),
        remain_after_exit: text.flag("Service", "RemainAfterExit"),
        executables: ["ExecStartPre", "ExecStart", "ExecStartPost"]
            .iter()
            .flat_map(|key| text.all("Service", key))
            .filter_map(executable)
            .collect(),
        user: get("User").map(|name| accounts.user(name)),
        group: get("Group").map(|name| accounts.group(name)),
        working_directory: get("WorkingDirectory")
            .filter(|d| d.starts_with('/'))
            .map(str::to_owned),
        dynamic_user: text.flag("Service", "DynamicUser"),
        environment_names: environment,
    })
}

/// The program of a command line, unless its failure is ignored (systemd.service(5), prefixes).
fn executable(command: &str) -> Option<String> {
    let program = command.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefix = command.get(..command.len() - program.len())?;
    if prefix.contains('-') {
        return None;
    }
    words(program).into_iter().next()
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::item::unit::Origin;

    use super::*;

    fn files(text: &str) -> UnitFiles {
        let mut parsed = UnitText::default();
        parsed.add(text);
        UnitFiles {
            origin: Origin::Local,
            fragment: None,
            drop_ins: Vec::new(),
            masked: false,
            text: parsed,
            install: None,
        }
    }

    fn live(text: &[(&str, &[&str])]) -> Live {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Live {
            load_state: "loaded".into(),
            dependencies: text.iter().map(|(k, v)| ((*k).to_owned(), list(v))).collect(),
            service: Some(Service::default()),
            ..Live::default()
        }
    }

    #[test]
    fn another_unit_that_orders_itself_around_this_one_changes_nothing_here() {
        let name: UnitName = "db.service".parse().unwrap();
        let files = files("[Unit]\nAfter=network.target\n[Service]\nExecStart=/bin/db\n");
        let item = |before: &[&str]| {
            let live = live(&[
                ("After", &["network.target", "sysinit.target"]),
                ("Before", before),
                ("Requires", &["sysinit.target"]),
            ]);
            let facts = Facts {
                name: &name,
                live: Some(&live),
                files: &files,
                enablement: Some("enabled"),
            };
            facts.item(RunClass::Up, &Accounts::default(), &Redactor::default())
        };
        assert_eq!(
            item(&["multi-user.target"]),
            item(&["multi-user.target", "web.service"])
        );
        assert_eq!(item(&[]).dependencies["After"], ["network.target"]);
        assert_eq!(item(&[]).dependencies["Requires"], ["sysinit.target"]);
    }

    #[test]
    fn a_unit_that_is_not_loaded_or_is_stale_is_described_by_its_files() {
        let name: UnitName = "a.service".parse().unwrap();
        let files = files(
            "[Service]\nExecStartPre=-/bin/maybe\nExecStart=@/bin/a name 'x y'\nUser=web\nEnvironment=\"B=1 2\" A=3\nWorkingDirectory=-/srv\n",
        );
        let stale = Live {
            stale: true,
            ..live(&[])
        };
        for live in [None, Some(&stale)] {
            let facts = Facts {
                name: &name,
                live,
                files: &files,
                enablement: None,
            };
            let item = facts.item(RunClass::Down, &Accounts::default(), &Redactor::default());
            let service = item.service.unwrap();
            assert_eq!(service.executables, ["/bin/a"]);
            assert_eq!(service.environment_names, ["A", "B"]);
            assert_eq!(
                (service.type_.as_str(), service.working_directory),
                ("simple", None)
            );
            assert_eq!(service.user.unwrap().name, "web");
        }
    }
}
