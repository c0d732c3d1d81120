//! States of a made-up host: services with unit files of an ordinary size, and processes.

use std::collections::BTreeMap;

use safetytwin::plan::{HostItems, SectionItems};
use safetytwin_crds::digest::Digest;
use safetytwin_crds::digitaltwin::{DigitalTwinSpec, HostRef};
use safetytwin_crds::item::unit::{Account, Origin, Service, UnitFile};
use safetytwin_crds::item::{ProcessItem, RunClass, Text, UnitItem};
use safetytwin_crds::manifest::{Manifest, ManifestItem};
use safetytwin_crds::revision::{Content, DesiredItem};
use safetytwin_crds::section::SectionState;
use serde_json::Value;

/// A host's items.
pub struct State {
    /// The items.
    pub items: HostItems,
}

/// A spec that replicates everything.
pub fn spec() -> DigitalTwinSpec {
    DigitalTwinSpec {
        host_ref: HostRef { name: "bench".into() },
        class_name: "bench".into(),
        replicate: Default::default(),
        snapshots: Default::default(),
        drift: Default::default(),
        on_failure: Default::default(),
        suspend: false,
        re_render: None,
        deletion_policy: Default::default(),
    }
}

fn unit(number: usize, flag: &str) -> UnitItem {
    let name = format!("app-{number:04}.service");
    let content = format!(
        "[Unit]\nDescription=Application {number}\nAfter=network-online.target\nWants=network-online.target\n\n[Service]\nType=simple\nUser=app\nEnvironment=PORT={number} MODE=production\nExecStartPre=/usr/bin/app check --config /etc/app/{number}.toml\nExecStart=/usr/bin/app serve --config /etc/app/{number}.toml {flag}\nRestart=always\nRestartSec=5\nLimitNOFILE=65536\nProtectSystem=full\nPrivateTmp=true\n\n[Install]\nWantedBy=multi-user.target\n"
    );
    UnitItem {
        load_state: "loaded".into(),
        run: RunClass::Up,
        enablement: "enabled".into(),
        origin: Origin::Local,
        fragment: Some(UnitFile {
            path: format!("/etc/systemd/system/{name}"),
            digest: Digest::of(content.as_bytes()),
            content: Some(content),
            redactions: 0,
            refused: None,
        }),
        drop_ins: Vec::new(),
        dependencies: BTreeMap::from([("After".into(), vec!["network-online.target".into()])]),
        limits: BTreeMap::from([("LimitNOFILE".into(), "65536".into())]),
        preset: String::new(),
        timer: None,
        socket: None,
        path: None,
        mount: None,
        service: Some(Service {
            type_: "simple".into(),
            executables: vec!["/usr/bin/app".into()],
            user: Some(account()),
            ..Service::default()
        }),
        name: name.parse().expect("a unit name"),
    }
}

fn account() -> Account {
    Account {
        name: "app".into(),
        id: Some(998),
        primary_group: Some(998),
    }
}

fn process(number: usize) -> ProcessItem {
    ProcessItem {
        key: format!("{number:016x}"),
        comm: Text::from("worker"),
        executable: Some(Text::from("/usr/bin/worker")),
        executable_gone: false,
        argv: vec![
            Text::from("worker"),
            Text::from(format!("--queue={number}").as_str()),
        ],
        redactions: 0,
        truncated: false,
        working_directory: Some(Text::from("/srv/worker")),
        user: account(),
        group: account(),
        listens: vec![format!("tcp:0.0.0.0:{}", 10_000 + number)],
        ordinal: 0,
        unknown: Vec::new(),
    }
}

fn section<T>(items: Vec<T>) -> Option<SectionItems<T>> {
    Some(SectionItems {
        state: SectionState::Complete,
        items,
        refused: Vec::new(),
    })
}

impl State {
    /// A host with this many units and processes.
    pub fn new(units: usize, processes: usize) -> Self {
        Self {
            items: HostItems {
                units: section((0..units).map(|n| unit(n, "")).collect()),
                containers: section(Vec::new()),
                processes: section((0..processes).map(process).collect()),
            },
        }
    }

    /// 40 units edited, 10 new, 10 gone; 10 processes new, 10 gone.
    pub fn with_changes(mut self) -> Self {
        let units = self.items.units.as_mut().expect("units");
        for (number, item) in units.items.iter_mut().enumerate().take(900).skip(500).step_by(10) {
            *item = unit(number, "--verbose");
        }
        units.items.drain(0..10);
        units.items.extend((1000..1010).map(|n| unit(n, "")));
        let processes = self.items.processes.as_mut().expect("processes");
        processes.items.drain(0..10);
        processes.items.extend((1000..1010).map(process));
        self
    }

    /// The items by identity, as JSON values.
    pub fn json(&self) -> Value {
        let units = self.items.units.iter().flat_map(|s| &s.items);
        let units = units.map(|u| (u.id().to_string(), serde_json::to_value(u).expect("JSON")));
        let processes = self.items.processes.iter().flat_map(|s| &s.items);
        let processes = processes.map(|p| (p.id().to_string(), serde_json::to_value(p).expect("JSON")));
        Value::Object(units.chain(processes).collect())
    }
}

/// The manifest of a guest that has exactly this content.
pub fn manifest_of(content: &Content) -> Manifest {
    let items = content.items.iter().map(|item| ManifestItem {
        id: item.id.clone(),
        item_digest: item.item_digest,
        rendered_digest: item.rendered_digest,
        files_digest: Some(DesiredItem::digest_of_files(&item.files)),
        renderer: content.renderer,
        unit: item.unit.clone(),
        files: item.files.iter().map(|f| f.path.clone()).collect(),
        run: item.run,
        enabled_by_us: true,
        vendor: false,
        fallback: false,
        failure: None,
    });
    Manifest {
        items: items.collect(),
        ..Manifest::default()
    }
}
