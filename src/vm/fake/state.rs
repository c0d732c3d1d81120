//! What a fake VM keeps, and how points change it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use safetytwin_crds::twinsnapshot::TakenMode;

use super::super::Point;
use super::Disk;
use crate::facts::lineage;

/// A point and what it keeps.
#[derive(Clone)]
pub(super) struct FakePoint {
    pub(super) point: Point,
    epoch: i64,
    owner: String,
    disk: u64,
    /// False when a file of it is missing.
    pub(super) whole: bool,
}

/// A defined domain.
#[derive(Clone, Default)]
pub(super) struct Domain {
    pub(super) running: bool,
    pub(super) epoch: i64,
    /// UID of the twin; empty when nobody claimed it.
    pub(super) owner: String,
    pub(super) points: Vec<FakePoint>,
}

/// The hypervisor's side of one VM.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) overlay: bool,
    pub(super) seed: bool,
    pub(super) domain: Option<Domain>,
    /// Starts and reverts ever; never goes back.
    pub(super) starts: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) free_bytes: u64,
    pub(super) not_isolated: bool,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) no_agent: bool,
    pub(super) unreachable: bool,
}

impl Domain {
    /// The tree, without what the points keep.
    pub(super) fn points(&self) -> Vec<Point> {
        self.points.iter().map(|kept| kept.point.clone()).collect()
    }

    fn set_current(&mut self, name: Option<&str>) {
        for kept in &mut self.points {
            kept.point.current = Some(kept.point.name.as_str()) == name;
        }
    }

    /// The disk, memory and metadata of a point become the present. False when there is none.
    pub(super) fn bring_back(&mut self, name: &str, disk: &dyn Disk) -> bool {
        let Some(kept) = self.points.iter().find(|kept| kept.point.name == name) else {
            return false;
        };
        disk.restore(kept.disk, kept.point.mode);
        self.epoch = kept.epoch;
        self.owner = kept.owner.clone();
        self.set_current(Some(name));
        true
    }

    /// Adds a point to the chain; the present is built on it.
    pub(super) fn keep_present(&mut self, name: &str, mode: TakenMode, disk: &dyn Disk) {
        let parent = lineage::active_chain(&self.points())
            .first()
            .map(|&p| p.to_owned());
        self.points.push(FakePoint {
            point: Point {
                name: name.to_owned(),
                parent,
                current: false,
                mode,
            },
            epoch: self.epoch,
            owner: self.owner.clone(),
            disk: disk.snapshot(mode),
            whole: true,
        });
        self.set_current(Some(name));
    }

    /// Takes a point out of the tree: its children, and the present, get its parent.
    pub(super) fn forget_point(&mut self, name: &str) {
        let Some(index) = self.points.iter().position(|kept| kept.point.name == name) else {
            return;
        };
        let gone = self.points.remove(index).point;
        for kept in &mut self.points {
            if kept.point.parent.as_deref() == Some(name) {
                kept.point.parent.clone_from(&gone.parent);
            }
        }
        if gone.current {
            self.set_current(gone.parent.as_deref());
        }
    }
}
