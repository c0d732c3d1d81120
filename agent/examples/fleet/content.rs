//! Made-up content of a host, as its collectors would post it.

use std::collections::BTreeMap;

use rand::Rng;
use safetytwin_agent::collect::board::Board;
use safetytwin_agent::collect::{Collected, Content, shared};
use safetytwin_crds::digest::Digest;
use safetytwin_crds::hoststate::{Load, MachineSummary};
use safetytwin_crds::item::container::{ContainerItem, Engine};
use safetytwin_crds::item::machine::{Cpu, Disk, Interface, Machine, Os};
use safetytwin_crds::item::observed::{ObservedProcess, ObservedUnit};
use safetytwin_crds::item::process::ProcessItem;
use safetytwin_crds::item::unit::{Account, Origin, Service, UnitFile, UnitItem};
use safetytwin_crds::item::{Observed, RunClass, Text};
use safetytwin_crds::section::SectionName;
use serde::Deserialize;

/// How much a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// 8 units: thousands of them fit into one process.
    Small,
    /// 120 units, every fifth with a file of its own, 10 containers, 5 independent processes.
    Typical,
    /// As typical; each section says in 256 characters why it is not whole.
    Messages,
    /// 1,000 units and 1,000 independent processes, with these messages.
    Large,
}

impl Shape {
    /// Units, containers, processes.
    fn counts(self) -> (usize, usize, usize) {
        match self {
            Self::Small => (8, 0, 0),
            Self::Typical | Self::Messages => (120, 10, 5),
            Self::Large => (1000, 50, 1000),
        }
    }

    /// As long as a message may be.
    fn gaps(self) -> Vec<String> {
        match self {
            Self::Small | Self::Typical => Vec::new(),
            Self::Messages | Self::Large => vec!["unreadable: permission denied ".repeat(9)],
        }
    }
}

/// A host's content, and what of it has changed so far.
pub struct Host {
    shape: Shape,
    units: Vec<UnitItem>,
    changes: usize,
}

impl Host {
    /// A host on which nothing has changed yet.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            units: (0..shape.counts().0).filter_map(unit).collect(),
            changes: 0,
        }
    }

    /// Posts all of it.
    pub fn post_all(&self, board: &Board) {
        let (_, containers, processes) = self.shape.counts();
        self.post_units(board);
        self.post(
            board,
            "containers",
            SectionName::Containers,
            Content::Containers(shared((0..containers).filter_map(container))),
        );
        let processes: Vec<ProcessItem> = (0..processes).map(process).collect();
        let observed = processes
            .iter()
            .zip(4000..)
            .map(|(process, pid)| ObservedProcess {
                key: process.key.clone(),
                pid,
                start_ticks: 41_000,
                parent_pid: 1,
                cpu_ticks: Some(100),
                resident_pages: Some(1_000),
                package: None,
            });
        let observed = Observed {
            processes: observed.collect(),
            ..Observed::default()
        };
        let content = Content::Processes(shared(processes));
        self.post_observed(board, "processes", SectionName::Processes, content, observed);
        let (item, summary) = machine();
        let item = Box::new(item);
        self.post(
            board,
            "machine",
            SectionName::Machine,
            Content::Machine { item, summary },
        );
        self.post_load(board);
    }

    /// Posts a load that has moved, in the steps in which the agent tells it.
    pub fn post_load(&self, board: &Board) {
        let mut random = rand::rng();
        let mut percent = || Some(random.random_range(0..20) * 5);
        let load = Load {
            cpu_percent: percent(),
            memory_percent: percent(),
            cpu_pressure_percent: percent(),
            memory_pressure_percent: percent(),
            io_pressure_percent: percent(),
            load1_centi: percent().map(|load| load * 4),
        };
        board.post("load", None, Ok(Collected::whole(Content::Load(load))));
    }

    /// Edits the file of one unit, which restarts it.
    pub fn change_a_unit(&mut self, board: &Board) {
        self.changes += 1;
        let count = self.units.len().max(1);
        // Every fifth has a file of its own.
        let place = self.changes * 5 % count / 5 * 5;
        if let Some(file) = self.units.get_mut(place).and_then(|unit| unit.fragment.as_mut()) {
            let text = body(place, self.changes);
            file.digest = Digest::of(text.as_bytes());
            file.content = Some(text);
        }
        self.post_units(board);
    }

    fn post_units(&self, board: &Board) {
        let restarts = u32::try_from(self.changes).unwrap_or(u32::MAX);
        let observed = self.units.iter().zip(1000..).map(|(unit, pid)| ObservedUnit {
            name: unit.name.to_string(),
            active_state: "active".into(),
            sub_state: "running".into(),
            main_pid: pid + restarts,
            result: "success".into(),
            ..ObservedUnit::default()
        });
        let observed = Observed {
            units: observed.collect(),
            ..Observed::default()
        };
        let content = Content::Units {
            services: i32::try_from(self.units.len()).unwrap_or(i32::MAX),
            failed: 1,
            items: shared(self.units.iter().cloned()),
        };
        self.post_observed(board, "units", SectionName::Units, content, observed);
    }

    fn post(&self, board: &Board, name: &'static str, section: SectionName, content: Content) {
        self.post_observed(board, name, section, content, Observed::default());
    }

    fn post_observed(
        &self,
        board: &Board,
        name: &'static str,
        section: SectionName,
        content: Content,
        observed: Observed,
    ) {
        let collected = Collected {
            content: content.into(),
            gaps: self.shape.gaps(),
            observed: observed.into(),
        };
        board.post(name, Some(section), Ok(collected));
    }
}

