//! What is asked when something changes, and when nothing does.

use std::collections::HashMap;
use std::sync::Arc;

use safetytwin_crds::item::RunClass;
use zbus::Variant;

use super::*;

#[tokio::test]
async fn the_first_look_asks_about_what_runs_and_two_looks_without_a_change_ask_nothing() {
    let mut host = Host::new().await;
    let first = host.look(Scope::Audit).await.unwrap();
    assert_eq!(
        host.systemd.asked(),
        [
            "GetAll db.service",
            "GetAll manager",
            "GetAll web.service",
            "ListUnits"
        ]
    );
    for _ in 0..2 {
        assert_eq!(host.look(Scope::Changes).await.unwrap(), first);
    }
    assert_eq!(host.systemd.asked(), [""; 0]);
    let states = ["web", "db", "idle"].map(|name| {
        let item = item(&first, &format!("{name}.service")).unwrap();
        (item.run, item.enablement)
    });
    assert_eq!(
        states,
        [
            (RunClass::Up, "enabled".to_owned()),
            (RunClass::Up, "disabled".to_owned()),
            (RunClass::Down, "disabled".to_owned()),
        ]
    );
    assert_eq!(first.gaps, [""; 0]);
}

#[tokio::test]
async fn a_look_about_one_unit_leaves_the_items_of_all_others_the_allocations_they_were() {
    let mut host = Host::new().await;
    let first = host.look(Scope::Audit).await.unwrap();
    host.write(&format!("{ETC}/web.service"), &unit("web, edited"));
    let edited = host.next().await;
    let (Content::Units { items: before, .. }, Content::Units { items: after, .. }) =
        (&*first.content, &*edited.content)
    else {
        panic!("no units");
    };
    let others: Vec<&str> = before
        .iter()
        .zip(after)
        .filter(|(before, after)| !Arc::ptr_eq(before, after))
        .map(|(_, after)| after.name.as_str())
        .collect();
    assert_eq!(others, ["web.service"]);
}

#[tokio::test]
async fn a_look_about_one_unit_tells_what_a_look_at_all_of_them_would() {
    let mut host = Host::looked_at().await;
    for (state, pid) in [("failed", 0), ("active", 11), ("inactive", 0), ("active", 12)] {
        host.systemd.signal_states("web.service", state, pid).await;
        let one = host.next().await;
        assert_eq!(one, host.units.assemble(None), "{state}");
    }
    // It is down when it has been for two seconds, of which nobody tells.
    host.systemd.signal_states("web.service", "inactive", 0).await;
    assert_eq!(item(&host.next().await, "web.service").unwrap().run, RunClass::Up);
    let down = host.next().await;
    assert_eq!(item(&down, "web.service").unwrap().run, RunClass::Down);
    assert_eq!(down, host.units.assemble(None));
}

#[tokio::test]
async fn an_edit_of_one_unit_asks_systemd_about_that_unit_only() {
    let mut host = Host::looked_at().await;
    host.write(&format!("{ETC}/web.service"), &unit("web, edited"));
    let edited = host.next().await;
    let content = item(&edited, "web.service").unwrap().fragment.unwrap().content;
    assert!(content.unwrap().contains("web, edited"));
    assert_eq!(host.systemd.asked(), [""; 0], "the file tells");
    host.systemd.state().units.get_mut("web.service").unwrap().user = "www";
    host.systemd.reload().await;
    let reloaded = host.next().await;
    assert_eq!(
        host.systemd.asked(),
        [
            "GetAll web.service",
            "ListUnitsByPatterns db.service idle.service web.service"
        ]
    );
    let service = item(&reloaded, "web.service").unwrap().service.unwrap();
    assert_eq!(service.user.unwrap().name, "www");
    host.systemd.reload().await;
    host.next().await;
    assert_eq!(
        host.systemd.asked(),
        ["ListUnitsByPatterns db.service idle.service web.service"]
    );
}

