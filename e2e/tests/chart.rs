//! The chart, linted and installed by Helm on a real API server.

// Tests may fail by panicking, also in what several of them share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "chart/admission.rs"]
mod admission;
#[path = "chart/asking.rs"]
mod asking;
#[path = "chart/enrolled.rs"]
mod enrolled;
#[path = "chart/matrix.rs"]
mod matrix;
#[path = "chart/privileges.rs"]
mod privileges;
#[path = "chart/reading.rs"]
mod reading;
#[path = "chart/sections.rs"]
mod sections;

use std::process::Output;
use std::sync::LazyLock;

use safetytwin_e2e::api_server::ApiServer;
use serde_json::Value;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/safetytwin");
const REPOSITORY: &str = "--set=image.repository=registry.example.org/safetytwin";
const NAMESPACE: &str = "-n=safetytwin-system";

static SERVER: LazyLock<ApiServer> = LazyLock::new(|| {
    let state = tempfile::tempdir().unwrap().keep();
    let server = ApiServer::start(&state).unwrap();
    let output = server
        .kubectl(&["create", "namespace", "safetytwin-system"], "")
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut helm = server.command("helm").unwrap();
    let enrolled = "--set=enrolled.enabled=true";
    let arguments = ["install", "safetytwin", CHART, NAMESPACE, REPOSITORY, enrolled];
    let output = helm.args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    server
});

fn helm(arguments: &[&str]) -> Output {
    SERVER.command("helm").unwrap().args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).unwrap()
}

fn kubectl(arguments: &[&str]) -> Result<String, String> {
    let output = SERVER.kubectl(arguments, "").unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(said(&output))
    }
}

/// The objects that the chart makes with these settings.
fn rendered(settings: &[&str]) -> Vec<Value> {
    let mut arguments = vec![
        "template",
        "safetytwin",
        CHART,
        NAMESPACE,
        REPOSITORY,
        "--kube-version=1.34.0",
    ];
    arguments.extend(settings);
    let output = helm(&arguments);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("\n---\n")
        .map(|document| document.trim_start_matches("---\n"))
        .filter(|document| document.contains("apiVersion:"))
        .map(|document| serde_yaml::from_str(document).unwrap())
        .collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|o| {
        let found = o["metadata"]["name"].as_str().unwrap();
        o["kind"] == kind && found.ends_with(name)
    })
}

/// The verbs that an account has on a resource, or on a subresource as `resource/subresource`.
fn verbs(account: &str, resource: &str, namespace: &str) -> Vec<&'static str> {
    let user = format!("--as=system:serviceaccount:safetytwin-system:safetytwin-{account}");
    let namespace = match namespace {
        "" => "--all-namespaces".to_owned(),
        name => format!("-n={name}"),
    };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    [
        "get",
        "list",
        "watch",
        "create",
        "patch",
        "update",
        "delete",
        "deletecollection",
    ]
    .into_iter()
    .filter(|verb| kubectl(&["auth", "can-i", verb, resource, &subresource, &user, &namespace]).is_ok())
    .collect()
}

