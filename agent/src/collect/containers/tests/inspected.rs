//! Answers of `GET /containers/ID/json` in full, as Docker 27 and Podman 4 give them.

use bollard::models::{ContainerInspectResponse, ImageInspect};
use safetytwin_crds::item::container::{ContainerOptions, Engine, Mount};
use safetytwin_crds::item::{ContainerItem, RunClass, Text};
use serde_json::{Value, json};

use crate::collect::containers::item::{Inspected, container, observed};
use crate::collect::containers::others::Others;
use crate::redact::Redactor;

const DOCKER: &str = include_str!("docker.json");
const PODMAN: &str = include_str!("podman.json");

fn item(engine: Engine, inspected: &str, image: &str) -> ContainerItem {
    let details: ContainerInspectResponse = serde_json::from_str(inspected).unwrap();
    let image: ImageInspect = serde_json::from_str(image).unwrap();
    container(Inspected {
        engine,
        user: None,
        details: &details,
        image: Some(&image),
        others: &Others::default(),
        redactor: &Redactor::default(),
    })
    .unwrap()
}

#[test]
fn a_container_with_every_option_is_known_by_all_of_them() {
    let image = r#"{"RepoDigests":["other/nginx@sha256:ff","nginx@sha256:ab12"],
        "Config":{"Env":["PATH=/usr/bin"],"Cmd":["nginx","-g","daemon off;"],"Entrypoint":["/docker-entrypoint.sh"],"StopSignal":"SIGTERM"}}"#;
    let item = item(Engine::Docker, DOCKER, image);
    let mut options = serde_json::to_value(&item.options).unwrap();
    let profile = options["securityOpt"][1].take();
    assert!(
        profile.as_str().unwrap().starts_with("seccomp=profile:"),
        "{profile}"
    );
    let expected = json!({
        "imageDigest": "sha256:ab12", "restartMaxRetries": 5, "memorySwapBytes": 268_435_456,
        "memoryReservationBytes": 134_217_728, "cpuShares": 512, "cpusetCpus": "0-1", "pidsLimit": 200,
        "oomScoreAdj": 100, "shmSizeBytes": 134_217_728,
        "ulimits": [{"name": "nofile", "soft": 1024, "hard": 4096}], "sysctls": {"net.core.somaxconn": "1024"},
        "hostname": "shop", "domainname": "example.org", "tty": true, "openStdin": true, "init": true,
        "readOnlyRootfs": true, "securityOpt": ["no-new-privileges", null], "tmpfs": {"/run": "rw,noexec,size=64m"},
        "groupAdd": ["65534", "audio"], "dns": ["10.0.0.53"], "dnsSearch": ["example.org"], "dnsOptions": ["ndots:2"],
        "extraHosts": ["db:10.0.0.7"], "addresses": {"shop_default": {"ipv4": "172.30.0.5"}}, "stopSignal": "SIGQUIT",
        "stopTimeoutSeconds": 25, "usernsMode": "host", "logOptions": {"max-file": "3", "max-size": "10m"},
    });
    assert_eq!(options, expected);
    let mounts = serde_json::to_value(&item.mounts).unwrap();
    assert_eq!(
        mounts,
        json!([
            {"target": "/usr/share/nginx/html", "kind": "bind", "source": "/srv/www", "readOnly": true, "propagation": "rslave"},
            {"target": "/var/cache/nginx", "kind": "volume", "source": "shop_cache", "readOnly": false},
        ])
    );
    assert_eq!(item.labels["com.docker.compose.project"], "shop");
    assert_eq!(item.networks["shop_default"], ["web"]);
    assert!(!serde_json::to_string(&item).unwrap().contains("S3cr3t"));
}

#[test]
fn what_an_engine_does_by_itself_is_no_option_of_a_container() {
    let item = item(
        Engine::Podman,
        PODMAN,
        r#"{"RepoDigests":[],"Config":{"Env":["PATH=/usr/bin"],"Cmd":["sleep","infinity"],"WorkingDir":"/"}}"#,
    );
    assert_eq!(item.options, ContainerOptions::default());
    assert!(!serde_json::to_string(&item).unwrap().contains("options"));
}

