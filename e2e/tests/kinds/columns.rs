//! The tables of design.md, "What users write and see", cell by cell.

use serde_json::{Value, json};

use super::kubectl;

/// The rows of a table, cut where its header's columns begin.
fn cells(table: &str) -> Vec<Vec<String>> {
    let header: Vec<char> = table.lines().next().unwrap().chars().collect();
    let starts: Vec<usize> = (0..header.len())
        .filter(|i| {
            let begins = *i == 0 || (header[i - 1] == ' ' && header[i.saturating_sub(2)] == ' ');
            begins && header[*i] != ' '
        })
        .collect();
    table
        .lines()
        .map(|line| {
            let line: Vec<char> = line.chars().collect();
            let cell = |n: usize| {
                let to = starts.get(n + 1).copied().unwrap_or(line.len()).min(line.len());
                let from = starts[n].min(to);
                line[from..to].iter().collect::<String>().trim().to_owned()
            };
            (0..starts.len()).map(cell).collect()
        })
        .collect()
}

fn create(kind: &str, name: &str, namespace: Option<&str>, spec: &Value, status: Option<Value>) {
    let mut object = json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    kubectl(&["apply", "--server-side", "-f", "-"], &object.to_string()).unwrap();
    if let Some(status) = status {
        object["status"] = status;
        let arguments = [
            "apply",
            "--server-side",
            "--subresource=status",
            "--field-manager=test",
            "--force-conflicts",
            "-f",
            "-",
        ];
        kubectl(&arguments, &object.to_string()).unwrap();
    }
}

fn ago(seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now - seconds).unwrap().to_string()
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "",
           "lastTransitionTime": "2026-11-22T14:30:00Z"})
}

/// Times move while the test runs: a cell with a time must only be filled.
fn assert_rows(table: &str, expected: &[&[&str]]) {
    let rows = cells(table);
    assert_eq!(rows.len(), expected.len(), "{table}");
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(row.len(), expected.len(), "{table}");
        for (cell, wanted) in row.iter().zip(*expected) {
            let fits = if *wanted == "<time>" {
                cell.ends_with(['s', 'm', 'h', 'd'])
            } else {
                cell == wanted
            };
            assert!(fits, "{cell:?} is not {wanted:?} in\n{table}");
        }
    }
}

fn twin(name: &str, ready: Value, running: &str, changed: i64, change: &str) {
    create(
        "DigitalTwin",
        name,
        Some("tables"),
        &json!({"hostRef": {"name": name}, "className": "lab"}),
        Some(
            json!({"conditions": [ready], "running": running, "changedTime": ago(changed),
            "lastChange": change, "epoch": 1, "lastOperation": 1}),
        ),
    );
}

#[test]
fn get_twins_shows_what_runs_and_what_changed_last() {
    kubectl(&["create", "namespace", "tables"], "").unwrap();
    twin(
        "db-01",
        condition("Ready", "False", "ItemsFailed"),
        "8/9",
        7200,
        "+2 services, -1 process",
    );
    twin(
        "web-01",
        condition("Ready", "True", "Following"),
        "14/14",
        38,
        "nginx.service changed",
    );
    let header: &[&str] = &[
        "NAME",
        "HOST",
        "READY",
        "REASON",
        "RUNNING",
        "CHANGED",
        "LAST CHANGE",
        "AGE",
    ];
    let web: &[&str] = &[
        "web-01",
        "web-01",
        "True",
        "Following",
        "14/14",
        "<time>",
        "nginx.service changed",
        "<time>",
    ];
    assert_rows(
        &kubectl(&["get", "twins", "-n=tables"], "").unwrap(),
        &[
            header,
            &[
                "db-01",
                "db-01",
                "False",
                "ItemsFailed",
                "8/9",
                "<time>",
                "+2 services, -1 process",
                "<time>",
            ],
            web,
        ],
    );
    assert_rows(
        &kubectl(&["get", "twins", "web-01", "-n=tables"], "").unwrap(),
        &[header, web],
    );
}

