//! Answers of `GET /containers/ID/json` in full, as Docker 27 and Podman 4 give them.

use bollard::models::{ContainerInspectResponse, ImageInspect};
use safetytwin_crds::item::ContainerItem;
use safetytwin_crds::item::container::{ContainerOptions, Engine};
use serde_json::json;

use crate::collect::containers::item::{Inspected, container};
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