#[test]
fn nulls_wherever_the_api_allows_them_are_nothing() {
    let mut value: serde_json::Value = serde_json::from_str(DOCKER).unwrap();
    for part in ["HostConfig", "Config", "NetworkSettings", "State"] {
        for (_, field) in value[part].as_object_mut().unwrap() {
            *field = serde_json::Value::Null;
        }
    }
    value["Mounts"] = serde_json::Value::Null;
    let item = item(
        Engine::Docker,
        &value.to_string(),
        r#"{"RepoDigests":null,"Config":null}"#,
    );
    assert_eq!(item.options, ContainerOptions::default());
}

#[test]
fn options_with_control_characters_never_leave_their_strings() {
    let hostile = DOCKER.replace("net.core.somaxconn", "a\\u0000\\nExecStart=/bin/evil");
    let item = item(Engine::Docker, &hostile, "{}");
    let key = item.options.sysctls.keys().next().unwrap();
    assert!(
        key.contains("\u{0}\nExecStart"),
        "kept as it is, escaped where it is shown: {key:?}"
    );
}

/// The fixture with some values instead of its own, by JSON pointer.
fn changed(inspected: &str, values: &[(&str, Value)]) -> String {
    let mut all: Value = serde_json::from_str(inspected).unwrap();
    for (pointer, value) in values {
        *all.pointer_mut(pointer).unwrap() = value.clone();
    }
    all.to_string()
}

fn words(list: Option<&Vec<Text>>) -> Option<Vec<String>> {
    list.map(|list| {
        list.iter()
            .map(|word| String::from_utf8_lossy(&word.0).into_owned())
            .collect()
    })
}

#[test]
fn entry_point_and_command_are_the_containers_own_only_where_they_are_not_the_images() {
    let image = r#"{"Config":{"Entrypoint":["/docker-entrypoint.sh"],"Cmd":["nginx","-g","daemon off;"]}}"#;
    for (entrypoint, command, expected) in [
        (
            json!(["/docker-entrypoint.sh"]),
            json!(["nginx", "-g", "daemon off;"]),
            (None, None),
        ),
        (
            json!(["/bin/sh", "-c"]),
            json!(["exec web"]),
            (Some(vec!["/bin/sh", "-c"]), Some(vec!["exec web"])),
        ),
        (
            json!(["/docker-entrypoint.sh"]),
            json!(["nginx", "-t"]),
            (None, Some(vec!["nginx", "-t"])),
        ),
        // `--entrypoint` of an image takes its command away.
        (json!(["/bin/true"]), json!(null), (Some(vec!["/bin/true"]), None)),
        (json!(null), json!([]), (None, None)),
    ] {
        let inspected = changed(
            DOCKER,
            &[("/Config/Entrypoint", entrypoint), ("/Config/Cmd", command)],
        );
        let item = item(Engine::Docker, &inspected, image);
        let seen = (words(item.entrypoint.as_ref()), words(item.command.as_ref()));
        let owned = |list: Option<Vec<&str>>| list.map(|list| list.into_iter().map(str::to_owned).collect());
        assert_eq!(seen, (owned(expected.0), owned(expected.1)), "{inspected}");
    }
}

#[test]
fn a_log_driver_is_told_unless_engines_choose_it_by_themselves() {
    for (driver, told) in [
        (json!("json-file"), ""),
        (json!("journald"), ""),
        (json!("k8s-file"), ""),
        (json!(""), ""),
        (json!(null), ""),
        (json!("local"), "local"),
        (json!("none"), "none"),
        (json!("syslog"), "syslog"),
    ] {
        let inspected = changed(DOCKER, &[("/HostConfig/LogConfig/Type", driver)]);
        assert_eq!(item(Engine::Docker, &inspected, "{}").log_driver, told);
    }
}