#[test]
fn the_chart_passes_helm_s_lint() {
    let output = helm(&["lint", "--strict", CHART, REPOSITORY]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn without_a_repository_the_schema_says_how_to_make_the_images() {
    let output = helm(&["template", "safetytwin", CHART, "--kube-version=1.34.0"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("make images PUSH="), "{}", said(&output));
}

#[test]
fn a_misspelt_value_is_refused_by_name() {
    let output = helm(&[
        "template",
        "x",
        CHART,
        REPOSITORY,
        "--kube-version=1.34.0",
        "--set=agent.lvl=full",
    ]);
    assert!(!output.status.success());
    assert!(said(&output).contains("lvl"), "{}", said(&output));
}

#[test]
fn an_agent_begins_with_the_right_to_make_its_host_and_to_take_its_token_and_no_other() {
    assert_eq!(verbs("agent", "hoststates.safetytwin.com", ""), ["create"]);
    assert_eq!(
        verbs("agent", "serviceaccounts/token", "safetytwin-hosts"),
        ["create"]
    );
    for resource in [
        "serviceaccounts/token",
        "hostsections.safetytwin.com",
        "secrets",
        "pods",
        "nodes",
        "hoststates.safetytwin.com/status",
        "digitaltwins.safetytwin.com",
    ] {
        assert_eq!(verbs("agent", resource, ""), Vec::<&str>::new(), "{resource}");
    }
}

#[test]
fn the_controller_reads_secrets_by_name_and_only_in_its_own_namespace() {
    let own = ["get", "create", "patch", "update", "delete"];
    assert_eq!(verbs("controller", "secrets", "safetytwin-system"), own);
    for (resource, namespace) in [
        ("secrets", ""),
        ("secrets", "default"),
        ("nodes", ""),
        ("pods", ""),
    ] {
        assert_eq!(
            verbs("controller", resource, namespace),
            Vec::<&str>::new(),
            "{resource} {namespace}"
        );
    }
    assert_eq!(
        verbs("controller", "hostsections.safetytwin.com", ""),
        ["get", "patch", "delete"]
    );
    for resource in ["clusterroles", "clusterrolebindings"] {
        assert_eq!(verbs("controller", resource, ""), ["create", "patch"]);
    }
}

#[test]
fn no_role_has_a_wildcard() {
    for object in rendered(&[]) {
        let rules = object["rules"].as_array().cloned().unwrap_or_default();
        assert!(
            !rules.iter().any(|rule| rule.to_string().contains('*')),
            "{object}"
        );
    }
}

#[test]
fn the_agent_sees_single_directories_read_only_and_never_the_root() {
    let objects = rendered(&["--set=agent.containers.docker=true,agent.containers.podman=true"]);
    let pod = &find(&objects, "DaemonSet", "agent").unwrap()["spec"]["template"]["spec"];
    for volume in pod["volumes"].as_array().unwrap() {
        let path = &volume["hostPath"]["path"];
        assert!(
            !matches!(
                path.as_str(),
                Some("/" | "/run" | "/var" | "/usr" | "/home" | "/root")
            ),
            "{path}"
        );
        assert!(
            path.is_null() || volume["hostPath"]["type"].is_string(),
            "{volume}"
        );
    }
    for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
}

#[test]
fn engine_sockets_and_ptrace_are_off_unless_chosen() {
    let security = |objects: &[Value]| {
        let pod = &find(objects, "DaemonSet", "agent").unwrap()["spec"]["template"]["spec"];
        (
            pod["containers"][0]["securityContext"]["capabilities"]["add"].clone(),
            pod["volumes"].to_string(),
        )
    };
    let (added, volumes) = security(&rendered(&[]));
    assert_eq!(added, Value::Null);
    assert!(
        !volumes.contains("docker") && !volumes.contains("podman"),
        "{volumes}"
    );
    let (added, _) = security(&rendered(&["--set=agent.level=full"]));
    assert_eq!(added, serde_json::json!(["SYS_PTRACE"]));
}

#[test]
fn the_controller_keeps_off_monitored_nodes_unless_allowed_and_outside_when_external() {
    let affinity = |settings: &[&str]| {
        let objects = rendered(settings);
        find(&objects, "Deployment", "controller").map(|d| d["spec"]["template"]["spec"]["affinity"].clone())
    };
    let kept_off = affinity(&[]).unwrap();
    let required = &kept_off["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(
        required["labelSelector"]["matchLabels"]["app.kubernetes.io/component"],
        "agent"
    );
    assert_eq!(
        affinity(&["--set=controller.allowOnMonitoredHost=true"]),
        Some(Value::Null)
    );
    assert_eq!(affinity(&["--set=controller.mode=External"]), None);
}

#[test]
fn an_uninstall_keeps_the_kinds() {
    // Its hook needs a node; the tests with the lab run it.
    let arguments = [
        "install",
        "second",
        CHART,
        "-n=default",
        REPOSITORY,
        "--set=crds.install=false,accounts.namespace=second-hosts",
    ];
    let output = helm(&arguments);
    assert!(output.status.success(), "{}", said(&output));
    let output = helm(&["uninstall", "second", "-n=default", "--no-hooks"]);
    assert!(output.status.success(), "{}", said(&output));
    for crd in rendered(&[])
        .iter()
        .filter(|o| o["kind"] == "CustomResourceDefinition")
    {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        kubectl(&["get", "crd", crd["metadata"]["name"].as_str().unwrap()]).unwrap();
    }
}
