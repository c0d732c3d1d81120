//! The libvirt backend on a real libvirtd and QEMU (emulation).
//!
//! Each test has a libvirtd of its own. Needs root and the packages that a missing program's
//! message names.
#![cfg(feature = "libvirt")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;
mod pki;
mod tls;

use lab::{BASE, Lab, NETWORK, POOL, spec};
use safetytwin::vm::{PointRequest, VmError, VmOrigin, conformance};
use safetytwin_crds::twinclass::{Libvirt, PointMode, Reach};
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;

fn request(name: &str, mode: PointMode) -> PointRequest {
    PointRequest {
        name: name.into(),
        mode,
    }
}

fn class() -> Libvirt {
    Libvirt {
        uri: String::new(),
        credentials_ref: None,
        pool: POOL.into(),
        network: NETWORK.into(),
        base_image: Some(BASE.into()),
        adopt: None,
        vm: spec(1).vm,
        reach: Reach::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libvirt_conforms_and_leaves_nothing_behind() {
    let lab = Lab::start();
    let vm = lab.vm(spec(1));
    if let Err(error) = conformance::run(vm.as_ref()).await {
        panic!("{error}\nfiles: {:?}", lab.files());
    }
    assert_eq!(lab.files(), [BASE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_class_names_and_is_not_there_is_named() {
    let lab = Lab::start();
    let missing = |error: VmError| match error {
        VmError::Missing { what, name, .. } => (what, name),
        other => panic!("{other}"),
    };
    let mut wrong = spec(1);
    wrong.pool = "nowhere".into();
    let error = lab.vm(wrong).ensure().await.unwrap_err();
    assert_eq!(missing(error), ("pool", "nowhere".into()));
    let mut wrong = spec(1);
    wrong.network = "nowhere".into();
    let error = lab.vm(wrong).ensure().await.unwrap_err();
    assert_eq!(missing(error), ("network", "nowhere".into()));
    let mut wrong = spec(1);
    wrong.vm.kernel = Some("vmlinuz".into());
    let error = lab.vm(wrong).ensure().await.unwrap_err();
    assert_eq!(missing(error), ("volume", "vmlinuz".into()));
    assert_eq!(lab.files(), [BASE], "something was made before all was there");

    lab.check(&class()).await.unwrap();
    let mut wrong = class();
    wrong.base_image = Some("nowhere.qcow2".into());
    assert_eq!(missing(lab.check(&wrong).await.unwrap_err()).0, "volume");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_not_ours_is_neither_used_nor_removed() {
    let lab = Lab::start();
    let vm = lab.vm(spec(1));
    vm.ensure().await.unwrap();
    // Another twin that came to the same domain.
    let mut other = spec(1);
    other.twin_uid = "another".into();
    let other = lab.vm(other);
    assert!(matches!(other.ensure().await, Err(VmError::Refused { .. })));
    assert!(matches!(other.claim(1).await, Err(VmError::Refused { .. })));
    assert!(matches!(other.delete().await, Err(VmError::Refused { .. })));
    // Another domain that has the name.
    let mut namesake = spec(2);
    namesake.name = spec(1).name;
    assert!(matches!(
        lab.vm(namesake).ensure().await,
        Err(VmError::Refused { .. })
    ));
    assert!(vm.observe().await.unwrap().unwrap().running);
    vm.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adopted_domain_is_marked_kept_and_released() {
    let lab = Lab::start();
    let maker = lab.vm(spec(1));
    maker.ensure().await.unwrap();
    let mut adopting = spec(1);
    adopting.origin = VmOrigin::Adopt;
    let vm = lab.vm(adopting.clone());
    vm.ensure().await.unwrap();
    vm.claim(3).await.unwrap();
    vm.take_point(&request("a", PointMode::Disk)).await.unwrap();
    vm.delete().await.unwrap();
    vm.delete().await.unwrap();
    // Nobody's now, with its points.
    let facts = vm.observe().await.unwrap().unwrap();
    assert_eq!((facts.running, facts.epoch, facts.points.len()), (true, 0, 1));
    adopting.twin_uid = "another".into();
    let next = lab.vm(adopting);
    next.ensure().await.unwrap();
    assert!(matches!(vm.ensure().await, Err(VmError::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_with_internal_points_is_refused_until_they_are_gone() {
    let lab = Lab::start();
    let vm = lab.vm(spec(1));
    vm.ensure().await.unwrap();
    let uuid = spec(1).uuid;
    let internal = |take: bool| {
        lab.with_connect(|connect| {
            let domain = Domain::lookup_by_uuid_string(connect, &uuid).unwrap();
            if take {
                let xml = "<domainsnapshot><name>by-hand</name><disks><disk name='vda' snapshot='internal'/>\
                           <disk name='vdb' snapshot='no'/></disks></domainsnapshot>";
                DomainSnapshot::create_xml(&domain, xml, 0).unwrap();
            } else {
                let found = DomainSnapshot::lookup_by_name(&domain, "by-hand", 0).unwrap();
                found.delete(0).unwrap();
            }
        });
    };
    internal(true);
    let refused = vm.take_point(&request("a", PointMode::Disk)).await;
    assert!(matches!(refused, Err(VmError::Refused { .. })), "{refused:?}");
    assert!(matches!(vm.ensure().await, Err(VmError::Refused { .. })));
    internal(false);
    vm.take_point(&request("a", PointMode::Disk)).await.unwrap();
    vm.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_by_hand_is_seen_and_set_right() {
    let lab = Lab::start();
    let mut open = spec(1);
    open.network = "open".into();
    let vm = lab.vm(open);
    let first = vm.ensure().await.unwrap();
    assert!(!first.isolated, "a network with <forward> leads out");
    let uuid = spec(1).uuid;
    let by_hand = |act: &dyn Fn(&Domain)| {
        lab.with_connect(|connect| act(&Domain::lookup_by_uuid_string(connect, &uuid).unwrap()));
    };
    by_hand(&|domain| assert!(domain.suspend().is_ok()));
    assert!(!vm.observe().await.unwrap().unwrap().running);
    let resumed = vm.ensure().await.unwrap();
    assert!(resumed.running && resumed.incarnation == first.incarnation);
    by_hand(&|domain| domain.destroy().unwrap());
    assert!(!vm.observe().await.unwrap().unwrap().running);
    // Of a VM that does not run, only the disk can be kept.
    let taken = vm.take_point(&request("off", PointMode::Auto)).await.unwrap();
    assert_eq!(taken.mode, safetytwin_crds::twinsnapshot::TakenMode::Disk);
    let started = vm.ensure().await.unwrap();
    assert!(started.running && started.incarnation != first.incarnation);
    // A point that lost its memory file is taken anew.
    vm.take_point(&request("half", PointMode::Full)).await.unwrap();
    std::fs::remove_file(lab.pool_folder().join(format!("{}.half.mem", spec(1).name))).unwrap();
    assert!(
        !vm.take_point(&request("half", PointMode::Full))
            .await
            .unwrap()
            .existed
    );
    // Points without their domain are neither used nor destroyed.
    by_hand(&|domain| {
        domain.destroy().unwrap();
        domain
            .undefine_flags(virt::sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
            .unwrap();
    });
    assert!(matches!(vm.ensure().await, Err(VmError::Refused { .. })));
    vm.delete().await.unwrap();
    assert_eq!(lab.files(), [BASE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_whose_revert_failed_never_writes_to_what_the_points_hold() {
    let lab = Lab::start();
    let vm = lab.vm(spec(1));
    vm.ensure().await.unwrap();
    for name in ["sound", "broken"] {
        vm.take_point(&request(name, PointMode::Full)).await.unwrap();
    }
    let file = |suffix: &str| lab.pool_folder().join(format!("{}.{suffix}", spec(1).name));
    // Its header is whole: QEMU starts, and finds the memory cut off.
    let memory = std::fs::OpenOptions::new()
        .write(true)
        .open(file("broken.mem"))
        .unwrap();
    let length = memory.metadata().unwrap().len();
    memory.set_len(length / 2).unwrap();
    let frozen = std::fs::read(file("sound.vda.qcow2")).unwrap();
    vm.take_point(&request("present", PointMode::Full)).await.unwrap();

    vm.revert("broken", 2).await.unwrap_err();
    let uuid = spec(1).uuid;
    let written = lab.with_connect(|connect| {
        let domain = Domain::lookup_by_uuid_string(connect, &uuid).unwrap();
        domain.get_xml_desc(virt::sys::VIR_DOMAIN_XML_INACTIVE).unwrap()
    });
    assert!(written.contains("present.vda.qcow2"), "{written}");
    assert!(vm.ensure().await.unwrap().running);
    vm.revert("sound", 3).await.unwrap();
    vm.revert("present", 4).await.unwrap();
    assert!(
        std::fs::read(file("sound.vda.qcow2")).unwrap() == frozen,
        "a point was written to"
    );
    vm.delete().await.unwrap();
}

/// Numbers below `bound`, always the same ones.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// A drive that points left out lost files others were built on, after some forty steps like these.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_taken_reverted_and_deleted_in_any_order_stay_usable() {
    let lab = Lab::start();
    let vm = lab.vm(spec(1));
    vm.ensure().await.unwrap();
    let mut dice = Dice(6);
    for step in 1..=60 {
        let points = vm.observe().await.unwrap().unwrap().points;
        let act = dice.roll(10);
        let done = if points.len() < 3 || (act < 5 && points.len() < 14) {
            let mode = [PointMode::Full, PointMode::Disk][dice.roll(4).min(1)];
            let taken = vm.take_point(&request(&format!("p{step}"), mode)).await;
            taken.map(|_| ())
        } else if act < 7 {
            let current = points.iter().position(|point| point.current);
            let current = current.filter(|_| dice.roll(2) == 0);
            let chosen = current.unwrap_or_else(|| dice.roll(points.len()));
            vm.revert(&points[chosen].name, 100 + step).await
        } else {
            match vm.delete_point(&points[dice.roll(points.len())].name).await {
                Err(VmError::Refused { .. }) => Ok(()),
                other => other,
            }
        };
        if let Err(error) = done {
            panic!("step {step}: {error}\nof {points:?}");
        }
    }
    vm.delete().await.unwrap();
    assert_eq!(lab.files(), [BASE]);
}
