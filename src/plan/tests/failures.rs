//! What a guest cannot have, retries, interruptions and what stands in.

use super::*;

#[test]
fn an_item_that_the_guest_cannot_have_is_named_and_the_others_go_on() {
    let mut twin = Twin {
        preflight: Some(Preflight {
            executables: BTreeSet::from(["/usr/bin/a".into()]),
            ..Preflight::default()
        }),
        ..Twin::default()
    };
    let items = host(vec![
        service("a.service"),
        service("b.service"),
        vendor("nginx.service"),
    ]);
    let (_, plan) = twin.apply(&items);
    let reasons: Vec<Reason> = plan.failures.iter().map(|f| f.failure.reason).collect();
    assert_eq!(reasons, [Reason::MissingExecutable, Reason::MissingPackage]);
    assert_eq!(jobs(&plan), [UnitJob::Start("a.service".parse().unwrap())]);
    let shown = status::items(&desired(&items, &spec()), &twin.manifest);
    assert_eq!(shown.fraction(), "1/3");
    assert_eq!(shown.not_replicated.len(), 2);

    let (diff, plan) = twin.apply(&items);
    assert!(plan.steps.is_empty(), "not before its time");
    let due = diff.retry_at.unwrap();
    assert!(due > now());
    twin.now = Some(due);
    let (_, plan) = twin.apply(&items);
    assert_eq!(
        kinds(&plan),
        ["lock", "record", "unlock"],
        "a vain attempt takes no point"
    );
    assert_eq!(plan.failures[0].failure.attempts, 2);
    twin.now = Some(twin.apply(&items).0.retry_at.unwrap());
    twin.preflight = None;
    assert_eq!(twin.apply(&items).1.failures, []);
    assert_eq!(
        status::items(&desired(&items, &spec()), &twin.manifest).fraction(),
        "3/3"
    );
}

#[test]
fn a_failed_start_is_recorded_with_its_unit_and_tried_again_later() {
    let mut twin = Twin::default();
    let items = host(vec![service("a.service"), service("b.service")]);
    twin.apply(&items);
    let before = Manifest::default();
    let failed = [(
        "b.service".parse().unwrap(),
        Reason::FailedToStart,
        "exit 1\u{1b}".to_owned(),
    )];
    record_failures(&mut twin.manifest, &before, &failed, now());
    let shown = status::items(&desired(&items, &spec()), &twin.manifest);
    assert_eq!(
        (shown.fraction().as_str(), shown.failed.as_slice()),
        ("1/2", &["unit/b.service".to_owned()][..])
    );
    let (diff, _) = twin.apply(&items);
    assert!(diff.changes.is_empty() && diff.retry_at.is_some());
    items_changed_at_once(&mut twin);
}

/// A unit that was placed, failed to start, and is due again.
fn failed_and_due(twin: &mut Twin) -> HostItems {
    let items = host(vec![service("a.service"), service("b.service")]);
    twin.apply(&items);
    let failed = [(
        "b.service".parse().unwrap(),
        Reason::FailedToStart,
        "exit 1".to_owned(),
    )];
    record_failures(&mut twin.manifest, &Manifest::default(), &failed, now());
    for unit in twin.units.iter_mut().filter(|u| u.name.as_str() == "b.service") {
        unit.active = Active::Failed;
    }
    twin.now = twin.apply(&items).0.retry_at;
    for unit in twin.units.iter_mut().filter(|u| u.name.as_str() == "b.service") {
        unit.active = Active::Failed;
    }
    items
}

const AGAIN: [&str; 6] = ["lock", "activate", "verify", "prove", "record", "unlock"];

#[test]
fn a_retry_that_only_starts_a_unit_again_takes_no_point() {
    let mut twin = Twin::default();
    let items = failed_and_due(&mut twin);
    let (_, plan) = twin.apply(&items);
    assert_eq!(kinds(&plan), AGAIN);
    assert!(plan.without_point);
}

#[test]
fn a_retry_that_comes_with_a_change_takes_a_point() {
    let mut twin = Twin::default();
    let mut items = failed_and_due(&mut twin);
    items.units.as_mut().unwrap().items.push(service("c.service"));
    let (_, plan) = twin.apply(&items);
    assert_eq!(kinds(&plan)[0], "point");
}