#[tokio::test]
async fn an_enablement_made_by_hand_is_seen() {
    let mut host = Host::looked_at().await;
    let link = format!("{ETC}/other.target.requires/idle.service");
    host.link(&link, "../idle.service");
    assert_eq!(enablement(&host.next().await, "idle.service"), "enabled");
    std::fs::remove_file(host.path(&link)).unwrap();
    assert_eq!(enablement(&host.next().await, "idle.service"), "disabled");
    host.link("run/systemd/system/other.target.wants/idle.service", "x");
    // /run/systemd was not there to be watched; the audit finds what is below.
    let audit = host.look(Scope::Audit).await.unwrap();
    assert_eq!(enablement(&audit, "idle.service"), "enabled-runtime");
    let asked = host.systemd.asked();
    assert!(!asked.iter().any(|a| a.contains("FileState")), "{asked:?}");
}

#[tokio::test]
async fn an_instance_that_is_enabled_is_a_unit_also_while_it_does_not_run() {
    let mut host = Host::new().await;
    host.write(&format!("{LIB}/w@.service"), &unit("worker"));
    host.link(
        &format!("{ETC}/multi-user.target.wants/w@1.service"),
        "/usr/lib/systemd/system/w@.service",
    );
    host.write("etc/systemd/system-preset/1.preset", "disable w@*\n");
    let first = host.look(Scope::Audit).await.unwrap();
    let instance = item(&first, "w@1.service").unwrap();
    assert_eq!(
        (instance.run, instance.preset.as_str()),
        (RunClass::Down, "disabled")
    );
    assert_eq!(
        instance.fragment.unwrap().path,
        "/usr/lib/systemd/system/w@.service"
    );
    assert_eq!(instance.dependencies["WantedBy"], ["multi-user.target"]);
    host.systemd.asked();
    host.write("etc/systemd/system-preset/1.preset", "# none\n");
    let preset = item(&host.next().await, "w@1.service").unwrap().preset;
    assert_eq!(preset, "enabled");
    assert_eq!(host.systemd.asked(), [""; 0]);
}

#[tokio::test]
async fn a_unit_made_and_removed_by_hand_comes_and_goes_without_a_question() {
    let mut host = Host::looked_at().await;
    host.write(&format!("{ETC}/new.service"), &unit("new"));
    host.link(&format!("{ETC}/name.service"), "new.service");
    host.next().await;
    // Nothing follows, so that it is no installation.
    let made = host.next().await;
    assert_eq!(item(&made, "new.service").unwrap().run, RunClass::Down);
    assert_eq!(item(&made, "name.service"), None, "only another name");
    std::fs::remove_file(host.path(&format!("{ETC}/new.service"))).unwrap();
    std::fs::remove_file(host.path(&format!("{ETC}/name.service"))).unwrap();
    assert_eq!(item(&host.next().await, "new.service"), None);
    assert_eq!(host.systemd.asked(), [""; 0]);
}

#[tokio::test]
async fn a_change_of_state_is_taken_from_its_signal() {
    let mut host = Host::looked_at().await;
    host.systemd.signal_states("web.service", "failed", 0).await;
    let failed = host.next().await;
    assert_eq!(item(&failed, "web.service").unwrap().run, RunClass::Failed);
    let Content::Units { failed, .. } = *failed.content else {
        panic!("no units");
    };
    assert_eq!(failed, 1);
    host.systemd.signal_states("web.service", "active", 11).await;
    let up = host.next().await;
    assert_eq!(item(&up, "web.service").unwrap().run, RunClass::Up);
    let observed = up.observed.units.iter().find(|u| u.name == "web.service");
    assert_eq!(observed.unwrap().main_pid, 11);
    assert_eq!(host.systemd.asked(), [""; 0]);
}

