//! The chart's admission policy, tried with real tokens: an agent writes its own host only.

use std::sync::LazyLock;
use std::time::Duration;

use safetytwin_crds::access;
use safetytwin_crds::hoststate::Source;
use serde_json::{Value, json};

use super::{SERVER, kubectl, said};

/// A policy works some time after it was made: when the first write is refused.
static POLICY: LazyLock<()> = LazyLock::new(|| {
    let arguments = ["create", "token", "safetytwin-agent", "-n=safetytwin-system"];
    let token = kubectl(&arguments).unwrap().trim().to_owned();
    for _ in 0..300 {
        if write(&token, &host("nobody", "Node")).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the admission policy refuses nothing after 30 s");
});

/// A token of the account of the host of this name, with the rights that the controller gives it.
pub fn account_of(host: &str) -> String {
    LazyLock::force(&POLICY);
    let_in(host, Source::Node);
    kubectl(&["create", "token", host, "-n", access::ACCOUNTS])
        .unwrap()
        .trim()
        .to_owned()
}

/// What the controller does for a host.
pub fn let_in(host: &str, source: Source) {
    let (host, owner) = (host.parse().unwrap(), json!([]));
    let account = (source == Source::Node).then(|| access::account(&host, access::ACCOUNTS, &owner));
    let rights = [
        access::role(&host, &owner),
        access::binding(&host, access::ACCOUNTS, &owner),
    ];
    for object in account.into_iter().chain(rights) {
        let apply = ["apply", "--server-side", "-f", "-"];
        let output = SERVER.kubectl(&apply, &object.to_string()).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A token that the agent of a node of this name begins with.
pub fn token_of(node: &str) -> String {
    LazyLock::force(&POLICY);
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
    let output = SERVER
        .kubectl(&["apply", "-f", "-"], &object.to_string())
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let node = format!("--bound-object-name={node}");
    let arguments = [
        "create",
        "token",
        "safetytwin-agent",
        "-n=safetytwin-system",
        "--bound-object-kind=Node",
        &node,
    ];
    kubectl(&arguments).unwrap().trim().to_owned()
}

pub fn host(name: &str, source: &str) -> Value {
    json!({"apiVersion": "safetytwin.com/v1alpha1", "kind": "HostState", "metadata": {"name": name},
        "spec": {"host": name, "intervalSeconds": 10, "source": source, "bootId": "b", "sequence": 7,
            "observedTime": "2026-11-22T14:30:00Z", "agentVersion": "0.1.0", "complete": "5/5"}})
}

pub fn section(host: &str) -> Value {
    json!({"apiVersion": "safetytwin.com/v1alpha1", "kind": "HostSection",
        "metadata": {"name": format!("{host}.units.0.a")},
        "spec": {"host": host, "section": "units", "part": 0, "slot": "a", "schemaVersion": 1,
            "encoding": "json", "data": "[]"}})
}

pub fn write(token: &str, object: &Value) -> Result<(), String> {
    let token = format!("--token={token}");
    let arguments = [
        "create",
        "--dry-run=server",
        "--validate=false",
        &token,
        "-f",
        "-",
    ];
    let output = SERVER.kubectl(&arguments, &object.to_string()).unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(said(&output))
    }
}

#[test]
fn an_agent_writes_the_objects_of_its_own_host() {
    let token = account_of("web.example");
    write(&token, &host("web.example", "Node")).unwrap();
    write(&token, &section("web.example")).unwrap();
}

#[test]
fn an_agent_that_begins_makes_the_host_of_its_node_and_takes_the_token_of_no_other() {
    let token = token_of("begins.example");
    write(&token, &host("begins.example", "Node")).unwrap();
    let error = write(&token, &section("begins.example")).unwrap_err();
    assert!(error.contains("cannot create resource"), "{error}");
    for other in ["begins.example", "begins", "begins.example.org"] {
        let_in(other, Source::Node);
    }
    let token = format!("--token={token}");
    let take = |host: &str| kubectl(&["create", "token", host, "-n", access::ACCOUNTS, &token]);
    take("begins.example").unwrap();
    for other in ["begins", "begins.example.org"] {
        let error = take(other).unwrap_err();
        assert!(error.contains("is of another host than this token"), "{error}");
    }
}

#[test]
fn an_agent_is_refused_the_objects_of_another_host_also_of_a_longer_name() {
    let token = account_of("web");
    for other in ["db", "web.example", "we"] {
        for object in [host(other, "Node"), section(other)] {
            let error = write(&token, &object).unwrap_err();
            assert!(error.contains("neither the host of this account"), "{error}");
        }
    }
}

#[test]
fn a_token_without_a_node_writes_no_host() {
    LazyLock::force(&POLICY);
    let arguments = ["create", "token", "safetytwin-agent", "-n=safetytwin-system"];
    let token = kubectl(&arguments).unwrap().trim().to_owned();
    let error = write(&token, &host("web", "Node")).unwrap_err();
    assert!(error.contains("it carries none"), "{error}");
    let error = write(&token, &host("ext-web", "Enrolled")).unwrap_err();
    assert!(
        error.contains("only by the service account of the same name"),
        "{error}"
    );
}

#[test]
fn an_agent_sets_no_finalizers_owners_or_foreign_labels() {
    let token = account_of("plain");
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "plain", "uid": "u"}]);
    for (member, value, message) in [
        (
            "finalizers",
            json!(["example.com/stay"]),
            "neither finalizers nor owner references",
        ),
        (
            "ownerReferences",
            owner,
            "neither finalizers nor owner references",
        ),
        ("labels", json!({"app": "x"}), "only labels of safetytwin.com"),
    ] {
        let mut object = host("plain", "Node");
        object["metadata"][member] = value;
        let error = write(&token, &object).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let error = write(&token, &host("plain", "Enrolled")).unwrap_err();
    assert!(error.contains("spec.source is Enrolled exactly"), "{error}");
}