#[test]
fn a_retry_that_was_cut_short_takes_no_point_either() {
    let mut twin = Twin::default();
    let items = failed_and_due(&mut twin);
    let resumed = |without_point| Resumed {
        invocations: [("b.service".to_owned(), "old".to_owned())].into(),
        without_point,
        ..Resumed::default()
    };
    twin.resumed = Some(resumed(true));
    let content = desired(&items, &spec());
    let diff = twin.diff(&items, &spec(), &content);
    assert_eq!(kinds(&twin.plan(&diff, &content)), AGAIN);
    twin.resumed = Some(resumed(false));
    assert_eq!(kinds(&twin.plan(&diff, &content))[0], "point");
}

#[test]
fn a_failed_unit_that_keeps_restarting_by_itself_is_looked_at_again_not_believed() {
    let mut twin = Twin::default();
    let items = failed_and_due(&mut twin);
    for unit in twin.units.iter_mut().filter(|u| u.name.as_str() == "b.service") {
        unit.active = Active::Activating;
    }
    let (_, plan) = twin.apply(&items);
    assert_eq!(kinds(&plan), ["lock", "verify", "record", "unlock"]);
}

/// A change on the host is tried at once, whatever waits for its next attempt.
fn items_changed_at_once(twin: &mut Twin) {
    let mut changed = service("b.service");
    changed.fragment = Some(file(
        "/etc/systemd/system/b.service",
        "[Service]\nExecStart=/usr/bin/b -x\n",
    ));
    let (diff, _) = twin.apply(&host(vec![service("a.service"), changed]));
    assert_eq!(diff.changes.changed.len(), 1);
}

#[test]
fn a_newer_renderer_alone_changes_nothing_until_asked() {
    let mut twin = Twin::default();
    let items = host(vec![service("a.service")]);
    twin.apply(&items);
    for item in &mut twin.manifest.items {
        item.renderer -= 1;
        item.rendered_digest = safetytwin_crds::digest::Digest::of(b"older bytes");
    }
    assert!(twin.apply(&items).0.changes.is_empty());
    let mut asking = spec();
    asking.re_render = Some("please".into());
    let content = desired(&items, &asking);
    assert_eq!(twin.diff(&items, &asking, &content).changes.changed.len(), 1);
}

#[test]
fn an_interrupted_apply_restarts_what_it_recorded_and_reloads_only_what_it_owes() {
    let mut twin = Twin::default();
    let mut items = host(vec![service("a.service")]);
    twin.apply(&items);
    items.units.as_mut().unwrap().items[0].drop_ins = vec![file(
        "/etc/systemd/system/a.service.d/x.conf",
        "[Service]\nNice=5\n",
    )];
    items.units.as_mut().unwrap().items.push(service("new.service"));
    let content = desired(&items, &spec());
    twin.resumed = Some(Resumed {
        invocations: [("a.service".to_owned(), "old".to_owned())].into(),
        reload_owed: false,
        ..Resumed::default()
    });
    twin.units = vec![running("a.service"), running("new.service")];
    let diff = twin.diff(&items, &spec(), &content);
    let plan = twin.plan(&diff, &content);
    assert!(!kinds(&plan).contains(&"reload"));
    assert_eq!(
        jobs(&plan),
        [UnitJob::Restart {
            unit: "a.service".parse().unwrap(),
            before: "old".into()
        }],
        "what runs already was started by the first attempt"
    );
}

#[test]
fn accounts_are_made_with_the_hosts_ids_and_unknown_ones_are_named() {
    let account = |name: &str, id| Account {
        name: name.into(),
        id,
        primary_group: None,
    };
    let with_user = |name: &str, user: Account| {
        let mut unit = service(name);
        unit.service.as_mut().unwrap().user = Some(user);
        unit
    };
    let mut twin = Twin {
        preflight: Some(Preflight {
            executables: BTreeSet::from(["/usr/bin/a".into(), "/usr/bin/b".into()]),
            ..Preflight::default()
        }),
        ..Twin::default()
    };
    let known = account("web", Some(998));
    let items = host(vec![
        with_user("a.service", known.clone()),
        with_user("b.service", account("who", None)),
    ]);
    let (_, plan) = twin.apply(&items);
    let made = plan.steps.iter().find_map(|s| match s {
        Step::MakeAccounts(accounts) => Some(accounts.users.clone()),
        _ => None,
    });
    assert_eq!(made, Some(vec![known]));
    assert_eq!(plan.failures[0].failure.reason, Reason::MissingUser);
}