#[tokio::test]
async fn a_unit_that_starts_is_read_and_one_that_is_only_loaded_is_not() {
    let mut host = Host::looked_at().await;
    host.systemd.signal_new("idle.service").await;
    host.next().await;
    assert_eq!(host.systemd.asked(), ["ListUnitsByPatterns idle.service"]);
    host.systemd.signal_states("idle.service", "active", 30).await;
    assert_eq!(
        item(&host.next().await, "idle.service").unwrap().run,
        RunClass::Up
    );
    assert_eq!(
        host.systemd.asked(),
        ["GetAll idle.service", "ListUnitsByPatterns idle.service"]
    );
}

#[tokio::test]
async fn a_unit_that_was_unloaded_again_is_not_asked_about() {
    let mut host = Host::looked_at().await;
    host.systemd.signal_new("brief.service").await;
    host.systemd.signal_removed("brief.service").await;
    let looked = host.next().await;
    assert_eq!(host.systemd.asked(), [""; 0]);
    assert_eq!(item(&looked, "brief.service"), None);
}

#[tokio::test]
async fn what_set_property_writes_is_in_force_and_read_at_once() {
    let mut host = Host::looked_at().await;
    host.write(
        "etc/systemd/system.control/web.service.d/50-MemoryMax.conf",
        "[Service]\nMemoryMax=1G\n",
    );
    host.look(Scope::Audit).await.unwrap();
    host.systemd.asked();
    host.write(
        "etc/systemd/system.control/web.service.d/50-MemoryMax.conf",
        "[Service]\nMemoryMax=2G\n",
    );
    host.next().await;
    assert_eq!(host.systemd.asked(), ["GetAll web.service"]);
}

#[tokio::test]
async fn what_only_systemd_can_say_is_asked_once_per_change() {
    let mut host = Host::new().await;
    host.link(&format!("{ETC}/far.service"), "/opt/far.service");
    host.systemd
        .state()
        .enablement
        .insert("far.service".into(), "linked");
    let first = host.look(Scope::Audit).await.unwrap();
    assert_eq!(enablement(&first, "far.service"), "linked");
    let about = |asked: Vec<String>| asked.iter().filter(|a| a.contains("FileState")).count();
    assert_eq!(about(host.systemd.asked()), 1);
    host.write(&format!("{ETC}/web.service"), &unit("edited"));
    host.next().await;
    host.look(Scope::Audit).await.unwrap();
    assert_eq!(about(host.systemd.asked()), 0);
    host.systemd
        .state()
        .enablement
        .insert("far.service".into(), "enabled");
    host.link(&format!("{ETC}/multi-user.target.wants/far.service"), "x");
    assert_eq!(enablement(&host.next().await, "far.service"), "enabled");
    assert_eq!(about(host.systemd.asked()), 1);
}

#[tokio::test]
async fn mounts_and_logins_are_not_asked_about() {
    let mut host = Host::new().await;
    host.write(&format!("{LIB}/known.mount"), "[Mount]\n");
    for name in [
        "known.mount",
        "run-netns-1.mount",
        "kubepods.slice",
        "user@0.service",
        "session-1.scope",
        "ssh@3-10.0.0.1:22-10.0.0.2:50000.service",
    ] {
        host.systemd.load(name, "active", 0);
    }
    host.look(Scope::Audit).await.unwrap();
    let asked = host.systemd.asked();
    let single: Vec<_> = asked.iter().filter(|a| a.starts_with("GetAll")).collect();
    assert_eq!(
        single,
        [
            "GetAll db.service",
            "GetAll known.mount",
            "GetAll manager",
            "GetAll web.service"
        ]
    );
}

#[tokio::test]
async fn a_daemon_reload_seen_half_way_stops_nothing() {
    let mut host = Host::looked_at().await;
    // Between the two waves of a reload: all units went, none is back yet.
    for name in ["db.service", "web.service"] {
        host.systemd.signal_removed(name).await;
    }
    let half_way = host.next().await;
    assert_eq!(item(&half_way, "web.service").unwrap().run, RunClass::Up);
    assert_eq!(item(&half_way, "db.service").unwrap().run, RunClass::Up);
    assert_eq!(services(&half_way), 2);
}

