//! The fake's model of a machine with systemd: disk, memory, and what jobs, reloads and reboots do.
//!
//! The rules that a twin depends on: a unit that is in memory runs what was read at its load, until a
//! reload; a unit that is not in memory is read at its start, without a reload; a unit that ends and
//! that nothing wants leaves memory; a file in `/etc/systemd/system` cannot be masked.

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::item::container::Engine;
use safetytwin_crds::names::UnitName;

use super::super::paths::{UNIT_DIR, UNIT_PATHS};
use super::super::records::Lock;
use super::StartFailure;
use crate::facts::{Active, Load, UnitFacts};

/// What a unit is made of: paths and bytes of its fragment and drop-ins.
pub(super) type Source = Vec<(String, Vec<u8>)>;

/// What survives a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub files: BTreeMap<String, Vec<u8>>,
    pub executables: BTreeSet<String>,
    pub directories: BTreeSet<String>,
    pub users: BTreeMap<String, u32>,
    pub groups: BTreeMap<String, u32>,
    pub images: BTreeSet<(Engine, String)>,
    pub enabled: BTreeSet<String>,
    pub masked: BTreeSet<String>,
}

/// What does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ram {
    pub boot_id: String,
    pub units: BTreeMap<String, Unit>,
    pub lock: Option<Lock>,
    pub clock: Option<jiff::Timestamp>,
}

/// A unit in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub load: Load,
    /// As read at its load.
    pub source: Source,
    /// As it was when the running process was started.
    pub runs: Option<Source>,
    pub active: Active,
    pub invocation: String,
    pub main_pid: u32,
    pub result: &'static str,
}

impl Disk {
    /// Fragment and drop-ins of a unit; `None` without a fragment.
    pub fn source(&self, name: &str) -> Option<Source> {
        let template = name.parse::<UnitName>().ok().and_then(|n| n.template());
        let fragment = std::iter::once(name)
            .chain(template.as_deref())
            .flat_map(|file| UNIT_PATHS.iter().map(move |dir| format!("{dir}/{file}")))
            .find(|path| self.files.contains_key(path))?;
        let drop_ins = UNIT_PATHS
            .iter()
            .map(|dir| format!("{dir}/{name}.d/"))
            .flat_map(|dir| self.files.keys().filter(move |path| path.starts_with(&dir)));
        let paths = std::iter::once(&fragment).chain(drop_ins);
        Some(
            paths
                .filter_map(|path| Some((path.clone(), self.files.get(path)?.clone())))
                .collect(),
        )
    }

    /// `UnitFileState` of a unit.
    pub fn file_state(&self, name: &str) -> &'static str {
        let Some(source) = self.source(name) else {
            return if self.masked.contains(name) { "masked" } else { "" };
        };
        if self.masked.contains(name) {
            "masked"
        } else if self.enabled.contains(name) {
            "enabled"
        } else if installs(&source) {
            "disabled"
        } else {
            "static"
        }
    }

    /// Names of all unit files.
    pub fn unit_files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().filter_map(|path| {
            let (dir, file) = path.rsplit_once('/')?;
            UNIT_PATHS.contains(&dir).then_some(file)
        })
    }

    /// Enables a unit; why not, else.
    pub fn enable(&mut self, name: &str) -> Option<String> {
        if self.masked.contains(name) {
            return Some(format!("Unit file {name} is masked."));
        }
        let Some(source) = self.source(name) else {
            return Some(format!("Unit file {name} does not exist."));
        };
        if installs(&source) {
            self.enabled.insert(name.to_owned());
        }
        None
    }

    /// Masks a unit; why not, else.
    pub fn mask(&mut self, name: &str) -> Option<String> {
        if self.files.contains_key(&format!("{UNIT_DIR}/{name}")) {
            return Some(format!("File '{UNIT_DIR}/{name}' already exists."));
        }
        self.masked.insert(name.to_owned());
        None
    }
}

fn installs(source: &Source) -> bool {
    source
        .iter()
        .any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("[Install]"))
}

impl Unit {
    fn read(disk: &Disk, name: &str) -> Self {
        let source = disk.source(name);
        let load = match &source {
            _ if disk.masked.contains(name) => Load::Masked,
            Some(_) => Load::Loaded,
            None => Load::NotFound,
        };
        Self {
            load,
            source: source.unwrap_or_default(),
            runs: None,
            active: Active::Inactive,
            invocation: String::new(),
            main_pid: 0,
            result: "success",
        }
    }