#[test]
fn get_snapshots_shows_what_a_point_contains_and_what_it_was_taken_before() {
    kubectl(&["create", "namespace", "points"], "").unwrap();
    let point = |name: &str, pinned: bool, revision: i64, taken: i64, before: &str| {
        create(
            "TwinSnapshot",
            name,
            Some("points"),
            &json!({"twinRef": {"name": "web-01"}, "pinned": pinned}),
            Some(
                json!({"conditions": [condition("Ready", "True", "Taken")], "mode": "Full",
                "revision": revision, "takenTime": ago(taken), "takenBefore": before}),
            ),
        );
    };
    point("before-upgrade", true, 12, 90_000, "(manual) nginx 1.28");
    point("web-01-r0016-9c1e", false, 15, 40, "nginx.service changed");
    assert_rows(
        &kubectl(&["get", "snapshots", "-n=points"], "").unwrap(),
        &[
            &[
                "NAME",
                "TWIN",
                "READY",
                "MODE",
                "REVISION",
                "TAKEN",
                "TAKEN BEFORE",
                "PINNED",
            ],
            &[
                "before-upgrade",
                "web-01",
                "True",
                "Full",
                "12",
                "<time>",
                "(manual) nginx 1.28",
                "true",
            ],
            &[
                "web-01-r0016-9c1e",
                "web-01",
                "True",
                "Full",
                "15",
                "<time>",
                "nginx.service changed",
                "false",
            ],
        ],
    );
}

#[test]
fn get_hosts_leaves_what_is_unavailable_blank() {
    let host = |name: &str, complete: &str, counts: Value, os: &str| {
        let spec = json!({"host": name, "intervalSeconds": 10, "source": "Node", "bootId": "b", "sequence": 1,
            "observedTime": ago(4), "agentVersion": "0.1.0", "complete": complete, "counts": counts,
            "machine": {"os": os}});
        create("HostState", name, None, &spec, None);
    };
    let partial = json!({"services": 58, "failed": 0, "processes": 0, "ai": 0});
    host("db-01", "4/5", partial, "Ubuntu 24.04");
    let whole = json!({"services": 63, "failed": 1, "containers": 4, "processes": 2, "ai": 1});
    host("web-01", "5/5", whole, "Debian 12");
    assert_rows(
        &kubectl(&["get", "hosts"], "").unwrap(),
        &[
            &[
                "NAME",
                "SEEN",
                "COMPLETE",
                "SERVICES",
                "FAILED",
                "CONTAINERS",
                "PROCESSES",
                "AI",
                "OS",
                "AGE",
            ],
            &[
                "db-01",
                "<time>",
                "4/5",
                "58",
                "0",
                "",
                "0",
                "0",
                "Ubuntu 24.04",
                "<time>",
            ],
            &[
                "web-01",
                "<time>",
                "5/5",
                "63",
                "1",
                "4",
                "2",
                "1",
                "Debian 12",
                "<time>",
            ],
        ],
    );
}

#[test]
fn a_twin_of_two_lines_gets_every_default() {
    let object = json!({"apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
        "metadata": {"name": "short", "namespace": "ops"},
        "spec": {"hostRef": {"name": "web-01"}, "className": "lab"}});
    let arguments = ["create", "--dry-run=server", "-o=json", "-f", "-"];
    let answer: Value = serde_json::from_str(&kubectl(&arguments, &object.to_string()).unwrap()).unwrap();
    assert_eq!(
        answer["spec"],
        json!({
            "hostRef": {"name": "web-01"}, "className": "lab",
            "replicate": {"services": {}, "containers": {}, "processes": {}},
            "snapshots": {"keepLast": 10, "coalesce": "2s"},
            "drift": "Repair", "onFailure": "Continue", "suspend": false, "deletionPolicy": "Delete",
        })
    );
}

/// What an agent applies whose fields the kind does not have is refused as a whole, so the kind keeps them.
#[test]
fn a_head_as_the_first_agents_wrote_it_is_taken() {
    let head = include_str!("../../../crds/tests/fixtures/schema-1/head.json");
    let arguments = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
    ];
    let taken: Value = serde_json::from_str(&kubectl(&arguments, head).unwrap()).unwrap();
    let written: Value = serde_json::from_str(head).unwrap();
    assert_eq!(taken["spec"], written["spec"]);
}
