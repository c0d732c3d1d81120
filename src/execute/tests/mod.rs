//! Operations on fakes: VM and guest are one machine, a revert takes the guest back too.

mod crash;
mod outcomes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use safetytwin_crds::item::{ItemId, RunClass, UnitItem};
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::revision::Content;
use safetytwin_crds::twinclass::{PointMode, Vm};
use safetytwin_crds::twinsnapshot::TakenMode;

use super::{ApplyInput, ApplyReport, ExecuteError, Journal, Ports, Refused, RestoreInput, RestoreReport};
use crate::guest::GuestAddress;
use crate::guest::fake::{self, FakeGuest, Saved};
use crate::plan::desired;
use crate::plan::samples::{file, host, service, spec, vendor};
use crate::plan::steps::OperationIds;
use crate::vm::fake::{self as vm_fake, Disk, FakeVm};
use crate::vm::{PointRequest, PointTaken, TwinVm as _, VmOrigin, VmSpec};

const UID: &str = "5f0c6f1e-6a7e-4b39-9d3c-0d6c2f6f9c1e";

/// When the process dies, relative to an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// It does not happen.
    Before,
    /// It happens, nobody learns.
    After,
}

/// Counts the effects of all ports together, and lets the process die at one of them.
#[derive(Default)]
struct Fate {
    seen: u64,
    at: Option<(u64, Moment)>,
    dead: bool,
}

impl Fate {
    fn ask(&mut self) -> Option<Moment> {
        if self.dead {
            return Some(Moment::Before);
        }
        self.seen += 1;
        let (n, moment) = self.at?;
        if n != self.seen {
            return None;
        }
        self.dead = true;
        Some(moment)
    }
}

/// What the VM's points keep of the guest.
struct Coupled {
    guest: FakeGuest,
    kept: Mutex<Vec<Saved>>,
}

impl Disk for Coupled {
    fn snapshot(&self, mode: TakenMode) -> u64 {
        let mut kept = self.kept.lock().unwrap();
        kept.push(self.guest.save(mode == TakenMode::Full));
        kept.len() as u64 - 1
    }
    fn restore(&self, id: u64, _mode: TakenMode) {
        self.guest.revert(&self.kept.lock().unwrap()[id as usize]);
    }
    fn boot(&self) {
        self.guest.reboot();
    }
    fn wipe(&self) {}
}

/// A twin's machine and the record of its controller. Outlives every process.
struct World {
    guest: FakeGuest,
    vm: FakeVm,
    fate: Arc<Mutex<Fate>>,
    now: Timestamp,
    /// What points hold.
    mode: PointMode,
}

/// Path and bytes of files.
type Files = Vec<(String, Vec<u8>)>;

/// Everything that must not depend on where a process died.
#[derive(Debug, PartialEq, Eq)]
struct End {
    manifest: Manifest,
    files: BTreeMap<String, Option<Vec<u8>>>,
    runs: BTreeMap<String, Option<Files>>,
    enabled: BTreeMap<String, (bool, bool)>,
    active: BTreeSet<String>,
    lock: Option<(i64, i64)>,
    record: Option<Vec<u8>>,
    points: Vec<(String, Option<String>)>,
    clock: Option<Timestamp>,
}

/// Effects whose number must not depend on it either.
#[derive(Debug, PartialEq, Eq)]
struct Effects {
    points: u64,
    deleted: u64,
    written: u64,
    removed: u64,
    jobs: u64,
}

struct Pen<'a>(&'a World);

impl Pen<'_> {
    /// A write of the controller: an effect like any other.
    fn write(&self) -> Result<(), Refused> {
        match self.0.fate.lock().unwrap().ask() {
            None => Ok(()),
            Some(_) => Err(Refused {
                reason: "Died",
                message: "the process is dead".into(),
            }),
        }
    }
}

