//! The life of a twin, step by step: what host and users do. Each step goes on where the one before
//! it came to rest.

use jiff::{SignedDuration, Timestamp};
use safetytwin_crds::item::UnitItem;
use safetytwin_crds::{DigitalTwin, TwinClass, TwinRestore, TwinSnapshot};
use serde_json::{Value, json};

use super::world::{NAMESPACE, TWIN, World};
use crate::plan::samples::{file, service};

/// A step of the life of a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A class, a host with three services, and a twin of it.
    Create,
    /// A service is edited on the host.
    Edit,
    /// A service leaves the host.
    Remove,
    /// A user takes a point.
    Snapshot,
    /// A service comes.
    Add,
    /// A user goes back to the point, and stays there.
    Restore,
    /// The host changes while the twin is held.
    ChangeWhileHeld,
    /// The user lets go.
    Release,
    /// The twin goes, with all that belongs to it.
    Delete,
    /// Instead of the user's point: back to a time between two points.
    RestoreAsOf,
}

use Step::{Add, ChangeWhileHeld, Create, Delete, Edit, Release, Remove, Restore, RestoreAsOf, Snapshot};

const LIFE: [Step; 9] = [
    Create,
    Edit,
    Remove,
    Snapshot,
    Add,
    Restore,
    ChangeWhileHeld,
    Release,
    Delete,
];

impl Step {
    /// The steps before this one.
    fn history(self) -> Vec<Step> {
        if self == RestoreAsOf {
            return vec![Create, Edit, Remove];
        }
        LIFE.into_iter().take_while(|step| *step != self).collect()
    }

    /// The world at rest before this step.
    pub fn world_before(self) -> World {
        let world = World::new(&["/usr/bin/api", "/usr/bin/cache", "/usr/bin/db", "/usr/bin/web"]);
        for step in self.history() {
            step.happen(&world);
            world.settle();
        }
        world
    }

    /// Does it.
    pub fn happen(self, world: &World) {
        match self {
            Create => {
                world.server.create(&class());
                world.host_runs(&[api(1), service("db.service"), service("web.service")]);
                world.server.create(&twin());
            }
            Edit => world.host_runs(&[api(2), service("db.service"), service("web.service")]),
            Remove => world.host_runs(&[api(2), service("web.service")]),
            Snapshot => world.server.create(&snapshot()),
            Add => world.host_runs(&[api(2), service("cache.service"), service("web.service")]),
            Restore => world
                .server
                .create(&restore(json!({"snapshotRef": {"name": "before-cache"}}))),
            ChangeWhileHeld => {
                world.host_runs(&[api(3), service("cache.service"), service("web.service")]);
            }
            Release => world.server.edit::<TwinRestore>(NAMESPACE, "back", |restore| {
                restore["spec"]["hold"] = json!(false);
            }),
            Delete => delete_all(world),
            RestoreAsOf => world.server.create(&restore_as_of(world)),
        }
    }
}

/// A user wants none of it any more.
pub fn delete_all(world: &World) {
    let server = &world.server;
    for (namespace, name) in server.names::<TwinRestore>() {
        server.delete::<TwinRestore>(&namespace, &name);
    }
    for (namespace, name) in server.names::<TwinSnapshot>() {
        server.delete::<TwinSnapshot>(&namespace, &name);
    }
    server.delete::<DigitalTwin>(NAMESPACE, TWIN);
    server.delete::<TwinClass>("", "lab");
}

/// The service that is edited, in one of its versions.
pub fn api(version: u32) -> UnitItem {
    let mut unit = service("api.service");
    let text = format!(
        "[Service]\nExecStart=/usr/bin/api --version {version}\n[Install]\nWantedBy=multi-user.target\n"
    );
    unit.fragment = Some(file("/etc/systemd/system/api.service", &text));
    unit
}

fn class() -> TwinClass {
    serde_json::from_value(json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinClass", "metadata": {"name": "lab"},
        "spec": {
            "allowed": {"namespaces": [NAMESPACE], "hosts": ["web-*"]},
            "libvirt": {"uri": "qemu:///system", "pool": "twins", "network": "isolated", "baseImage": "debian-12.qcow2"},
        },
    }))
    .unwrap()
}

fn twin() -> DigitalTwin {
    serde_json::from_value(json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
        "metadata": {"name": TWIN, "namespace": NAMESPACE},
        "spec": {"hostRef": {"name": "web-01"}, "className": "lab", "snapshots": {"keepLast": 2}},
    }))
    .unwrap()
}

fn snapshot() -> TwinSnapshot {
    serde_json::from_value(json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinSnapshot",
        "metadata": {"name": "before-cache", "namespace": NAMESPACE},
        "spec": {"twinRef": {"name": TWIN}, "description": "no cache yet"},
    }))
    .unwrap()
}

fn restore(target: Value) -> TwinRestore {
    let mut object = json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinRestore",
        "metadata": {"name": "back", "namespace": NAMESPACE},
        "spec": {"twinRef": {"name": TWIN}, "hold": true},
    });
    json_patch::merge(&mut object["spec"], &target);
    serde_json::from_value(object).unwrap()
}

/// To the second before the newest point was taken: the point before it, with the revision on top that
/// was applied in between.
fn restore_as_of(world: &World) -> TwinRestore {
    let snapshots = world.server.names::<TwinSnapshot>();
    let taken = snapshots.iter().map(|(namespace, name)| {
        let snapshot = world.server.read::<TwinSnapshot>(namespace, name).unwrap();
        snapshot["status"]["takenTime"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
    });
    let newest: Timestamp = taken.max().unwrap();
    restore(json!({"asOf": (newest - SignedDuration::from_secs(1)).to_string()}))
}