#[test]
fn a_container_runs_with_podman_where_docker_is_missing_and_stays_untouched_then() {
    let mut items = host(Vec::new());
    items.containers = Some(section(vec![container("web")]));
    let content = desired(&items, &spec());
    let mut twin = Twin::default();
    let mut guest = everything(&twin.diff(&items, &spec(), &content));
    guest.engines.remove("docker");
    twin.preflight = Some(guest);
    let (_, plan) = twin.apply(&items);
    assert_eq!(plan.failures, []);
    let text = format!("{:?}", plan.steps);
    assert!(text.contains("/usr/bin/podman start") && !text.contains("/usr/bin/docker"));
    let shown = status::items(&content, &twin.manifest);
    assert_eq!(
        (shown.not_replicated[0].fidelity, shown.not_replicated[0].reason),
        (Fidelity::Substituted, Reason::EngineSubstituted)
    );
    assert!(twin.apply(&items).0.changes.is_empty());
    twin.preflight.as_mut().unwrap().images.clear();
    twin.manifest = Manifest::default();
    assert_eq!(
        twin.apply(&items).1.failures[0].failure.reason,
        Reason::MissingImage
    );
}

#[test]
fn a_service_that_fails_as_on_the_host_is_no_failure() {
    let mut unit = service("a.service");
    unit.run = RunClass::Failed;
    let mut twin = Twin::default();
    twin.apply(&host(vec![unit]));
    let failed = |reason| [("a.service".parse().unwrap(), reason, "exit-code".to_owned())];
    let before = Manifest::default();
    record_failures(&mut twin.manifest, &before, &failed(Reason::FailedToStart), now());
    assert_eq!(twin.manifest.items[0].failure, None);
    record_failures(&mut twin.manifest, &before, &failed(Reason::FailedToApply), now());
    assert!(twin.manifest.items[0].failure.is_some());
}

#[test]
fn an_item_that_is_only_tried_again_is_no_change_of_the_host() {
    let mut twin = Twin {
        preflight: Some(Preflight {
            executables: BTreeSet::from(["/usr/bin/new".into()]),
            ..Preflight::default()
        }),
        ..Twin::default()
    };
    let items = host(vec![service("b.service")]);
    let due = |diff: Diff| diff.retry_at.unwrap();
    twin.apply(&items);
    twin.now = Some(due(twin.apply(&items).0));
    let content = desired(&items, &spec());
    let retries = twin.diff(&items, &spec(), &content).changes;
    assert!(retry::is_only_retries(&retries, &twin.manifest));
    assert!(retry::is_vain(&retries, &twin.manifest, &Preflight::default()));
    let there = everything(&twin.diff(&items, &spec(), &content));
    assert!(
        !retry::is_vain(&retries, &twin.manifest, &there),
        "it can run by now"
    );

    let more = host(vec![service("b.service"), service("new.service")]);
    let both = twin.diff(&more, &spec(), &desired(&more, &spec())).changes;
    assert!(!retry::is_only_retries(&both, &twin.manifest));
    let news = retry::news(&both, &twin.manifest);
    assert_eq!(summary::short(&news), "new.service added");
    assert_eq!(retry::news(&retries, &twin.manifest), retries);
}

#[test]
fn a_process_that_is_left_out_is_named_by_what_it_runs() {
    let mut gone = process(1, &["/opt/worker", "--queue", "mail"]);
    gone.executable_gone = true;
    let mut items = host(Vec::new());
    items.processes = Some(section(vec![gone]));
    let content = desired(&items, &spec());
    let message = &content.excluded[0].message;
    assert!(
        message.starts_with("/opt/worker --queue mail: the file"),
        "{message}"
    );
}
