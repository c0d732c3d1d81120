//! Engines that start after the agent: seen at once, and never because of it.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::engine::FakeEngine;
use super::{names, with};
use crate::collect::bus::Bus;
use crate::collect::containers::Containers;
use crate::collect::containers::source::Source;
use crate::collect::units::tests::systemd::Systemd;
use crate::collect::{Collector, Scope};
use crate::redact::Redactor;

/// Far below the audit's interval.
const SOON: Duration = Duration::from_secs(5);

async fn is_told(containers: &mut Containers) -> bool {
    timeout(SOON, containers.changed()).await.is_ok()
}

async fn is_quiet(containers: &mut Containers) -> bool {
    let quiet = Duration::from_millis(400);
    timeout(quiet, containers.changed()).await.is_err()
}

async fn look(containers: &mut Containers) -> Vec<String> {
    names(&containers.collect(Scope::Changes).await.unwrap())
}

fn sources(host: &Path) -> Vec<Source> {
    vec![
        Source::docker(&host.join("run/docker.sock"), &Redactor::default()),
        Source::podman(&host.join("run/podman/podman.sock"), &Redactor::default()),
    ]
}

fn start(socket: &Path) -> FakeEngine {
    let engine = FakeEngine::at(socket);
    engine.has(&[("a1", r#"{"Id":"a1","Name":"/web"}"#)]);
    engine
}

#[tokio::test]
async fn an_engine_is_asked_as_soon_as_systemd_says_that_its_service_is_active_and_not_before() {
    let host = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(host.path().join("run/podman")).unwrap();
    let (systemd, connection) = Systemd::start().await;
    let mut containers = with(host.path(), sources(host.path()));
    containers.bus = Bus::over(connection);
    for (unit, socket, item) in [
        ("docker.service", "run/docker.sock", "docker:web"),
        ("podman.service", "run/podman/podman.sock", "podman:web"),
    ] {
        systemd.load(unit, "inactive", 0);
        look(&mut containers).await;
        // systemd listens in its stead: who connects starts it.
        let engine = start(&host.path().join(socket));
        assert!(is_told(&mut containers).await, "{unit}: its socket appeared");
        assert!(!look(&mut containers).await.contains(&item.to_owned()));
        assert!(is_quiet(&mut containers).await, "{unit}: told once");
        systemd.signal_states("other.service", "active", 7).await;
        systemd.signal_states(unit, "activating", 7).await;
        assert!(is_quiet(&mut containers).await, "{unit}: not yet");
        look(&mut containers).await;
        assert_eq!(engine.times_asked("/version"), 0, "{unit} was woken");
        systemd.signal_states(unit, "active", 7).await;
        assert!(is_told(&mut containers).await, "{unit}: active");
        assert_eq!(look(&mut containers).await, [item]);
        systemd.signal_states(unit, "active", 7).await;
        assert!(is_quiet(&mut containers).await, "{unit}: still active");
        systemd.signal_states(unit, "inactive", 0).await;
        assert!(is_told(&mut containers).await, "{unit}: gone");
        assert_eq!(look(&mut containers).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn without_systemd_an_engine_is_seen_when_its_socket_appears_and_when_it_goes() {
    let host = tempfile::tempdir().unwrap();
    let socket = host.path().join("run/engines/docker.sock");
    let mut containers = with(host.path(), vec![Source::docker(&socket, &Redactor::default())]);
    assert_eq!(look(&mut containers).await, Vec::<String>::new());
    assert!(is_quiet(&mut containers).await);
    // Each directory on the way may come later.
    for dir in ["run", "run/engines"] {
        std::fs::create_dir(host.path().join(dir)).unwrap();
        assert!(is_told(&mut containers).await, "{dir}");
        look(&mut containers).await;
    }
    std::fs::write(host.path().join("run/engines/docker.pid"), "7").unwrap();
    assert!(is_quiet(&mut containers).await, "another file is no news");
    std::fs::create_dir_all(host.path().join("proc/7")).unwrap();
    std::fs::write(host.path().join("proc/7/comm"), "dockerd\n").unwrap();
    let _engine = start(&socket);
    assert!(is_told(&mut containers).await, "its socket");
    assert_eq!(look(&mut containers).await, ["docker:web"]);
    assert!(is_quiet(&mut containers).await, "looking is no news");
    std::fs::remove_dir_all(host.path().join("proc/7")).unwrap();
    std::fs::remove_file(&socket).unwrap();
    assert!(is_told(&mut containers).await, "it went");
    assert_eq!(look(&mut containers).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_users_engine_is_seen_when_its_service_gets_a_control_group() {
    let host = tempfile::tempdir().unwrap();
    let sockets = host.path().join("run/user/1000/podman");
    std::fs::create_dir_all(&sockets).unwrap();
    let manager = "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
    let manager = host.path().join(manager);
    std::fs::create_dir_all(&manager).unwrap();
    let mut containers = with(host.path(), sources(host.path()));
    let engine = start(&sockets.join("podman.sock"));
    assert_eq!(look(&mut containers).await, Vec::<String>::new());
    assert!(is_quiet(&mut containers).await);
    std::fs::create_dir(manager.join("app.slice")).unwrap();
    assert!(is_told(&mut containers).await, "its slice");
    look(&mut containers).await;
    assert_eq!(
        engine.times_asked("/version"),
        0,
        "a socket alone is never connected to"
    );
    std::fs::create_dir(manager.join("app.slice/podman.service")).unwrap();
    assert!(is_told(&mut containers).await, "its group");
    assert_eq!(look(&mut containers).await, ["podman:1000:web"]);
    assert!(is_quiet(&mut containers).await);
    std::fs::remove_dir(manager.join("app.slice/podman.service")).unwrap();
    assert!(is_told(&mut containers).await, "it ended");
    assert_eq!(look(&mut containers).await, Vec::<String>::new());
}
