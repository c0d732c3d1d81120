//! Engines that are silent, slow, broken, hostile or idle.

mod engine;
pub(crate) mod inspected;
mod starts;
mod stored;

use std::path::{Path, PathBuf};

use safetytwin_crds::item::ContainerItem;
use safetytwin_crds::item::container::Engine;
use safetytwin_crds::item::unit::Account;

use self::engine::{Answer, FakeEngine};
use super::rootless::UserEngine;
use super::*;

fn with(root: &Path, sources: Vec<Source>) -> Containers {
    let bus = Bus::new(root.join("no-bus"));
    let root = HostRoot::new(root, root.join("proc"), root.join("sys"));
    Containers::of(root, bus, Redactor::default(), sources)
}

/// A host without a bus on which `dockerd` runs.
fn with_docker(root: &Path, socket: &Path) -> Containers {
    std::fs::create_dir_all(root.join("proc/7")).unwrap();
    std::fs::write(root.join("proc/7/comm"), "dockerd\n").unwrap();
    with(root, vec![Source::docker(socket, &Redactor::default())])
}

fn items(collected: &Collected) -> &[Arc<ContainerItem>] {
    match &*collected.content {
        Content::Containers(items) => items,
        other => panic!("{other:?}"),
    }
}

fn names(collected: &Collected) -> Vec<String> {
    items(collected).iter().map(|item| item.id().name).collect()
}

#[tokio::test]
async fn an_engine_whose_look_was_given_up_never_reads_as_no_containers() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    // It accepts, but never answers.
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut containers = with_docker(dir.path(), &socket);
    let look = containers.collect(Scope::Audit);
    let given_up = tokio::time::timeout(Duration::from_millis(100), look).await;
    assert!(given_up.is_err(), "the engine answered");
    drop(listener);
    let collected = containers.collect(Scope::Audit).await.unwrap();
    assert!(!collected.gaps.is_empty(), "{collected:?}");
}