#[async_trait]
impl Journal for Pen<'_> {
    async fn guard(&self) -> Result<(), Refused> {
        self.write()
    }
    async fn point_taken(&self, _point: &PointTaken) -> Result<(), Refused> {
        self.write()
    }
    fn now(&self) -> Timestamp {
        self.0.now
    }
}

impl World {
    async fn new() -> Self {
        let guest = FakeGuest::new();
        guest.add_vendor_unit(
            "vendor.service",
            "[Service]\nExecStart=/usr/bin/vendor\n[Install]\n",
        );
        for stem in [
            "keep", "edit", "gone", "new", "bad", "worse", "off", "vendor", "fw", "masked",
        ] {
            guest.add_executable(&format!("/usr/bin/{stem}"));
        }
        let disk = Arc::new(Coupled {
            guest: guest.clone(),
            kept: Mutex::default(),
        });
        let vm = FakeVm::new(machine(), disk);
        vm.ensure().await.unwrap();
        let world = Self {
            guest,
            vm,
            fate: Arc::default(),
            now: "2026-11-24T00:00:00Z".parse().unwrap(),
            mode: PointMode::Full,
        };
        world.start_process(None);
        world
    }

    /// A new process of the controller, which dies at the given effect.
    fn start_process(&self, at: Option<(u64, Moment)>) {
        *self.fate.lock().unwrap() = Fate {
            at,
            ..Fate::default()
        };
        self.guest.recover();
        let fate = Arc::clone(&self.fate);
        self.guest
            .on_effect(Arc::new(move |_| match fate.lock().unwrap().ask() {
                None => fake::Verdict::Proceed,
                Some(Moment::Before) => fake::Verdict::CrashBefore,
                Some(Moment::After) => fake::Verdict::CrashAfter,
            }));
        let fate = Arc::clone(&self.fate);
        self.vm
            .set_gate(Some(Arc::new(move |_| match fate.lock().unwrap().ask() {
                None => vm_fake::Verdict::Done,
                Some(Moment::Before) => vm_fake::Verdict::LostBefore,
                Some(Moment::After) => vm_fake::Verdict::LostAfter,
            })));
    }

    fn died(&self) -> bool {
        self.fate.lock().unwrap().dead
    }

    async fn apply(&self, number: i64, epoch: i64, content: &Content) -> Result<ApplyReport, ExecuteError> {
        self.apply_as(number, epoch, content, false, true).await
    }

    async fn apply_as(
        &self,
        number: i64,
        epoch: i64,
        content: &Content,
        restore_on_failure: bool,
        repair: bool,
    ) -> Result<ApplyReport, ExecuteError> {
        let address = address();
        let pen = Pen(self);
        let ports = self.ports(&address, &pen);
        let input = ApplyInput {
            ids: &ids(number, epoch),
            content,
            point: &PointRequest {
                mode: self.mode,
                ..point(number)
            },
            re_render: None,
            repair,
            restore_on_failure,
            again: false,
        };
        super::apply(&input, &ports).await
    }

    async fn restore(&self, number: i64, epoch: i64, target: i64) -> Result<RestoreReport, ExecuteError> {
        let address = address();
        let pen = Pen(self);
        let ports = self.ports(&address, &pen);
        let input = RestoreInput {
            ids: &ids(number, epoch),
            target: &point(target).name,
            present: &point(number),
        };
        super::restore(&input, &ports).await
    }

    fn ports<'a>(&'a self, address: &'a GuestAddress, pen: &'a Pen<'a>) -> Ports<'a> {
        Ports {
            vm: &self.vm,
            door: &self.guest,
            address,
            journal: pen,
        }
    }

