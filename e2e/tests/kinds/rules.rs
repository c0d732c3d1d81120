//! Each CEL rule and each bound that a user meets, with an example that is refused and one, as near
//! as can be, that is accepted.

use serde_json::{Value, json};

use super::kubectl;

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "safetytwin.com/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec});
    if !matches!(kind, "HostState" | "HostSection" | "TwinClass") {
        object["metadata"]["namespace"] = json!("ops");
    }
    object
}

/// `base` with the values at these JSON pointers replaced; null removes a member.
fn with(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = base.clone();
    for (path, value) in changes {
        let (parent, member) = path.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(member);
        } else {
            parent.insert(member.to_owned(), value.clone());
        }
    }
    changed
}

fn create(object: &Value) -> Result<String, String> {
    kubectl(&["create", "--dry-run=server", "-f", "-"], &object.to_string())
}

fn accepted(object: &Value) {
    create(object).unwrap();
}

fn refused(object: &Value, because: &str) {
    let error = create(object).unwrap_err();
    assert!(error.contains(because), "{because:?} is not in {error}");
}

/// Stores `before` and then tries the changes that must be accepted and refused. What is stored is
/// named `rules`: the sentences run beside each other, and an object only tried under the name of a
/// stored one is refused because that one exists.
fn update(before: &Value, good: &[&[(&str, Value)]], bad: &[(&[(&str, Value)], &str)]) {
    assert_eq!(before.pointer("/metadata/name"), Some(&json!("rules")));
    kubectl(&["create", "-f", "-"], &before.to_string()).unwrap();
    let replace = |changes: &[(&str, Value)]| {
        let after = with(before, changes).to_string();
        kubectl(&["replace", "--dry-run=server", "-f", "-"], &after)
    };
    for changes in good {
        replace(changes).unwrap();
    }
    for (changes, because) in bad {
        let error = replace(changes).unwrap_err();
        assert!(error.contains(because), "{because:?} is not in {error}");
    }
    kubectl(&["delete", "-f", "-"], &before.to_string()).unwrap();
}

fn host(name: &str) -> Value {
    object(
        "HostState",
        name,
        json!({"host": name, "intervalSeconds": 10, "source": "Node", "bootId": "b", "sequence": 7,
            "observedTime": "2026-11-22T14:30:00Z", "agentVersion": "0.1.0", "complete": "5/5"}),
    )
}

fn class(name: &str) -> Value {
    object(
        "TwinClass",
        name,
        json!({"libvirt": {"uri": "qemu:///system", "pool": "twins", "network": "isolated",
            "baseImage": "debian-12.qcow2", "vm": {}}}),
    )
}

fn twin(name: &str) -> Value {
    object(
        "DigitalTwin",
        name,
        json!({"hostRef": {"name": "web-01"}, "className": "lab"}),
    )
}

fn restore(name: &str) -> Value {
    object(
        "TwinRestore",
        name,
        json!({"twinRef": {"name": "web-01"}, "snapshotRef": {"name": "p"}}),
    )
}

#[test]
fn a_host_state_is_named_like_its_host_and_never_goes_back() {
    accepted(&host("node.example"));
    refused(
        &with(&host("a"), &[("/spec/host", json!("b"))]),
        "metadata.name must equal spec.host",
    );
    update(
        &host("rules"),
        &[
            &[("/spec/sequence", json!(8))],
            &[("/spec/sequence", json!(1)), ("/spec/bootId", json!("c"))],
        ],
        &[
            (
                &[("/spec/sequence", json!(6))],
                "spec.sequence must not go back within one boot",
            ),
            (&[("/spec/source", json!("Enrolled"))], "spec.source is immutable"),
        ],
    );
}

#[test]
fn a_host_section_is_named_by_host_section_part_and_slot() {
    let section = |name: &str| {
        object(
            "HostSection",
            name,
            json!({"host": "web.example", "section": "units", "part": 15, "slot": "b", "schemaVersion": 1,
                "encoding": "json", "data": "[]"}),
        )
    };
    let message = "metadata.name must be <host>.<section>.<part>.<slot>";
    accepted(&section("web.example.units.15.b"));
    for name in [
        "web.example.units.15.a",
        "web.units.15.b",
        "web.example.units.1.b",
    ] {
        refused(&section(name), message);
    }
    refused(
        &with(&section("web.example.units.15.b"), &[("/spec/part", json!(16))]),
        "spec.part",
    );
}