#[tokio::test]
async fn an_engine_that_breaks_keeps_its_last_known_containers_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start();
    engine.has(&[
        ("a1", r#"{"Id":"a1","Name":"/web"}"#),
        ("b2", r#"{"Id":"b2","Name":"/db"}"#),
    ]);
    let mut containers = with_docker(dir.path(), &engine.socket);
    let whole = containers.collect(Scope::Audit).await.unwrap();
    assert_eq!(
        (names(&whole), whole.gaps.len()),
        (vec!["docker:web".into(), "docker:db".into()], 0)
    );
    let broken = |status, body: &str, half| Answer {
        status,
        body: body.to_owned(),
        half,
    };
    for answer in [
        broken(500, r#"{"message":"boom"}"#, false),
        broken(200, r#"[{"Id":"a1"},{"Id":"b"#, true),
        broken(200, "not JSON", false),
        broken(200, r#"{"Id":[]}"#, false),
    ] {
        engine.answers("/containers/json", answer);
        let looked = containers.collect(Scope::Audit).await.unwrap();
        assert_eq!(
            (names(&looked), looked.gaps.len()),
            (names(&whole), 1),
            "{:?}",
            looked.gaps
        );
    }
    engine.has(&[("b2", r#"{"Id":"b2","Name":"/db"}"#)]);
    let again = containers.collect(Scope::Audit).await.unwrap();
    assert_eq!((names(&again), again.gaps.len()), (vec!["docker:db".into()], 0));
}

#[tokio::test]
async fn a_look_asks_about_those_containers_alone_that_the_list_or_an_event_says_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start();
    let inspect = |name: &str| format!(r#"{{"Name":"/{name}"}}"#);
    let rows = |web: &str| {
        format!(
            r#"[{{"Id":"a1","Names":["/{web}"],"Status":"Up 1 second"}},{{"Id":"b2","Names":["/db"],"Status":"Up {web}"}}]"#
        )
    };
    engine.says("/containers/json", &rows("web"));
    engine.says("/containers/a1/json", &inspect("web"));
    engine.says("/containers/b2/json", &inspect("db"));
    let mut containers = with_docker(dir.path(), &engine.socket);
    containers.collect(Scope::Audit).await.unwrap();
    let asked = || ["a1", "b2"].map(|id| engine.times_asked(&format!("/containers/{id}/json")));
    // Nothing is new; then a row is another, and how long the other is up is no news.
    containers.collect(Scope::Audit).await.unwrap();
    assert_eq!(asked(), [1, 1]);
    engine.says(
        "/events",
        r#"{"Type":"container","Action":"update","Actor":{"ID":"b2"}}"#,
    );
    containers.changed().await;
    containers.collect(Scope::Changes).await.unwrap();
    assert_eq!(asked(), [1, 2]);
    // Names of one may stand in another.
    engine.says("/containers/json", &rows("renamed"));
    engine.says("/containers/a1/json", &inspect("renamed"));
    let renamed = containers.collect(Scope::Audit).await.unwrap();
    assert_eq!((names(&renamed)[0].as_str(), asked()), ("docker:renamed", [2, 3]));
    engine.says(
        "/events",
        r#"{"Type":"network","Action":"connect","Actor":{"ID":"n"}}"#,
    );
    containers.changed().await;
    containers.collect(Scope::Changes).await.unwrap();
    assert_eq!(asked(), [3, 4]);
}

#[tokio::test]
async fn one_hostile_container_is_refused_by_name_and_the_others_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start();
    let labels: Vec<String> = (0..100_000).map(|n| format!(r#""label-{n}":"x""#)).collect();
    let huge = format!(
        r#"{{"Name":"/huge","Config":{{"Labels":{{{}}}}}}}"#,
        labels.join(",")
    );
    engine.has(&[
        ("a1", r#"{"Name":"/good"}"#),
        (
            "b2",
            r#"{"Name":"/types","State":[],"HostConfig":{"Memory":"much"}}"#,
        ),
        ("c3", r#"{"Name":"/\u001b[2Jx"}"#),
        ("d4", &huge),
        ("e5", "null"),
        ("f6", r#"{"Name":null,"Config":null,"HostConfig":null}"#),
    ]);
    engine.answers(
        "/containers/b2/json",
        Answer {
            status: 200,
            body: r#"{"Name":7}"#.to_owned(),
            half: false,
        },
    );
    let collected = with_docker(dir.path(), &engine.socket)
        .collect(Scope::Audit)
        .await
        .unwrap();
    assert_eq!(names(&collected), ["docker:good"]);
    assert_eq!(collected.gaps.len(), 5, "{:?}", collected.gaps);
    assert!(collected.gaps.iter().any(|gap| gap.contains("huge is refused")));
    assert!(!collected.gaps.iter().any(|gap| gap.contains('\u{1b}')));
}

#[tokio::test]
async fn an_image_that_cannot_be_read_never_makes_its_settings_the_containers_own() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start();
    let inspected = r#"{"Name":"/web","Image":"sha256:1","Config":{"Env":["PATH=/bin"]}}"#;
    engine.has(&[("a1", inspected), ("b2", &inspected.replace("web", "api"))]);
    engine.says("/images/sha256:1/json", r#"{"Config":{"Env":["PATH=/bin"]}}"#);
    let mut containers = with_docker(dir.path(), &engine.socket);
    let whole = containers.collect(Scope::Audit).await.unwrap();
    assert!(items(&whole).iter().all(|item| item.environment_names.is_empty()));
    assert_eq!(
        engine.times_asked("/images/sha256:1/json"),
        1,
        "once a look for both"
    );
    let failing = Answer {
        status: 500,
        body: "{}".to_owned(),
        half: false,
    };
    engine.answers("/images/sha256:1/json", failing);
    let mut again = with_docker(dir.path(), &engine.socket);
    let looked = again.collect(Scope::Audit).await.unwrap();
    assert_eq!((items(&looked).len(), looked.gaps.len()), (0, 2), "{looked:?}");
    engine.says("/images/sha256:1/json", r#"{"Config":{"Env":["PATH=/bin"]}}"#);
    let healed = again.collect(Scope::Audit).await.unwrap();
    assert_eq!((items(&healed).len(), healed.gaps.len()), (2, 0), "{healed:?}");
}

#[tokio::test]
async fn a_users_pod_is_known_by_its_members_and_its_infra_container_is_no_item() {
    let host = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start();
    engine.has(&[
        ("i0", r#"{"Id":"i0","Name":"/shop-infra"}"#),
        (
            "a1",
            r#"{"Id":"a1","Name":"/web","HostConfig":{"NetworkMode":"container:i0","IpcMode":"container:i0","PidMode":"private"}}"#,
        ),
        ("b2", r#"{"Id":"b2","Name":"/near","HostConfig":{"NetworkMode":"container:a1","UTSMode":"host"}}"#),
    ]);
    engine.says(
        "/libpod/containers/json",
        r#"[{"Id":"i0","IsInfra":true,"PodName":"shop"},{"Id":"a1","IsInfra":false,"PodName":"shop"},{"Id":"b2","PodName":""}]"#,
    );
    let user = Account {
        name: "alice".into(),
        id: Some(1000),
        primary_group: Some(1000),
    };
    let source = Source::of_user(
        UserEngine {
            engine: Engine::Podman,
            user: user.clone(),
            socket: engine.socket.clone(),
        },
        &Redactor::default(),
    );
    let mut gaps = Vec::new();
    let mut containers = with(host.path(), vec![source]);
    let root = containers.root.clone();
    let bus = containers.bus.clone();
    containers.sources[0].look(&bus, &root, &mut gaps).await;
    assert_eq!(gaps, Vec::<String>::new());
    let known: Vec<&ContainerItem> = containers.sources[0].known().map(|(item, _)| &**item).collect();
    let ids: Vec<String> = known.iter().map(|item| item.id().name).collect();
    assert_eq!(ids, ["podman:1000:web", "podman:1000:near"]);
    assert_eq!(known[0].rootless_user, Some(user));
    let pod = known[0].options.pod.clone().unwrap();
    assert_eq!(
        (pod.name.as_str(), pod.shares),
        ("shop", vec!["ipc".to_owned(), "net".to_owned()])
    );
    assert_eq!(
        (known[0].network_mode.as_str(), known[0].options.ipc_mode.as_str()),
        ("pod", "")
    );
    assert_eq!(
        (known[1].network_mode.as_str(), known[1].options.uts_mode.as_str()),
        ("container:name-of-a1", "host")
    );
    // The user's service ended: neither its containers nor its socket are held.
    let after = containers.collect(Scope::Audit).await.unwrap();
    assert_eq!((names(&after), containers.sources.len()), (vec![], 0));
}

/// What a look below `host` misses, without a bus and without processes.
async fn gaps(host: &Path) -> Vec<String> {
    let socket = |path: &str| -> PathBuf { host.join(path) };
    let mut containers = with(
        host,
        vec![
            Source::docker(&socket("run/docker.sock"), &Redactor::default()),
            Source::podman(&socket("run/podman/podman.sock"), &Redactor::default()),
        ],
    );
    containers.collect(Scope::Audit).await.unwrap().gaps
}

#[tokio::test]
async fn an_engine_that_a_pod_cannot_see_never_reads_as_no_containers() {
    let host = tempfile::tempdir().unwrap();
    assert_eq!(gaps(host.path()).await, Vec::<String>::new());
    let units = host.path().join("usr/lib/systemd/system");
    std::fs::create_dir_all(&units).unwrap();
    std::fs::write(units.join("docker.service"), "").unwrap();
    assert!(gaps(host.path()).await[0].starts_with("docker: installed"));
    std::fs::rename(units.join("docker.service"), units.join("podman.service")).unwrap();
    assert!(gaps(host.path()).await[0].starts_with("podman: installed"));
    std::fs::create_dir_all(host.path().join("var/lib/containers")).unwrap();
    assert_eq!(gaps(host.path()).await, Vec::<String>::new());
}
