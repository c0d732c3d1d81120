//! What must not depend on where a process died: everything that is stored anywhere, without times,
//! epochs and versions, and the number of effects that people would notice.

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::GUEST_OPERATION;
use serde_json::{Value, json};

use super::world::World;
use crate::vm::fake::FakeVm;

/// Path and bytes of files.
type Files = Vec<(String, Vec<u8>)>;

/// A world at rest.
#[derive(Debug, PartialEq)]
pub struct End {
    /// Objects by kind and name, normalised.
    pub objects: BTreeMap<String, Value>,
    pub guest: GuestEnd,
    pub vm: VmEnd,
    pub effects: Effects,
}

/// The guest.
#[derive(Debug, PartialEq)]
pub struct GuestEnd {
    pub manifest: Option<Manifest>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Each unit with what its process was started from, and whether it is enabled and masked.
    pub units: BTreeMap<String, (Option<Files>, (bool, bool))>,
    pub active: BTreeSet<String>,
    pub locked: bool,
    pub record: Option<Vec<u8>>,
}

/// The VM: what is left of it, whether it runs, its points with parents, the current one.
#[derive(Debug, Default, PartialEq)]
pub struct VmEnd {
    pub remains: (bool, bool, bool),
    pub running: bool,
    pub points: Vec<(String, Option<String>, bool)>,
}

/// Numbers of effects since the world was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    pub points_taken: u64,
    pub points_deleted: u64,
    pub files_written: u64,
    pub files_removed: u64,
    pub jobs: u64,
}

impl World {
    /// Everything that counts.
    pub fn end(&self) -> End {
        let vm = self.machines.vm();
        End {
            objects: self.objects(),
            guest: self.guest_end(),
            vm: vm.as_deref().map(vm_end).unwrap_or_default(),
            effects: self.effects(),
        }
    }

    /// Numbers of effects.
    pub fn effects(&self) -> Effects {
        let vm = self.machines.vm().map(|vm| vm.counts()).unwrap_or_default();
        let guest = self.machines.guest.counters();
        let of = |name| vm.get(name).copied().unwrap_or_default();
        Effects {
            points_taken: of("take-point"),
            points_deleted: of("delete-point"),
            files_written: guest.files_written,
            files_removed: guest.files_removed,
            jobs: guest.jobs,
        }
    }

    /// The guest.
    pub fn guest_end(&self) -> GuestEnd {
        let guest = &self.machines.guest;
        let files = guest.local_unit_files();
        let units = files.keys().filter_map(|path| path.rsplit('/').next());
        GuestEnd {
            manifest: guest.manifest_on_disk().map(timeless),
            units: units
                .map(|unit| {
                    (
                        unit.to_owned(),
                        (guest.runs(unit), guest.enabled_and_masked(unit)),
                    )
                })
                .collect(),
            files,
            active: guest.active_units(),
            locked: guest.lock_holder().is_some(),
            record: guest.file(GUEST_OPERATION),
        }
    }

    /// All objects but events, which may be lost, and what hosts write.
    fn objects(&self) -> BTreeMap<String, Value> {
        let objects = self.server.look(|store| store.objects().clone());
        objects
            .iter()
            .filter(|(key, _)| !["events", "hostsections"].contains(&key.kind.plural.as_str()))
            .map(|(key, object)| {
                let mut object = object.clone();
                normalise(&mut object);
                if key.kind.plural == "hoststates" {
                    object["spec"] = json!({});
                }
                if key.kind.plural == "secrets" {
                    object["data"] = json!({});
                }
                (key.to_string(), object)
            })
            .collect()
    }
}

/// The manifest without epoch, times, and messages that say where a silence was noticed.
fn timeless(mut manifest: Manifest) -> Manifest {
    manifest.epoch = 0;
    for failure in manifest.items.iter_mut().filter_map(|item| item.failure.as_mut()) {
        failure.retry_after.clear();
        failure.message.clear();
    }
    if let Some(taken_back) = &mut manifest.taken_back {
        taken_back.why.clear();
    }
    manifest
}

fn vm_end(vm: &FakeVm) -> VmEnd {
    let facts = futures::executor::block_on(crate::vm::TwinVm::observe(vm)).unwrap();
    VmEnd {
        remains: vm.remains(),
        running: facts.as_ref().is_some_and(|f| f.running),
        points: facts
            .map(|f| f.points)
            .unwrap_or_default()
            .into_iter()
            .map(|p| (p.name, p.parent, p.current))
            .collect(),
    }
}

/// Fields that say when, how long, under which epoch, which try, or the same in words.
const UNSTEADY: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "lastTransitionTime",
    "time",
    "startedTime",
    "takenTime",
    "changedTime",
    "completionTime",
    "milliseconds",
    "pauseMilliseconds",
    "epoch",
    "incarnation",
    "hostKey",
    "sequence",
    "message",
];

fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !UNSTEADY.contains(&name.as_str()));
            fields.values_mut().for_each(normalise);
        }
        Value::Array(values) => values.iter_mut().for_each(normalise),
        _ => {}
    }
}

/// Where two ends differ, one line a difference; empty when they are equal.
pub fn differences(wanted: &End, found: &End) -> Vec<String> {
    let (wanted, found) = (lines(wanted), lines(found));
    let all: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let absent = "absent".to_owned();
    all.into_iter()
        .filter_map(|place| {
            let (w, f) = (
                wanted.get(place).unwrap_or(&absent),
                found.get(place).unwrap_or(&absent),
            );
            (w != f).then(|| format!("{place}: wanted {w}, found {f}"))
        })
        .collect()
}

/// An end as places and what is there.
fn lines(end: &End) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for (name, object) in &end.objects {
        flatten(name, object, &mut lines);
    }
    let guest = &end.guest;
    flatten(
        "manifest",
        &serde_json::to_value(&guest.manifest).unwrap(),
        &mut lines,
    );
    for (path, bytes) in &guest.files {
        lines.insert(
            format!("guest {path}"),
            String::from_utf8_lossy(bytes).into_owned(),
        );
    }
    for (unit, state) in &guest.units {
        lines.insert(format!("guest {unit}"), format!("{state:?}"));
    }
    lines.insert("guest active".into(), format!("{:?}", guest.active));
    lines.insert(
        "guest lock and record".into(),
        format!("{} {:?}", guest.locked, guest.record),
    );
    lines.insert("vm".into(), format!("{:?}", end.vm));
    lines.insert("effects".into(), format!("{:?}", end.effects));
    lines
}

fn flatten(place: &str, value: &Value, lines: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{place}.{name}"), value, lines);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (n, value) in values.iter().enumerate() {
                flatten(&format!("{place}[{n}]"), value, lines);
            }
        }
        value => {
            lines.insert(place.to_owned(), value.to_string());
        }
    }
}