/// The text of a unit's file; twenty lines.
fn body(number: usize, edition: usize) -> String {
    let environment: String = (0..8).map(|n| format!("Environment=SETTING_{n}=\n")).collect();
    format!(
        "[Unit]\nDescription=Service {number}, edition {edition}\nAfter=network-online.target\n\
         Wants=network-online.target\n\n[Service]\nExecStart=/usr/local/bin/service-{number} --listen 0.0.0.0:{}\n\
         {environment}Restart=on-failure\nMemoryMax=256M\n\n[Install]\nWantedBy=multi-user.target\n",
        8000 + number
    )
}

fn account(name: &str, id: u32) -> Account {
    Account {
        name: name.into(),
        id: Some(id),
        primary_group: Some(id),
    }
}

fn unit(number: usize) -> Option<UnitItem> {
    let own = number.is_multiple_of(5);
    let text = body(number, 0);
    let (directory, origin) = if own {
        ("/etc/systemd/system", Origin::Local)
    } else {
        (
            "/usr/lib/systemd/system",
            Origin::Package(format!("package-{number}")),
        )
    };
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let after = list(&[
        "basic.target",
        "network-online.target",
        "system.slice",
        "systemd-journald.socket",
    ]);
    Some(UnitItem {
        name: format!("service-{number:04}.service").parse().ok()?,
        load_state: "loaded".into(),
        run: RunClass::Up,
        enablement: "enabled".into(),
        origin,
        fragment: Some(UnitFile {
            path: format!("{directory}/service-{number:04}.service"),
            digest: Digest::of(text.as_bytes()),
            content: own.then_some(text),
            redactions: 0,
            refused: None,
        }),
        drop_ins: Vec::new(),
        dependencies: BTreeMap::from([
            ("After".into(), after),
            ("Requires".into(), list(&["sysinit.target", "system.slice"])),
        ]),
        limits: BTreeMap::from([("MemoryMax".into(), "268435456".into())]),
        service: Some(Service {
            type_: "simple".into(),
            executables: vec![format!("/usr/local/bin/service-{number}")],
            user: Some(account("service", 998)),
            ..Service::default()
        }),
        preset: "enabled".into(),
        timer: None,
        socket: None,
        path: None,
        mount: None,
    })
}

fn container(number: usize) -> Option<ContainerItem> {
    // Through JSON, so that fields which are added later need no mention here.
    serde_json::from_value(serde_json::json!({
        "engine": Engine::Docker, "name": format!("container-{number:02}"), "run": RunClass::Up,
        "image": "registry.example.org/shop/front:1.28",
        "imageId": format!("sha256:{}", Digest::of(&number.to_le_bytes())),
        "command": ["serve", "--port", "8080"], "networkMode": "bridge", "networks": {"bridge": []},
        "restartPolicy": "unless-stopped", "memoryBytes": 67_108_864, "labels": {"tier": "front"},
        "ports": [{"containerPort": 8080, "protocol": "tcp", "hostPort": 20_000 + number}],
    }))
    .ok()
}

fn process(number: usize) -> ProcessItem {
    let executable = format!("/opt/worker/bin/worker-{}", number % 7);
    let argv: Vec<Text> = [executable.as_str(), "--queue", &format!("queue-{number}")]
        .into_iter()
        .map(Text::from)
        .collect();
    ProcessItem {
        key: ProcessItem::identity(executable.as_bytes(), &argv, b"/opt/worker", 998, 0),
        comm: "worker".into(),
        executable: Some(executable.as_str().into()),
        executable_gone: false,
        argv,
        redactions: 0,
        truncated: false,
        working_directory: Some("/opt/worker".into()),
        user: account("worker", 998),
        group: account("worker", 998),
        listens: Vec::new(),
        ordinal: 0,
        unknown: Vec::new(),
    }
}

fn machine() -> (Machine, MachineSummary) {
    let machine = Machine {
        hostname: "web".into(),
        os: Os {
            id: "debian".into(),
            version_id: "12".into(),
            pretty_name: "Debian GNU/Linux 12 (bookworm)".into(),
        },
        kernel: "6.1.0-38-cloud-amd64".into(),
        architecture: "x86_64".into(),
        systemd: 252,
        cpu: Cpu {
            model: "AMD EPYC".into(),
            sockets: 1,
            cores: 4,
            threads: 8,
            ..Cpu::default()
        },
        memory_bytes: 16 << 30,
        disks: vec![Disk {
            name: "vda".into(),
            size_bytes: 100 << 30,
            rotational: false,
            mountpoints: vec!["/".into()],
            ..Disk::default()
        }],
        interfaces: vec![Interface {
            name: "ens3".into(),
            mac: "52:54:00:12:34:56".into(),
            mtu: 1500,
            addresses: vec!["10.0.0.9/24".into()],
            ..Interface::default()
        }],
        ..Machine::default()
    };
    let summary = MachineSummary {
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        system_uuid: "01234567-89ab-cdef-0123-456789abcdef".into(),
        os: "Debian 12".into(),
        kernel: machine.kernel.clone(),
        architecture: None,
        cpus: 8,
        memory_mib: 16_384,
    };
    (machine, summary)
}