#[test]
fn a_class_either_creates_or_adopts_and_boots_one_way() {
    let adopt = json!({"domainUuid": "8f6b5a0e-6f0e-4a39-9d53-0d6f5f2a8f10", "user": "twin", "keyRef": {"name": "k"}});
    let adopting = with(
        &class("c"),
        &[
            ("/spec/libvirt/baseImage", Value::Null),
            ("/spec/libvirt/adopt", adopt.clone()),
        ],
    );
    accepted(&class("c"));
    accepted(&adopting);
    let message = "give exactly one of baseImage (create a VM) and adopt (use an existing domain)";
    refused(
        &with(&class("c"), &[("/spec/libvirt/adopt", adopt.clone())]),
        message,
    );
    let other_way = [
        ("/spec/libvirt/baseImage", Value::Null),
        ("/spec/libvirt/adopt", adopt),
    ];
    update(
        &class("rules"),
        &[&[("/spec/libvirt/baseImage", json!("debian-13.qcow2"))]],
        &[(
            &other_way,
            "a class creates VMs or adopts domains for good: make another class",
        )],
    );
    refused(
        &with(&class("c"), &[("/spec/libvirt/baseImage", Value::Null)]),
        message,
    );
    let direct = [
        ("/spec/libvirt/vm/kernel", json!("vmlinuz")),
        ("/spec/libvirt/vm/cmdline", json!("rw")),
    ];
    accepted(&with(&class("c"), &direct));
    for member in ["/spec/libvirt/vm/cmdline", "/spec/libvirt/vm/initrd"] {
        refused(
            &with(&class("c"), &[(member, json!("x"))]),
            "initrd and cmdline need kernel",
        );
    }
    accepted(&class(&"c".repeat(63)));
    refused(&class(&"c".repeat(64)), "a class name has at most 63 characters");
}

/// libvirt runs programs that some URI parameters name (libvirt.org/uri.html).
#[test]
fn a_class_takes_no_uri_that_could_run_a_program_and_no_path() {
    let uri = |text: &str| with(&class("c"), &[("/spec/libvirt/uri", json!(text))]);
    for good in [
        "qemu:///system",
        "qemu+unix:///system",
        "qemu+tcp://[fd00::1]/system",
    ] {
        accepted(&uri(good));
    }
    for bad in [
        "qemu+ssh://root@hv1/system",
        "qemu+ext:///system?command=/bin/sh",
        "qemu:///system?socket=/tmp/x",
        "test:///default",
    ] {
        refused(&uri(bad), "spec.libvirt.uri");
    }
    refused(
        &with(
            &class("c"),
            &[("/spec/libvirt/baseImage", json!("../etc/shadow"))],
        ),
        "baseImage",
    );
}

#[test]
fn a_class_names_a_client_certificate_exactly_when_its_uri_is_over_tls() {
    let message = "a URI over TLS needs credentialsRef and no other takes it";
    let with_reference = [("/spec/libvirt/credentialsRef", json!({"name": "hv1"}))];
    let uri = |text: &str| with(&class("c"), &[("/spec/libvirt/uri", json!(text))]);
    // The last two have no transport but a host: libvirt takes TLS.
    for tls in [
        "qemu+tls://hv1.example:16514/system",
        "qemu+tls://[fd00::1]/system",
        "qemu+tls:///system",
        "qemu://hv1.example/system",
        "qemu://[fd00::1]/system",
    ] {
        accepted(&with(&uri(tls), &with_reference));
        refused(&uri(tls), message);
    }
    for other in ["qemu:///system", "qemu+unix:///system", "qemu+tcp://hv1/system"] {
        accepted(&uri(other));
        refused(&with(&uri(other), &with_reference), message);
    }
}

#[test]
fn a_twin_keeps_its_host_and_class_and_has_a_short_name() {
    accepted(&twin(&"t".repeat(40)));
    refused(&twin(&"t".repeat(41)), "a twin's name has at most 40 characters");
    update(
        &twin("rules"),
        &[
            &[("/spec/suspend", json!(true))],
            &[("/spec/drift", json!("Report"))],
        ],
        &[
            (
                &[("/spec/hostRef/name", json!("db-01"))],
                "spec.hostRef is immutable",
            ),
            (
                &[("/spec/className", json!("other"))],
                "spec.className is immutable",
            ),
        ],
    );
}