    async fn end(&self) -> End {
        let mut manifest = self.guest.manifest_on_disk().unwrap();
        manifest.epoch = 0;
        let units = [
            "keep", "edit", "gone", "new", "bad", "worse", "off", "vendor", "fw", "masked",
        ]
        .map(|stem| format!("{stem}.service"));
        let path = |unit: &String| format!("/etc/systemd/system/{unit}");
        let drop_in = "/etc/systemd/system/vendor.service.d/nice.conf".to_owned();
        let paths = units.iter().map(path).chain([drop_in]);
        let points = self.vm.observe().await.unwrap().unwrap().points;
        End {
            manifest,
            files: paths.map(|p| (p.clone(), self.guest.file(&p))).collect(),
            runs: units.iter().map(|u| (u.clone(), self.guest.runs(u))).collect(),
            enabled: units
                .iter()
                .map(|u| (u.clone(), self.guest.enabled_and_masked(u)))
                .collect(),
            active: self.guest.active_units(),
            lock: self.guest.lock_holder(),
            record: self.guest.file(safetytwin_crds::names::GUEST_OPERATION),
            points: points.into_iter().map(|p| (p.name, p.parent)).collect(),
            clock: self.guest.clock(),
        }
    }

    fn effects(&self) -> Effects {
        let guest = self.guest.counters();
        let vm = self.vm.counts();
        let of = |name| vm.get(name).copied().unwrap_or_default();
        Effects {
            points: of("take-point"),
            deleted: of("delete-point"),
            written: guest.files_written,
            removed: guest.files_removed,
            jobs: guest.jobs,
        }
    }
}

fn machine() -> VmSpec {
    VmSpec {
        name: "ops-web-01-9c1e".into(),
        uuid: UID.into(),
        twin_uid: UID.into(),
        origin: VmOrigin::BaseImage {
            volume: "debian-12.qcow2".into(),
            seed: crate::vm::Seed {
                instance_id: "twin-9c1e".into(),
                hostname: "web-01".into(),
                authorized_key: String::new(),
                host_key_private: String::new(),
                host_key_public: String::new(),
            },
        },
        pool: "twins".into(),
        network: "twins-isolated".into(),
        vm: Vm::default(),
        cpus: 1,
        memory_bytes: 1 << 30,
    }
}

fn address() -> GuestAddress {
    GuestAddress {
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        port: 22,
        user: "root".into(),
        private_key: String::new(),
        host_key: String::new(),
    }
}

fn ids(number: i64, epoch: i64) -> OperationIds {
    OperationIds {
        twin_uid: UID.into(),
        epoch,
        operation: number,
        revision: number,
    }
}

fn point(number: i64) -> PointRequest {
    PointRequest {
        name: format!("web-01-r{number:04}-9c1e"),
        mode: PointMode::Full,
    }
}

fn content(units: Vec<UnitItem>, removed: &[&str]) -> Content {
    let mut content = desired(&host(units), &spec());
    assert!(content.excluded.is_empty(), "{:?}", content.excluded);
    content.removed = removed.iter().map(|name| ItemId::unit(name)).collect();
    content
}

/// The host at first.
fn first() -> Content {
    content(
        ["edit", "gone", "keep", "masked", "off"]
            .map(|stem| service(&format!("{stem}.service")))
            .into(),
        &[],
    )
}

/// The host later: one of each kind of change.
fn second() -> Content {
    let named = |stem: &str| service(&format!("{stem}.service"));
    let mut edit = named("edit");
    edit.fragment = Some(file(
        "/etc/systemd/system/edit.service",
        "[Service]\nExecStart=/usr/bin/edit --new\n[Install]\nWantedBy=multi-user.target\n",
    ));
    let mut off = named("off");
    off.run = RunClass::Down;
    off.enablement = "disabled".into();
    let mut masked = named("masked");
    masked.load_state = "masked".into();
    masked.enablement = "masked".into();
    masked.fragment = None;
    let mut vendor = vendor("vendor.service");
    vendor.drop_ins = vec![file(
        "/etc/systemd/system/vendor.service.d/nice.conf",
        "[Service]\nNice=5\n",
    )];
    content(
        vec![
            named("bad"),
            edit,
            named("keep"),
            masked,
            named("new"),
            off,
            vendor,
            named("worse"),
        ],
        &["gone.service"],
    )
}
