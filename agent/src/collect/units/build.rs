//! Makes the item of a unit from its effective properties and its files.
//!
//! A loaded unit's properties win, with what an edit changed since (see [`super::declared`]); a unit that
//! is not loaded is described by its files alone and is never loaded for asking.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetytwin_crds::item::RunClass;
use safetytwin_crds::item::unit::{Mount, UnitItem};
use safetytwin_crds::names::{UnitName, UnitType};

use super::clean::Cleaner;
use super::declared::Declared;
use super::dependencies;
use super::files::UnitFiles;
use super::properties::Live;
use super::runclass::Nature;
use super::text::UnitText;
use super::variant::Map;
use crate::collect::accounts::Accounts;

/// Everything about one unit.
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a UnitName,
    /// Properties, when it is loaded.
    pub live: Option<&'a Live>,
    /// Its files.
    pub files: &'a Arc<UnitFiles>,
    /// What the files said when they were loaded, if they were edited since and that is known.
    pub loaded_text: Option<&'a Arc<UnitText>>,
    /// `UnitFileState` by its files, when it has any.
    pub enablement: Option<&'a str>,
    /// `UnitFilePreset` by the preset files.
    pub preset: &'static str,
    /// A unit that runs starts it: a socket, timer or path.
    pub triggered: bool,
    /// Links of its enablement: WantedBy, RequiredBy, UpheldBy.
    pub installed: BTreeMap<String, Vec<String>>,
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
        Nature {
            oneshot: service && oneshot,
            triggered: service && (self.triggered || bus),
            enabled: self.enablement().starts_with("enabled"),
        }
    }

    /// The item, in run class `run`; `manager` are the manager's own properties.
    pub fn item(&self, run: RunClass, manager: &Map, accounts: &Accounts, cleaner: &mut Cleaner) -> UnitItem {
        let declared = self.declared(manager, accounts);
        let mut dependencies = dependencies::written(&self.files.text);
        dependencies.extend(self.installed.clone());
        let item = UnitItem {
            name: self.name.clone(),
            load_state: self.load_state().to_owned(),
            run,
            enablement: self.enablement().to_owned(),
            preset: self.preset.to_owned(),
            origin: self.files.origin.clone(),
            fragment: self.files.fragment.clone(),
            drop_ins: self.files.drop_ins.clone(),
            dependencies,
            limits: declared.limits,
            service: declared.service,
            timer: declared.timer,
            socket: declared.socket,
            path: declared.path,
            mount: mount(self.name, &self.files.text),
        };
        cleaner.item(item)
    }

    fn declared(&self, manager: &Map, accounts: &Accounts) -> Declared {
        let written = |text| Declared::written(self.name, text, manager, accounts);
        let text = &self.files.text;
        match (self.live, self.loaded_text) {
            (Some(live), _) if !live.stale => Declared::loaded(live),
            (Some(live), Some(then)) => Declared::loaded(live).edited(&written(then), &written(text)),
            _ => written(text),
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

/// What a mount, automount or swap unit attaches. By its file: what is mounted says another name for it.
fn mount(unit: &UnitName, text: &UnitText) -> Option<Mount> {
    let section = match unit.unit_type() {
        UnitType::Mount => "Mount",
        UnitType::Automount => "Automount",
        UnitType::Swap => "Swap",
        _ => return None,
    };
    let get = |key| text.last(section, key).unwrap_or_default().to_owned();
    Some(Mount {
        what: get("What"),
        where_: get("Where"),
        type_: get("Type"),
        options: get("Options"),
    })
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::item::unit::{Origin, Service};

    use super::*;
    use crate::redact::Redactor;

    fn files(text: &str) -> Arc<UnitFiles> {
        let mut parsed = UnitText::default();
        parsed.add(text);
        Arc::new(UnitFiles {
            origin: Origin::Local,
            fragment: None,
            drop_ins: Vec::new(),
            masked: false,
            text: Arc::new(parsed),
            install: None,
        })
    }

    fn live(text: &[(&str, &[&str])]) -> Live {
        Live {
            load_state: "loaded".into(),
            dependencies: text
                .iter()
                .flat_map(|(property, names)| names.iter().map(move |name| (property, Arc::from(*name))))
                .collect(),
            service: Some(Service::default()),
            ..Live::default()
        }
    }

    #[test]
    fn the_dependencies_of_an_item_are_what_its_files_name_whatever_systemd_knows() {
        let name: UnitName = "db.service".parse().unwrap();
        let files = files("[Unit]\nAfter=network.target\n[Service]\nExecStart=/bin/db\n");
        let item = |live: Option<&Live>| {
            let facts = Facts {
                name: &name,
                live,
                files: &files,
                loaded_text: None,
                enablement: Some("enabled"),
                preset: "enabled",
                triggered: false,
                installed: BTreeMap::from([("WantedBy".into(), vec!["multi-user.target".into()])]),
            };
            facts
                .item(
                    RunClass::Up,
                    &Map::new(),
                    &Accounts::default(),
                    &mut Cleaner::new(Redactor::default()),
                )
                .dependencies
        };
        let loaded = live(&[
            ("After", &["network.target", "sysinit.target"]),
            ("Before", &["web.service"]),
            ("Requires", &["sysinit.target", "system.slice"]),
            ("TriggeredBy", &["db.timer"]),
        ]);
        assert_eq!(item(Some(&loaded)), item(None));
        assert_eq!(item(None)["After"], ["network.target"]);
        assert_eq!(item(None).keys().collect::<Vec<_>>(), ["After", "WantedBy"]);
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
                loaded_text: None,
                enablement: None,
                preset: "",
                triggered: false,
                installed: BTreeMap::new(),
            };
            let item = facts.item(
                RunClass::Down,
                &Map::new(),
                &Accounts::default(),
                &mut Cleaner::new(Redactor::default()),
            );
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
