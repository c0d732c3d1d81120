//! A service manager, or what passes for one on the host's bus, that says what none says.

use std::collections::HashMap;

use zbus::Variant;

use super::systemd::Properties;
use super::*;

fn names(collected: &Collected) -> Vec<String> {
    let Content::Units { items, .. } = &*collected.content else {
        panic!("{collected:?}");
    };
    let mut names: Vec<String> = items.iter().map(|item| item.name.to_string()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_no_name_of_a_unit_is_no_item_and_is_not_asked_about() {
    let mut host = Host::new().await;
    let long = format!("{}.service", "x".repeat(300));
    let bad = [
        "",
        "..",
        ".service",
        "a b.service",
        "a/b.service",
        "../../etc/cron.d/x.service",
        "a\n.service",
        "\u{202e}x.service",
        "x.evil",
        &long,
    ];
    for name in bad {
        host.systemd.load(name, "active", 7);
    }
    let collected = host.look(Scope::Audit).await.unwrap();
    assert_eq!(names(&collected), ["db.service", "idle.service", "web.service"]);
    assert_eq!(
        host.systemd.asked(),
        [
            "GetAll db.service",
            "GetAll manager",
            "GetAll web.service",
            "ListUnits"
        ]
    );
    assert_eq!(collected.gaps, [""; 0]);
    // A signal of one of them is no news.
    host.systemd.signal_states("a b.service", "failed", 9).await;
    let news = timeout(Duration::from_millis(500), host.units.changed()).await;
    assert!(news.is_err());
}

#[tokio::test]
async fn an_answer_of_another_type_is_an_error_that_names_the_call_and_the_next_look_is_whole() {
    for call in ["ListUnits", "GetAll"] {
        let mut host = Host::new().await;
        host.systemd.state().wrong.insert(call);
        let error = host.look(Scope::Audit).await.unwrap_err();
        assert!(error.to_string().contains(call), "{error}");
        host.systemd.state().wrong.clear();
        let collected = host.look(Scope::Audit).await.unwrap();
        assert_eq!(names(&collected).len(), 3, "{call}");
    }
}

/// Each property as something else than it is.
fn other_types() -> Properties {
    let text = || Variant::from("a text");
    let rows = || Variant::from(vec![("a", "b", "c")]);
    HashMap::from([
        ("LoadState", Variant::from(7u64)),
        ("ActiveState", Variant::from(vec!["active"])),
        ("NeedDaemonReload", text()),
        ("MainPID", text()),
        ("NRestarts", Variant::from(-1i64)),
        ("ActiveEnterTimestamp", Variant::from(f64::NAN)),
        ("User", Variant::from(true)),
        ("ExecStart", text()),
        ("ExecStartPre", rows()),
        ("Environment", Variant::from(vec![7u64])),
        ("EnvironmentFiles", rows()),
        ("After", Variant::from(7u64)),
        ("Listen", Variant::from(vec![7u8])),
        ("Paths", Variant::from(vec![("a", 7u64)])),
        ("TimersCalendar", Variant::from(vec![(7u64, 7u64)])),
        ("TimersMonotonic", text()),
        ("MemoryMax", Variant::from(-1i64)),
        ("AllowedCPUs", text()),
        ("DeviceAllow", rows()),
        ("Nice", Variant::from(i32::MIN)),
    ])
}

#[tokio::test]
async fn properties_of_other_types_say_nothing_and_the_unit_is_an_item() {
    let mut host = Host::new().await;
    host.systemd.state().odd.insert("web.service".into(), other_types);
    let collected = host.look(Scope::Audit).await.unwrap();
    let web = item(&collected, "web.service").unwrap();
    let service = web.service.clone().unwrap();
    assert_eq!(service.executables, [""; 0]);
    assert_eq!((service.user, service.environment_names), (None, vec![]));
    assert_eq!(web.limits.get("MemoryMax"), None);
    assert!(
        web.limits.values().all(|value| value.len() < 64),
        "{:?}",
        web.limits
    );
    assert_eq!(names(&collected).len(), 3);
}

/// More of everything than anybody has.
fn huge() -> Properties {
    let many = || (0..100_000).map(|n| format!("a{n}.service")).collect::<Vec<_>>();
    HashMap::from([
        ("Wants", Variant::from(many())),
        ("Environment", Variant::from(many())),
        ("TriggeredBy", Variant::from(many())),
        ("AllowedCPUs", Variant::from(vec![0xff_u8; 1_000_000])),
        ("DisableControllers", Variant::from(many())),
        ("Description", Variant::from("x".repeat(1_000_000))),
    ])
}

#[tokio::test]
async fn of_huge_answers_a_bounded_part_is_kept() {
    let mut host = Host::new().await;
    host.systemd.state().odd.insert("web.service".into(), huge);
    let collected = host.look(Scope::Audit).await.unwrap();
    let web = item(&collected, "web.service").unwrap();
    assert_eq!(web.dependencies.get("Wants"), None);
    let observed = &collected.observed.units;
    let observed = observed.iter().find(|unit| unit.name == "web.service").unwrap();
    assert_eq!(observed.dependencies.get("Wants").count(), 1024);
    assert_eq!(web.limits["AllowedCPUs"], "0-8191");
    assert_eq!(web.limits["DisableControllers"].len(), 4096);
    let bytes = serde_json::to_vec(&web).unwrap().len();
    assert!(bytes < 128 * 1024, "{bytes}");
}
