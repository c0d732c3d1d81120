use std::net::{IpAddr, Ipv4Addr};

use safetytwin_crds::manifest::{FORMAT, Manifest};
use safetytwin_crds::revision::DesiredFile;

use super::*;
use crate::guest::{JobKind, conformance};

fn address() -> GuestAddress {
    GuestAddress {
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        port: 22,
        user: "root".into(),
        private_key: String::new(),
        host_key: String::new(),
    }
}

fn files(names: &[&str], text: &str) -> Vec<DesiredFile> {
    let file = |name: &&str| DesiredFile {
        path: format!("/etc/systemd/system/{name}"),
        content: format!("[Service]\nExecStart=/usr/bin/sleep {text}\n"),
    };
    names.iter().map(file).collect()
}

async fn start(guest: &dyn Guest, unit: &str) -> Result<Option<String>, GuestError> {
    let jobs = [(JobKind::Start, unit.parse().unwrap())];
    guest.run_jobs(&jobs).await.map(|mut o| o.remove(0).failure)
}

#[tokio::test]
async fn the_fake_guest_passes_the_conformance_suite() {
    let fake = FakeGuest::new();
    fake.fail_start("st-conformance-bad.service", StartFailure::Job);
    conformance::run(&fake, &address()).await;
}

#[tokio::test]
async fn a_unit_in_memory_runs_its_old_file_until_a_reload() {
    let fake = FakeGuest::new();
    let guest = fake.connect(&address()).await.unwrap();
    guest.write_files(&files(&["a.service"], "1")).await.unwrap();
    start(&*guest, "a.service").await.unwrap();
    let old = fake.runs("a.service");
    guest.write_files(&files(&["a.service"], "2")).await.unwrap();
    let restart = [(JobKind::Restart, "a.service".parse().unwrap())];
    guest.run_jobs(&restart).await.unwrap();
    assert_eq!(fake.runs("a.service"), old);
    guest.reload().await.unwrap();
    assert_eq!(fake.runs("a.service"), old);
    guest.run_jobs(&restart).await.unwrap();
    assert_ne!(fake.runs("a.service"), old);
}

#[tokio::test]
async fn a_crash_at_the_nth_effect_leaves_exactly_that_many_effects() {
    for (n, verdict, left) in [
        (1, Verdict::CrashBefore, 0),
        (2, Verdict::CrashBefore, 1),
        (2, Verdict::CrashAfter, 2),
    ] {
        let fake = FakeGuest::new();
        let guest = fake.connect(&address()).await.unwrap();
        fake.crash_at(n, verdict);
        let result = guest
            .write_files(&files(&["a.service", "b.service", "c.service"], "1"))
            .await;
        assert!(matches!(result, Err(GuestError::Lost { .. })));
        assert!(fake.crashed());
        assert_eq!(fake.counters().files_written, left);
        assert!(fake.connect(&address()).await.is_err());
        fake.recover();
        assert!(
            guest.boot_id().await.is_err(),
            "a connection of the dead caller works"
        );
        let guest = fake.connect(&address()).await.unwrap();
        let rest = guest
            .write_files(&files(&["a.service", "b.service", "c.service"], "1"))
            .await;
        assert_eq!(rest.unwrap() as u64, 3 - left);
    }
}

#[tokio::test]
async fn a_reboot_ends_connections_and_the_lock_and_starts_enabled_units_only() {
    let fake = FakeGuest::new();
    let guest = fake.connect(&address()).await.unwrap();
    let boot = guest.boot_id().await.unwrap();
    let mut wanted = files(&["a.service", "b.service"], "1");
    wanted[0].content += "[Install]\nWantedBy=multi-user.target\n";
    guest.write_files(&wanted).await.unwrap();
    guest.enable(&["a.service".parse().unwrap()]).await.unwrap();
    start(&*guest, "b.service").await.unwrap();
    guest.lock(1, 1).await.unwrap();
    fake.reboot();
    assert!(matches!(guest.boot_id().await, Err(GuestError::Lost { .. })));
    let guest = fake.connect(&address()).await.unwrap();
    assert_ne!(guest.boot_id().await.unwrap(), boot);
    assert_eq!(fake.lock_holder(), None);
    let active = ["a.service", "ssh.service"].map(String::from);
    assert_eq!(fake.active_units(), active.into());
}

#[tokio::test]
async fn a_revert_brings_back_disk_and_memory_but_no_counters() {
    let fake = FakeGuest::new();
    let guest = fake.connect(&address()).await.unwrap();
    guest.write_files(&files(&["a.service"], "1")).await.unwrap();
    start(&*guest, "a.service").await.unwrap();
    let (full, disk) = (fake.save(true), fake.save(false));
    let running = fake.runs("a.service");
    let manifest = Manifest {
        format: FORMAT,
        ..Manifest::default()
    };
    guest.write_manifest(&manifest).await.unwrap();
    let jobs = [(JobKind::Stop, "a.service".parse().unwrap())];
    guest.run_jobs(&jobs).await.unwrap();
    let counters = fake.counters();
    fake.revert(&full);
    assert_eq!((fake.manifest_on_disk(), fake.runs("a.service")), (None, running));
    fake.revert(&disk);
    assert_eq!(fake.runs("a.service"), None, "a disk point boots");
    assert_eq!(fake.counters(), counters);
}

#[tokio::test]
async fn a_firewall_cuts_new_connections_or_all_of_them() {
    for (loss, survives) in [(ChannelLoss::New, true), (ChannelLoss::All, false)] {
        let fake = FakeGuest::new();
        let before = fake.save(true);
        let guest = fake.connect(&address()).await.unwrap();
        fake.cut_channel_while_active("fw.service", loss);
        guest.write_files(&files(&["fw.service"], "1")).await.unwrap();
        assert_eq!(start(&*guest, "fw.service").await.is_ok(), survives);
        assert_eq!(guest.boot_id().await.is_ok(), survives);
        let proof = fake.prove(&address()).await;
        assert!(matches!(proof, Err(GuestError::Unreachable { .. })));
        fake.revert(&before);
        fake.prove(&address()).await.unwrap();
    }
}

#[tokio::test]
async fn a_process_that_dies_after_its_job_leaves_a_failed_unit() {
    let fake = FakeGuest::new();
    let guest = fake.connect(&address()).await.unwrap();
    guest.write_files(&files(&["a.service"], "1")).await.unwrap();
    fake.fail_start("a.service", StartFailure::Process);
    assert_eq!(start(&*guest, "a.service").await.unwrap(), None);
    let facts = guest.units(&["a.service".parse().unwrap()]).await.unwrap();
    assert_eq!(facts[0].active, Active::Failed);
}
