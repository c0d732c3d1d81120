//! A service manager that is slow to answer.

use std::collections::{BTreeSet, HashMap};

use safetytwin_crds::item::RunClass;
use zbus::Variant;

use super::*;

fn silence(host: &Host, name: &str) {
    host.systemd.state().silent.insert(name.to_owned());
}

#[tokio::test]
async fn a_look_that_was_cut_short_goes_on_where_it_was() {
    let mut host = Host::new().await;
    silence(&host, "web.service");
    let cut = timeout(Duration::from_secs(2), host.units.collect(Scope::Audit)).await;
    assert!(cut.is_err());
    assert!(host.systemd.asked().contains(&"GetAll db.service".to_owned()));
    host.systemd.signal_states("db.service", "failed", 0).await;
    host.systemd.state().silent.clear();
    let whole = host.look(Scope::Audit).await.unwrap();
    assert_eq!(host.systemd.asked(), ["GetAll web.service", "ListUnits"]);
    assert_eq!(whole.gaps, [""; 0]);
    let Content::Units { items, failed, .. } = &*whole.content else {
        panic!("no units");
    };
    assert_eq!((items.len(), *failed), (3, 1));
}

#[tokio::test]
async fn what_there_was_no_time_for_is_named_and_read_next() {
    let mut host = Host::new().await;
    host.units.loaded.read_for = Duration::from_millis(500);
    silence(&host, "web.service");
    let partial = host.look(Scope::Audit).await.unwrap();
    assert_eq!(partial.gaps, ["properties not read yet: web.service"]);
    assert!(item(&partial, "db.service").is_some());
    assert_eq!(
        item(&partial, "web.service"),
        None,
        "what it is like is not known"
    );
    host.systemd.state().silent.clear();
    host.systemd.asked();
    // No news is needed.
    let whole = host.next().await;
    assert_eq!(host.systemd.asked(), ["GetAll web.service"]);
    assert_eq!(whole.gaps, [""; 0]);
    assert!(item(&whole, "web.service").is_some());
}

#[tokio::test]
async fn a_change_that_came_while_a_look_failed_is_not_lost() {
    let mut host = Host::looked_at().await;
    silence(&host, "idle.service");
    host.systemd.signal_states("idle.service", "active", 30).await;
    timeout(Duration::from_secs(20), host.units.changed())
        .await
        .unwrap();
    let cut = timeout(Duration::from_secs(1), host.units.collect(Scope::Changes)).await;
    assert!(cut.is_err());
    host.systemd.state().silent.clear();
    let looked = host.look(Scope::Changes).await.unwrap();
    let observed: Vec<_> = looked
        .observed
        .units
        .iter()
        .map(|u| (&*u.name, u.main_pid))
        .collect();
    assert!(observed.contains(&("idle.service", 30)), "{observed:?}");
}

#[tokio::test]
async fn a_unit_that_went_before_it_was_read_is_not_read() {
    let mut host = Host::new().await;
    host.units.loaded.read_for = Duration::from_millis(500);
    silence(&host, "web.service");
    host.look(Scope::Audit).await.unwrap();
    host.systemd.asked();
    // Reading it now would load it again.
    host.systemd.state().units.remove("web.service");
    host.systemd.state().silent.clear();
    host.systemd.signal_removed("web.service").await;
    let looked = host.next().await;
    assert_eq!(host.systemd.asked(), ["ListUnitsByPatterns web.service"]);
    assert_eq!(item(&looked, "web.service").unwrap().run, RunClass::Down);
    assert_eq!(looked.gaps, [""; 0]);
}

#[tokio::test]
async fn an_audit_asks_about_a_third_of_the_units_those_that_were_read_longest_ago() {
    let mut host = Host::new().await;
    for number in 0..4 {
        host.systemd.load(&format!("more-{number}.service"), "active", 30);
        host.write(&format!("{ETC}/more-{number}.service"), &unit("more"));
    }
    host.look(Scope::Audit).await.unwrap();
    host.systemd.asked();
    let mut asked = Vec::new();
    for _ in 0..3 {
        host.look(Scope::Audit).await.unwrap();
        let questions = host.systemd.asked();
        let units = questions.iter().filter(|question| question.ends_with(".service"));
        let units: Vec<String> = units.cloned().collect();
        assert_eq!(units.len(), 2, "{questions:?}");
        asked.extend(units);
    }
    let all: BTreeSet<&String> = asked.iter().collect();
    assert_eq!(all.len(), 6, "each once: {asked:?}");
}

#[tokio::test]
async fn where_nothing_can_be_believed_all_units_are_read_though_an_audit_is_unfinished() {
    let mut host = Host::looked_at().await;
    for name in ["web.service", "db.service"] {
        silence(&host, name);
    }
    let cut = timeout(Duration::from_secs(2), host.units.collect(Scope::Audit)).await;
    assert!(cut.is_err());
    host.systemd.state().silent.clear();
    host.systemd.asked();
    host.units.pending.all = true;
    host.look(Scope::Changes).await.unwrap();
    let questions = host.systemd.asked();
    for name in ["web.service", "db.service"] {
        assert!(questions.contains(&format!("GetAll {name}")), "{questions:?}");
    }
}

#[tokio::test]
async fn other_defaults_of_the_service_manager_have_all_units_read() {
    let mut host = Host::looked_at().await;
    host.systemd.state().odd.insert("manager".to_owned(), || {
        HashMap::from([("DefaultLimitNOFILE", Variant::from(4096u64))])
    });
    host.look(Scope::Audit).await.unwrap();
    let questions = host.systemd.asked();
    assert!(
        questions.contains(&"GetAll web.service".to_owned()),
        "{questions:?}"
    );
    assert!(
        questions.contains(&"GetAll db.service".to_owned()),
        "{questions:?}"
    );
}
