//! The conformance suite on a real guest: sshd and systemd in a VM that the lab boots.
//!
//! `SAFETYTWIN_GUEST_ADDRESS` (IP), `SAFETYTWIN_GUEST_KEY` (file of the private key) and
//! `SAFETYTWIN_GUEST_HOST_KEY` (file of the public host key) say where; without them these tests fail.

use std::time::Instant;

use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::DesiredFile;

use super::SshDoor;
use super::interactive::{Ended, Forward, PortPair, run};
use crate::guest::{Guest, GuestAddress, GuestDoor, GuestError, JobKind, conformance};

const HOW: &str = "no guest: run `lab scratch NAME` and set SAFETYTWIN_GUEST_ADDRESS, _KEY and _HOST_KEY";

fn address() -> GuestAddress {
    let variable = |name: &str| std::env::var(format!("SAFETYTWIN_GUEST_{name}")).expect(HOW);
    let file = |name: &str| std::fs::read_to_string(variable(name)).expect(HOW);
    GuestAddress {
        addresses: vec![variable("ADDRESS").parse().expect(HOW)],
        port: 22,
        user: "root".into(),
        private_key: file("KEY"),
        host_key: file("HOST_KEY"),
    }
}

#[tokio::test]
#[ignore = "needs a guest: lab scratch"]
async fn a_real_guest_passes_the_conformance_suite() {
    let door = SshDoor::default();
    conformance::run(&door, &address()).await;
}

#[tokio::test]
#[ignore = "needs a guest: lab scratch"]
async fn another_host_key_is_refused_before_the_login() {
    let mut address = address();
    address.host_key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx9f3BLjqVeKvVMPVFX1tl1YTLR9SHXAp6xNn39gFQz".into();
    let refused = SshDoor::default().prove(&address).await;
    assert!(
        matches!(refused, Err(GuestError::HostKeyRefused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
#[ignore = "needs a guest: lab scratch"]
async fn twenty_new_units_are_pushed_at_once() {
    let door = SshDoor::default();
    let start = Instant::now();
    let guest = door.connect(&address()).await.unwrap();
    println!("connected with SFTP and D-Bus: {:?}", start.elapsed());
    let units: Vec<UnitName> = (0..20)
        .map(|n| format!("st-push-{n}.service").parse().unwrap())
        .collect();
    let files: Vec<DesiredFile> = units
        .iter()
        .map(|unit| DesiredFile {
            path: format!("/etc/systemd/system/{unit}"),
            content: "[Service]\nType=exec\nExecStart=/usr/bin/sleep 600\n".into(),
        })
        .collect();
    let step = |what: &str, since: Instant, guest: &dyn Guest| {
        println!("{what}: {:?}, {:?}", since.elapsed(), guest.traffic());
    };
    let start = Instant::now();
    assert_eq!(guest.write_files(&files).await.unwrap(), 20);
    step("20 files written", start, &*guest);
    let start_all: Vec<_> = units.iter().map(|u| (JobKind::Start, u.clone())).collect();
    let outcomes = guest.run_jobs(&start_all).await.unwrap();
    assert!(outcomes.iter().all(|o| o.failure.is_none()), "{outcomes:?}");
    step("20 jobs ended", start, &*guest);
    let facts = guest.units(&units).await.unwrap();
    assert!(facts.iter().all(|f| f.main_pid > 0));
    step("20 units read", start, &*guest);
    assert_eq!(guest.write_files(&files).await.unwrap(), 0);
    step("20 files compared", start, &*guest);
    let stop_all: Vec<_> = units.iter().map(|u| (JobKind::Stop, u.clone())).collect();
    guest.run_jobs(&stop_all).await.unwrap();
    let paths: Vec<String> = files.into_iter().map(|f| f.path).collect();
    guest.remove_files(&paths).await.unwrap();
    step("stopped and removed", start, &*guest);
    let start = Instant::now();
    guest.reload().await.unwrap();
    step("reloaded", start, &*guest);
}

#[tokio::test]
#[ignore = "needs a guest: lab scratch"]
async fn a_local_port_leads_into_the_guest() {
    use tokio::io::AsyncReadExt as _;

    let pair = PortPair { local: 0, guest: 22 };
    let forward = Forward::open(&address(), &[pair]).await.unwrap();
    let local = forward.ports()[0].0;
    assert!(local.ip().is_loopback());
    let greeted = async {
        let mut stream = tokio::net::TcpStream::connect(local).await.unwrap();
        let mut greeting = [0_u8; 8];
        stream.read_exact(&mut greeting).await.unwrap();
        greeting
    };
    tokio::select! {
        error = forward.serve() => panic!("{error}"),
        greeting = greeted => assert_eq!(&greeting, b"SSH-2.0-"),
    }
}

#[tokio::test]
#[ignore = "needs a guest: lab scratch"]
async fn a_command_runs_in_the_guest_and_its_status_comes_back() {
    let ended = run(&address(), Some(b"test $(id -u) = 0 && exit 7".to_vec()), false).await;
    assert_eq!(ended.unwrap(), Ended::Status(7));
}