    fn facts(&self, name: &UnitName, file_state: &str) -> UnitFacts {
        let sub = match self.active {
            Active::Active => "running",
            Active::Failed => "failed",
            _ => "dead",
        };
        UnitFacts {
            name: name.clone(),
            load: self.load,
            active: self.active,
            sub: sub.into(),
            file_state: file_state.into(),
            invocation: self.invocation.clone(),
            main_pid: self.main_pid,
            result: self.result.into(),
            exit_status: i32::from(self.active == Active::Failed),
        }
    }
}

/// Facts of a unit that is not in memory.
pub fn not_loaded(name: &UnitName, file_state: &str) -> UnitFacts {
    UnitFacts {
        name: name.clone(),
        load: Load::NotLoaded,
        active: Active::Inactive,
        sub: "dead".into(),
        file_state: file_state.into(),
        invocation: String::new(),
        main_pid: 0,
        result: String::new(),
        exit_status: 0,
    }
}

/// The machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub disk: Disk,
    pub ram: Ram,
    /// Units that do not start, and how.
    pub failing: BTreeMap<String, StartFailure>,
    /// Never goes back, not even by a revert: pids, invocations and boot ids are unique.
    pub serial: u32,
}

impl Machine {
    fn next(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Facts about a unit; loads nothing.
    pub fn facts(&self, name: &UnitName) -> UnitFacts {
        let file_state = self.disk.file_state(name.as_str());
        match self.ram.units.get(name.as_str()) {
            Some(unit) => unit.facts(name, file_state),
            None => not_loaded(name, file_state),
        }
    }

    /// StartUnit; the job's failure.
    pub fn start(&mut self, name: &str) -> Option<String> {
        if !self.ram.units.contains_key(name) {
            self.ram
                .units
                .insert(name.to_owned(), Unit::read(&self.disk, name));
        }
        let serial = self.next();
        let failure = self.failing.get(name).copied();
        let unit = self.ram.units.get_mut(name)?;
        match unit.load {
            Load::Masked => return Some(format!("Unit {name} is masked.")),
            Load::NotFound if unit.active != Active::Active => {
                self.ram.units.remove(name);
                return Some(format!("Unit {name} not found."));
            }
            _ => {}
        }
        if unit.active == Active::Active {
            return None;
        }
        unit.invocation = format!("{serial:032x}");
        unit.runs = Some(unit.source.clone());
        if let Some(failure) = failure {
            unit.active = Active::Failed;
            unit.result = "exit-code";
            unit.runs = None;
            return (failure == StartFailure::Job).then(|| "failed".to_owned());
        }
        unit.active = Active::Active;
        unit.result = "success";
        unit.main_pid = serial;
        None
    }

    /// StopUnit; the job's failure. A unit that is not in memory is down already.
    pub fn stop(&mut self, name: &str) -> Option<String> {
        let unit = self.ram.units.get_mut(name)?;
        unit.active = Active::Inactive;
        unit.main_pid = 0;
        unit.runs = None;
        self.collect(name);
        None
    }

    /// RestartUnit; the job's failure.
    pub fn restart(&mut self, name: &str) -> Option<String> {
        if let Some(unit) = self.ram.units.get_mut(name) {
            unit.active = Active::Inactive;
            unit.main_pid = 0;
            unit.runs = None;
        }
        self.start(name)
    }

    /// ResetFailedUnit.
    pub fn reset_failed(&mut self, name: &str) {
        if let Some(unit) = self.ram.units.get_mut(name)
            && unit.active == Active::Failed
        {
            unit.active = Active::Inactive;
            unit.result = "success";
            self.collect(name);
        }
    }

    fn collect(&mut self, name: &str) {
        if !self.disk.enabled.contains(name) {
            self.ram.units.remove(name);
        }
    }

    /// Reload: units in memory are read again, enabled ones get loaded.
    pub fn reload(&mut self) {
        let old = std::mem::take(&mut self.ram.units);
        let kept = old.iter().filter(|(_, u)| u.active != Active::Inactive);
        let names: BTreeSet<String> = kept
            .map(|(name, _)| name.clone())
            .chain(self.disk.enabled.iter().cloned())
            .collect();
        for name in names {
            let mut unit = Unit::read(&self.disk, &name);
            if let Some(before) = old.get(&name) {
                unit.runs = before.runs.clone();
                unit.active = before.active;
                unit.invocation = before.invocation.clone();
                unit.main_pid = before.main_pid;
                unit.result = before.result;
            }
            self.ram.units.insert(name, unit);
        }
    }

    /// Starts from the disk: a new boot id, empty memory, enabled units up.
    pub fn boot(&mut self) {
        let serial = self.next();
        self.ram = Ram {
            boot_id: format!("00000000-0000-4000-8000-{serial:012x}"),
            ..Ram::default()
        };
        for name in self.disk.enabled.clone() {
            self.start(&name);
        }
    }
}