#[test]
fn a_twin_says_which_of_its_fields_is_wrong() {
    for (path, value, field) in [
        (
            "/spec/snapshots",
            json!({"keepLast": 0}),
            "spec.snapshots.keepLast",
        ),
        (
            "/spec/snapshots",
            json!({"keepLast": 51}),
            "spec.snapshots.keepLast",
        ),
        (
            "/spec/snapshots",
            json!({"coalesce": "soon"}),
            "spec.snapshots.coalesce",
        ),
        ("/spec/drift", json!("Maybe"), "spec.drift"),
        ("/spec/hostRef", Value::Null, "spec.hostRef"),
    ] {
        refused(&with(&twin("t"), &[(path, value)]), field);
    }
    accepted(&with(
        &twin("t"),
        &[("/spec/snapshots", json!({"keepLast": 50, "coalesce": "500ms"}))],
    ));
}

#[test]
fn a_snapshot_keeps_its_twin_and_mode() {
    update(
        &object("TwinSnapshot", "rules", json!({"twinRef": {"name": "web-01"}})),
        &[
            &[("/spec/pinned", json!(true))],
            &[("/spec/description", json!("x"))],
        ],
        &[
            (
                &[("/spec/twinRef/name", json!("db-01"))],
                "spec.twinRef is immutable",
            ),
            (
                &[("/spec/mode", json!("Disk"))],
                "spec.mode is immutable: a point is taken once",
            ),
        ],
    );
}

#[test]
fn a_restore_goes_to_one_point_and_only_its_hold_changes() {
    let as_of = ("/spec/asOf", json!("2026-11-22T14:30:00Z"));
    let message = "give exactly one of snapshotRef and asOf";
    let by_time = with(
        &restore("r"),
        &[("/spec/snapshotRef", Value::Null), as_of.clone()],
    );
    accepted(&restore("r"));
    accepted(&by_time);
    refused(&with(&restore("r"), std::slice::from_ref(&as_of)), message);
    refused(
        &with(&restore("r"), &[("/spec/snapshotRef", Value::Null)]),
        message,
    );
    refused(
        &with(&by_time, &[("/spec/asOf", json!("last sunday"))]),
        "spec.asOf",
    );
    let fixed = "only spec.hold may change: create another TwinRestore for another restore";
    update(
        &restore("rules"),
        &[&[("/spec/hold", json!(false))]],
        &[
            (&[("/spec/twinRef/name", json!("db-01"))], fixed),
            (&[("/spec/snapshotRef/name", json!("q"))], fixed),
            (&[("/spec/snapshotRef", Value::Null), as_of], fixed),
        ],
    );
}

#[test]
fn a_revision_never_changes() {
    let revision = object(
        "TwinRevision",
        "rules",
        json!({"twinRef": {"name": "web-01"}, "twinUid": "u", "number": 1, "rootDigest": "0".repeat(64),
            "generation": 1, "items": 0, "content": ""}),
    );
    update(
        &revision,
        &[&[("/metadata/labels", json!({"a": "b"}))]],
        &[
            (&[("/spec/summary", json!("other"))], "spec is immutable"),
            (&[("/spec/content", json!("x"))], "spec is immutable"),
        ],
    );
    refused(
        &with(&revision, &[("/spec/rootDigest", json!("abc"))]),
        "spec.rootDigest",
    );
}

/// A rule without its examples above would be a rule that nobody tried.
#[test]
fn every_rule_of_every_kind_has_its_examples_here() {
    fn messages(node: &Value, found: &mut Vec<String>) {
        match node {
            Value::Object(members) => {
                let rules = members.get("x-kubernetes-validations").and_then(Value::as_array);
                for rule in rules.into_iter().flatten() {
                    found.push(rule["message"].as_str().unwrap().to_owned());
                }
                members.values().for_each(|child| messages(child, found));
            }
            Value::Array(items) => items.iter().for_each(|child| messages(child, found)),
            _ => {}
        }
    }
    let examples = include_str!("rules.rs");
    for crd in safetytwin_crds::all() {
        let mut found = Vec::new();
        messages(&serde_json::to_value(&crd).unwrap(), &mut found);
        for message in found {
            let start = message.split(':').next().unwrap().split(',').next().unwrap();
            assert!(
                examples.contains(start),
                "{}: no example for {message:?}",
                crd.spec.names.kind
            );
        }
    }
}