fn services(look: &Collected) -> i32 {
    match *look.content {
        Content::Units { services, .. } => services,
        _ => panic!("no units"),
    }
}

#[tokio::test]
async fn a_unit_that_was_stopped_and_removed_at_once_is_not_waited_for() {
    let mut host = Host::looked_at().await;
    host.systemd.signal_states("db.service", "inactive", 0).await;
    host.next().await;
    assert!(host.units.items.due().is_some(), "it may be a restart");
    std::fs::remove_file(host.path(&format!("{ETC}/db.service"))).unwrap();
    host.systemd.state().units.remove("db.service");
    host.systemd.signal_removed("db.service").await;
    let mut look = host.next().await;
    while item(&look, "db.service").is_some() {
        look = host.next().await;
    }
    assert_eq!(host.units.items.due(), None);
}

#[tokio::test]
async fn a_service_that_has_ended_is_no_more_counted() {
    let mut host = Host::looked_at().await;
    host.systemd.signal_states("db.service", "inactive", 0).await;
    assert_eq!(services(&host.next().await), 1);
}

#[tokio::test]
async fn a_service_installed_in_steps_is_one_change() {
    let mut host = Host::looked_at().await;
    let before = host.look(Scope::Changes).await.unwrap();
    host.write(&format!("{ETC}/new.service"), &unit("new"));
    let systemd = host.systemd.clone();
    let link = host.path(&format!("{ETC}/multi-user.target.wants/new.service"));
    let steps = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        systemd.reload().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("../new.service", link).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        systemd.signal_states("new.service", "active", 40).await;
    });
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| item(last, "new.service").is_none()) {
        seen.push(host.next().await);
    }
    let installed = seen.pop().unwrap();
    let new = item(&installed, "new.service").unwrap();
    assert_eq!((new.run, new.enablement.as_str()), (RunClass::Up, "enabled"));
    assert_eq!(new.dependencies["WantedBy"], ["multi-user.target"]);
    assert!(seen.iter().all(|step| step.content == before.content));
    steps.await.unwrap();
}

#[tokio::test]
async fn what_a_running_timer_starts_is_on_demand_before_it_ever_ran() {
    let mut host = Host::new().await;
    host.write(&format!("{LIB}/run.service"), &unit("run"));
    host.write(&format!("{LIB}/run.timer"), "[Timer]\nOnCalendar=daily\n");
    host.systemd.load("run.timer", "active", 0);
    let triggers = || HashMap::from([("Triggers", Variant::from(vec!["run.service"]))]);
    host.systemd.state().odd.insert("run.timer".into(), triggers);
    let first = host.look(Scope::Audit).await.unwrap();
    assert_eq!(item(&first, "run.service").unwrap().run, RunClass::OnDemand);
    assert_eq!(item(&first, "idle.service").unwrap().run, RunClass::Down);
    // It runs, ends and is unloaded: nothing of this changes what it is.
    host.systemd.load("run.service", "active", 30);
    host.systemd.signal_new("run.service").await;
    host.systemd.signal_states("run.service", "active", 30).await;
    assert_eq!(
        item(&host.next().await, "run.service").unwrap().run,
        RunClass::OnDemand
    );
    host.systemd.state().units.remove("run.service");
    host.systemd.signal_removed("run.service").await;
    assert_eq!(
        item(&host.next().await, "run.service").unwrap().run,
        RunClass::OnDemand
    );
    // Without its timer it is a service that does not run, after the two seconds in which a timer may be restarted.
    host.systemd.signal_states("run.timer", "inactive", 0).await;
    assert_eq!(
        item(&host.next().await, "run.service").unwrap().run,
        RunClass::OnDemand
    );
    assert_eq!(
        item(&host.next().await, "run.service").unwrap().run,
        RunClass::Down
    );
}
