//! The fake conforms, loses effects as asked, and couples a guest.

use std::sync::{Arc, Mutex};

use safetytwin_crds::twinclass::{PointMode, Vm};
use safetytwin_crds::twinsnapshot::TakenMode;

use super::{Disk, FakeVm, NoDisk, Verdict, lock};
use crate::vm::{PointRequest, Seed, TwinVm, VmOrigin, VmSpec, conformance};

fn spec(origin: VmOrigin) -> VmSpec {
    VmSpec {
        name: "ops-web-01-9c1e".into(),
        uuid: "5f0c6f1e-6a7e-4b39-9d3c-0d6c2f6f9c1e".into(),
        twin_uid: "5f0c6f1e-6a7e-4b39-9d3c-0d6c2f6f9c1e".into(),
        origin,
        pool: "twins".into(),
        network: "twins-isolated".into(),
        vm: Vm::default(),
        cpus: 1,
        memory_bytes: 1 << 30,
    }
}

fn from_image() -> VmOrigin {
    VmOrigin::BaseImage {
        volume: "debian-12.qcow2".into(),
        seed: Seed {
            instance_id: "twin-9c1e".into(),
            hostname: "web-01".into(),
            authorized_key: String::new(),
            host_key_private: String::new(),
            host_key_public: String::new(),
        },
    }
}

fn request(name: &str, mode: PointMode) -> PointRequest {
    PointRequest {
        name: name.into(),
        mode,
    }
}

/// One number on disk and one in memory.
#[derive(Default)]
struct Numbers {
    now: Mutex<(u32, u32)>,
    kept: Mutex<Vec<(u32, u32)>>,
}

impl Disk for Numbers {
    fn snapshot(&self, _mode: TakenMode) -> u64 {
        let mut kept = lock(&self.kept);
        kept.push(*lock(&self.now));
        kept.len() as u64 - 1
    }
    fn restore(&self, id: u64, mode: TakenMode) {
        let (disk, memory) = lock(&self.kept)[id as usize];
        *lock(&self.now) = (disk, if mode == TakenMode::Full { memory } else { 0 });
    }
    fn boot(&self) {
        lock(&self.now).1 = 0;
    }
    fn wipe(&self) {
        *lock(&self.now) = (0, 0);
    }
}

#[tokio::test]
async fn the_fake_conforms() {
    let vm = FakeVm::new(spec(from_image()), Arc::new(NoDisk));
    conformance::run(&vm).await.unwrap();
    assert_eq!(vm.remains(), (false, false, false));
}

#[tokio::test]
async fn a_revert_brings_the_guests_disk_and_memory_back() {
    let guest = Arc::new(Numbers::default());
    let vm = FakeVm::new(spec(from_image()), guest.clone());
    vm.ensure().await.unwrap();
    *lock(&guest.now) = (1, 1);
    vm.take_point(&request("full", PointMode::Full)).await.unwrap();
    vm.take_point(&request("disk", PointMode::Disk)).await.unwrap();
    *lock(&guest.now) = (2, 2);
    vm.revert("full", 1).await.unwrap();
    assert_eq!(*lock(&guest.now), (1, 1));
    vm.revert("disk", 2).await.unwrap();
    assert_eq!(*lock(&guest.now), (1, 0));
}

#[tokio::test]
async fn a_revert_that_is_lost_half_way_leaves_the_old_epoch_and_a_paused_vm() {
    let vm = FakeVm::new(spec(from_image()), Arc::new(NoDisk));
    vm.ensure().await.unwrap();
    vm.claim(3).await.unwrap();
    vm.take_point(&request("a", PointMode::Full)).await.unwrap();
    vm.claim(4).await.unwrap();
    vm.lose_effect(0, Verdict::LostAfter);
    assert!(vm.revert("a", 5).await.is_err());
    let facts = vm.observe().await.unwrap().unwrap();
    assert_eq!((facts.running, facts.epoch), (false, 3));
    vm.revert("a", 5).await.unwrap();
    let facts = vm.observe().await.unwrap().unwrap();
    assert_eq!((facts.running, facts.epoch), (true, 5));
}

#[tokio::test]
async fn an_effect_that_is_lost_before_or_after_is_made_once_in_the_end() {
    for verdict in [Verdict::LostBefore, Verdict::LostAfter] {
        for n in 0..5 {
            let vm = FakeVm::new(spec(from_image()), Arc::new(NoDisk));
            vm.lose_effect(n, verdict);
            let mut failures = 0;
            while vm.ensure().await.is_err() {
                failures += 1;
            }
            while vm.take_point(&request("a", PointMode::Auto)).await.is_err() {
                failures += 1;
            }
            assert_eq!(failures, 1, "{verdict:?} {n}");
            assert!(vm.counts().values().all(|&count| count == 1), "{:?}", vm.counts());
            assert_eq!(vm.observe().await.unwrap().unwrap().points.len(), 1);
        }
    }
}

#[tokio::test]
async fn half_a_point_is_taken_anew() {
    let vm = FakeVm::new(spec(from_image()), Arc::new(NoDisk));
    vm.ensure().await.unwrap();
    vm.take_point(&request("a", PointMode::Full)).await.unwrap();
    vm.break_point("a");
    assert!(
        !vm.take_point(&request("a", PointMode::Full))
            .await
            .unwrap()
            .existed
    );
    assert!(
        vm.take_point(&request("a", PointMode::Full))
            .await
            .unwrap()
            .existed
    );
}

#[tokio::test]
async fn an_adopted_domain_survives_its_twin() {
    let vm = FakeVm::new(spec(VmOrigin::Adopt), Arc::new(NoDisk));
    assert!(vm.ensure().await.unwrap().running);
    vm.take_point(&request("a", PointMode::Disk)).await.unwrap();
    vm.delete().await.unwrap();
    let facts = vm.observe().await.unwrap().unwrap();
    assert_eq!((facts.running, facts.epoch, facts.points.len()), (true, 0, 1));
}

#[tokio::test]
async fn a_hypervisor_that_is_away_fails_every_call_and_changes_nothing() {
    let vm = FakeVm::new(spec(from_image()), Arc::new(NoDisk));
    vm.set_reachable(false);
    assert!(vm.ensure().await.unwrap_err().is_transient());
    assert!(vm.observe().await.is_err());
    vm.set_reachable(true);
    assert_eq!(vm.observe().await.unwrap(), None);
    assert!(vm.counts().is_empty());
}