#[test]
fn a_container_is_up_while_it_runs_or_restarts_and_its_health_and_pid_are_observed() {
    for (status, running, restarting, run) in [
        ("running", true, false, RunClass::Up),
        ("paused", true, false, RunClass::Up),
        ("restarting", true, true, RunClass::Up),
        ("restarting", false, true, RunClass::Up),
        ("exited", false, false, RunClass::Down),
        ("created", false, false, RunClass::Down),
        ("dead", false, false, RunClass::Down),
    ] {
        let state = json!({"Status": status, "Running": running, "Restarting": restarting, "Pid": 0, "ExitCode": 137});
        let inspected = changed(DOCKER, &[("/State", state)]);
        assert_eq!(item(Engine::Docker, &inspected, "{}").run, run, "{status}");
    }
    for (health, told) in [
        (json!({"Status": "healthy"}), "healthy"),
        (json!({"Status": "unhealthy", "FailingStreak": 3}), "unhealthy"),
        (json!({"Status": "starting"}), "starting"),
        (json!({"Status": "none"}), "none"),
        (json!({"Status": ""}), ""),
        (json!(null), ""),
    ] {
        let inspected = changed(DOCKER, &[("/State/Health", health)]);
        let details: ContainerInspectResponse = serde_json::from_str(&inspected).unwrap();
        let item = item(Engine::Docker, &inspected, "{}");
        let seen = observed(&item, &details);
        let id = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
        assert_eq!(
            (
                seen.name.as_str(),
                seen.id.as_str(),
                seen.pid,
                seen.health.as_str()
            ),
            ("docker:shop-web-1", id, 4242, told)
        );
    }
}

#[test]
fn a_bind_mount_has_its_path_its_mode_and_a_propagation_that_is_not_private() {
    let mount = |rw: bool, propagation: &str| json!([{"Type": "bind", "Source": "/srv/a b", "Destination": "/a", "Mode": "", "RW": rw, "Propagation": propagation}]);
    for (rw, propagation, told) in [
        (true, "rprivate", ""),
        (false, "private", ""),
        (true, "", ""),
        (false, "rshared", "rshared"),
        (true, "slave", "slave"),
    ] {
        let inspected = changed(DOCKER, &[("/Mounts", mount(rw, propagation))]);
        let item = item(Engine::Docker, &inspected, "{}");
        let expected = Mount {
            target: "/a".into(),
            kind: "bind".into(),
            source: "/srv/a b".into(),
            read_only: !rw,
            propagation: told.into(),
            ..Mount::default()
        };
        assert_eq!(item.mounts, [expected]);
    }
}

#[test]
fn the_digest_is_the_one_of_the_registry_that_the_reference_names() {
    let digests = r#"{"RepoDigests":["nginx@sha256:aa","registry.example:5000/web/nginx@sha256:bb","docker.io/team/app@sha256:cc","bad@sha256:zz"]}"#;
    for (reference, digest) in [
        ("nginx", "sha256:aa"),
        ("nginx:1.27", "sha256:aa"),
        ("docker.io/library/nginx:1.27", "sha256:aa"),
        ("nginx:1.27@sha256:aa", "sha256:aa"),
        ("registry.example:5000/web/nginx", "sha256:bb"),
        ("registry.example:5000/web/nginx:1", "sha256:bb"),
        ("team/app", "sha256:cc"),
        ("other/nginx", ""),
        ("bad", ""),
        ("sha256:39286ab8", ""),
    ] {
        let inspected = changed(DOCKER, &[("/Config/Image", json!(reference))]);
        let item = item(Engine::Docker, &inspected, digests);
        assert_eq!(item.options.image_digest, digest, "{reference}");
        assert!(item.image_id.starts_with("sha256:39286ab8"));
    }
    let local = item(Engine::Docker, DOCKER, r#"{"RepoDigests":[]}"#);
    assert_eq!(local.options.image_digest, "", "built here");
}
