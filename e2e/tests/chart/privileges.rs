//! What `twin-agent --print-privileges` explains, compared with what the chart gives; and what follows from the
//! admission policy.

use std::collections::BTreeSet;
use std::process::Command;

use safetytwin_crds::access;
use safetytwin_e2e::lab::process::built_binary;
use serde_json::{Value, json};

use super::{CHART, REPOSITORY, SERVER, find, helm, kubectl, rendered};

/// Everything that can be chosen.
const ALL: &str = "--set=agent.level=full,agent.processEvents=true,agent.containers.docker=true,agent.containers.podman=true,agent.sections.cron=true,agent.rpm=true";
const MINIMAL: &str = "--set=agent.dpkg=false";

/// What the agent explains, by kind: names, also those that a chart's value gives.
fn explained(level: &str, chosen: bool) -> BTreeSet<(String, String)> {
    let mut agent = Command::new(built_binary("twin-agent").unwrap());
    agent.args(["--print-privileges", "--root=/host", "--level", level, "-o=json"]);
    let output = agent.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |p: &Value, field: &str| p[field].as_str().unwrap().to_owned();
    // Which directories those of selected files are, the files say.
    let given = all
        .iter()
        .filter(|p| p["when"] != "agent.sections.files" && (chosen || p["when"].is_null()));
    given.map(|p| (text(p, "kind"), text(p, "name"))).collect()
}

/// What the chart gives, in the same words.
fn given(settings: &[&str]) -> BTreeSet<(String, String)> {
    let objects = rendered(settings);
    let pod = &find(&objects, "DaemonSet", "agent").unwrap()["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["privileged"], Value::Null);
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    let mut all = BTreeSet::new();
    let mut add = |kind: &str, name: String| assert!(all.insert((kind.to_owned(), name)));
    add("User", security["runAsUser"].to_string());
    for namespace in ["hostPID", "hostNetwork", "hostIPC"] {
        if pod[namespace] == true {
            add("Namespace", namespace.to_owned());
        }
    }
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    add(
        "SystemCalls",
        format!("seccomp:{}", text(&security["seccompProfile"]["type"])),
    );
    add(
        "SystemCalls",
        format!("appArmor:{}", text(&security["appArmorProfile"]["type"])),
    );
    let added = security["capabilities"]["add"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for capability in &added {
        add("Capability", format!("CAP_{}", text(capability)));
    }
    if added.is_empty() {
        add("Capability", "none".to_owned());
    }
    for volume in pod["volumes"].as_array().unwrap() {
        let path = &volume["hostPath"]["path"];
        add("Mount", text(if path.is_null() { &volume["name"] } else { path }));
    }
    let of_host = find(&objects, "ClusterRole", "-host").unwrap();
    let token = find(&objects, "Role", "-agent").unwrap();
    let by_name = access::role(&"web-01".parse().unwrap(), &json!([]));
    for role in [of_host, token, &by_name] {
        add("Rbac", rights(role));
    }
    // What an agent begins with is a part of that.
    let first = find(&objects, "ClusterRole", "-agent").unwrap();
    assert_eq!(rights(first), "create hoststates");
    all
}

/// What a role allows: verbs, and the resources of all its rules.
fn rights(role: &Value) -> String {
    let list = |field: &str| {
        let rules = role["rules"].as_array().unwrap().iter();
        let all = rules.flat_map(|rule| rule[field].as_array().unwrap());
        let mut texts: Vec<&str> = all.map(|value| value.as_str().unwrap()).collect();
        texts.dedup();
        texts.join(",")
    };
    format!("{} {}", list("verbs"), list("resources"))
}

#[test]
fn the_agent_explains_every_privilege_that_the_chart_gives_and_no_other() {
    assert_eq!(given(&[ALL]), explained("full", true));
    assert_eq!(given(&[MINIMAL]), explained("basic", false));
}

/// The arguments that the chart gives the agent, as JSON.
fn arguments(settings: &[&str]) -> String {
    let objects = rendered(settings);
    let agent = find(&objects, "DaemonSet", "agent").unwrap();
    agent["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
}

#[test]
fn an_agent_refuses_to_publish_unconfined_unless_the_policy_is_switched_off() {
    assert!(arguments(&[]).contains("--admission-self-test=require"));
    assert!(arguments(&["--set=agent.admission.enabled=false"]).contains("--admission-self-test=warn"));
}

#[test]
fn metrics_of_the_agent_are_off_unless_chosen() {
    let arguments = |settings: &[&str]| {
        let objects = rendered(settings);
        find(&objects, "DaemonSet", "agent").unwrap().to_string()
    };
    assert!(!arguments(&[]).contains("metrics"));
    let on = arguments(&["--set=agent.metrics.enabled=true"]);
    assert!(on.contains("--metrics-address=127.0.0.1:9101"), "{on}");
}

#[test]
fn a_heartbeat_is_the_agents_own_unless_one_is_chosen() {
    assert!(!arguments(&[]).contains("heartbeat"));
    let chosen = arguments(&["--set=agent.heartbeatSeconds=120"]);
    assert!(chosen.contains("\"--heartbeat=120\""), "{chosen}");
}

#[test]
fn values_of_variables_are_published_by_name_only_where_names_are_chosen() {
    assert!(!arguments(&[]).contains("--environment"));
    let chosen = arguments(&["--set=agent.environment={APP_*,GREETING}"]);
    assert!(
        chosen.contains(r#""--environment=APP_*","--environment=GREETING""#),
        "{chosen}"
    );
    for bad in ["*", "A-B", "A*B", "A=1"] {
        let set = format!("--set=agent.environment={{{bad}}}");
        let output = helm(&["template", "x", CHART, REPOSITORY, "--kube-version=1.34.0", &set]);
        assert!(!output.status.success(), "{bad}");
    }
}

/// The policy does not hold administrators; so an agent with an administrator's rights is not confined. It tries again
/// for a minute.
#[test]
fn an_agent_that_nothing_confines_publishes_nothing_and_ends_with_the_reason() {
    let mut agent = Command::new(built_binary("twin-agent").unwrap());
    agent.args(["--node-name=unconfined.example", "--interval=1", "--kubeconfig"]);
    let output = agent.arg(SERVER.kubeconfig()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("failed the admission self-test"), "{said}");
    let found = kubectl(&["get", "hoststates,hostsections", "-o", "name"]).unwrap();
    assert!(!found.contains("unconfined"), "{found}");
}
