//! Items for the tests of this module.

use safetytwin_crds::digest::Digest;
use safetytwin_crds::digitaltwin::{DigitalTwinSpec, HostRef, Replicate};
use safetytwin_crds::item::container::Engine;
use safetytwin_crds::item::unit::{Account, Origin, Service, UnitFile};
use safetytwin_crds::item::{ContainerItem, ProcessItem, RunClass, Text, UnitItem};
use safetytwin_crds::section::SectionState;

use super::{HostItems, SectionItems};

pub(crate) fn spec() -> DigitalTwinSpec {
    DigitalTwinSpec {
        host_ref: HostRef {
            name: "web-01".into(),
        },
        class_name: "lab".into(),
        replicate: Replicate::default(),
        snapshots: Default::default(),
        drift: Default::default(),
        on_failure: Default::default(),
        suspend: false,
        re_render: None,
        deletion_policy: Default::default(),
    }
}

pub(crate) fn file(path: &str, content: &str) -> UnitFile {
    UnitFile {
        path: path.into(),
        digest: Digest::of(content.as_bytes()),
        content: Some(content.into()),
        redactions: 0,
        refused: None,
    }
}

/// A local service that runs `/usr/bin/<stem>`.
pub(crate) fn service(name: &str) -> UnitItem {
    let stem = name.trim_end_matches(".service");
    UnitItem {
        name: name.parse().unwrap(),
        load_state: "loaded".into(),
        run: RunClass::Up,
        enablement: "enabled".into(),
        origin: Origin::Local,
        fragment: Some(file(
            &format!("/etc/systemd/system/{name}"),
            &format!("[Service]\nExecStart=/usr/bin/{stem}\n[Install]\nWantedBy=multi-user.target\n"),
        )),
        drop_ins: Vec::new(),
        dependencies: Default::default(),
        limits: Default::default(),
        preset: String::new(),
        timer: None,
        socket: None,
        path: None,
        mount: None,
        service: Some(Service {
            type_: "simple".into(),
            executables: vec![format!("/usr/bin/{stem}")],
            ..Service::default()
        }),
    }
}

/// A vendor service of the package of the same name.
pub(crate) fn vendor(name: &str) -> UnitItem {
    UnitItem {
        origin: Origin::Package(name.trim_end_matches(".service").into()),
        fragment: None,
        ..service(name)
    }
}

pub(crate) fn container(name: &str) -> ContainerItem {
    ContainerItem {
        engine: Engine::Docker,
        name: name.parse().unwrap(),
        run: RunClass::Up,
        image: "nginx:1.27".into(),
        image_id: "sha256:00".into(),
        entrypoint: None,
        command: None,
        redactions: 0,
        user: String::new(),
        working_directory: String::new(),
        environment_names: Vec::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        network_mode: "bridge".into(),
        networks: Default::default(),
        restart_policy: "always".into(),
        memory_bytes: 0,
        cpu_milli: 0,
        cap_add: Vec::new(),
        cap_drop: Vec::new(),
        devices: Vec::new(),
        health_check: None,
        log_driver: String::new(),
        privileged: false,
        labels: Default::default(),
        rootless_user: None,
        options: Default::default(),
    }
}

pub(crate) fn process(key: u64, argv: &[&str]) -> ProcessItem {
    let root = Account {
        name: "root".into(),
        id: Some(0),
        primary_group: Some(0),
    };
    ProcessItem {
        key: format!("{key:016x}"),
        comm: Text::from("worker"),
        executable: Some(Text::from("/usr/bin/worker")),
        executable_gone: false,
        argv: argv.iter().map(|a| Text::from(*a)).collect(),
        redactions: 0,
        truncated: false,
        working_directory: Some(Text::from("/")),
        user: root.clone(),
        group: root,
        listens: Vec::new(),
        ordinal: 0,
        unknown: Vec::new(),
    }
}

pub(crate) fn section<T>(items: Vec<T>) -> SectionItems<T> {
    SectionItems {
        state: SectionState::Complete,
        items,
        refused: Vec::new(),
    }
}

/// A host with complete sections of which only units are filled.
pub(crate) fn host(units: Vec<UnitItem>) -> HostItems {
    HostItems {
        units: Some(section(units)),
        containers: Some(section(Vec::new())),
        processes: Some(section(Vec::new())),
    }
}
