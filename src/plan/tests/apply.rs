//! What is done for what changed, and for nothing else.

use super::*;

#[test]
fn new_units_are_written_and_started_without_a_reload_and_then_nothing_is_done() {
    let mut twin = Twin::default();
    let items = host(vec![service("a.service"), service("b.service")]);
    let (diff, plan) = twin.apply(&items);
    assert_eq!(kinds(&plan), NEW);
    assert_eq!(summary::short(&diff.changes), "+2 services");
    assert_eq!(summary::long(&diff.changes), "+a.service, +b.service");
    let (diff, plan) = twin.apply(&items);
    assert!(diff.changes.is_empty() && plan.steps.is_empty());
}

#[test]
fn an_edited_unit_is_reloaded_and_restarted_once_and_no_other_unit_stands_in_any_step() {
    let mut twin = Twin::default();
    let mut items = host(vec![service("a.service"), service("b.service")]);
    twin.apply(&items);
    items.units.as_mut().unwrap().items[0].drop_ins = vec![file(
        "/etc/systemd/system/a.service.d/x.conf",
        "[Service]\nNice=5\n",
    )];
    let (diff, plan) = twin.apply(&items);
    assert_eq!(summary::short(&diff.changes), "a.service changed");
    assert_eq!(
        kinds(&plan),
        [
            "point", "lock", "write", "reload", "enable", "activate", "verify", "prove", "record", "unlock"
        ]
    );
    assert_eq!(
        jobs(&plan),
        [UnitJob::Restart {
            unit: "a.service".parse().unwrap(),
            before: "of-a.service".into()
        }]
    );
    let without_record: Vec<_> = plan
        .steps
        .iter()
        .filter(|s| !matches!(s, Step::Record(_)))
        .collect();
    assert!(!format!("{without_record:?}").contains("b.service"));
}

#[test]
fn a_comment_in_a_unit_file_changes_nothing_in_the_twin() {
    let mut twin = Twin::default();
    let mut items = host(vec![service("a.service")]);
    twin.apply(&items);
    let unit = &mut items.units.as_mut().unwrap().items[0];
    let text = unit.fragment.as_ref().unwrap().content.clone().unwrap();
    unit.fragment = Some(file("/etc/systemd/system/a.service", &format!("# note\n{text}")));
    assert!(twin.apply(&items).0.changes.is_empty());
}

#[test]
fn a_service_that_the_host_stopped_is_stopped_without_a_write_or_a_reload() {
    let mut twin = Twin::default();
    let mut items = host(vec![service("a.service")]);
    twin.apply(&items);
    items.units.as_mut().unwrap().items[0].run = RunClass::Down;
    let (_, plan) = twin.apply(&items);
    assert_eq!(
        kinds(&plan),
        ["point", "lock", "activate", "verify", "prove", "record", "unlock"]
    );
    assert_eq!(jobs(&plan), [UnitJob::Stop("a.service".parse().unwrap())]);
}

#[test]
fn an_on_demand_or_stopped_unit_is_written_but_not_started() {
    for run in [RunClass::OnDemand, RunClass::Down] {
        let mut unit = service("a.service");
        unit.run = run;
        let (_, plan) = Twin::default().apply(&host(vec![unit]));
        assert!(
            kinds(&plan).contains(&"write") && jobs(&plan).is_empty(),
            "{run:?}"
        );
    }
}

#[test]
fn a_service_that_failed_on_the_host_may_end_in_any_state() {
    let mut unit = service("a.service");
    unit.run = RunClass::Failed;
    let (_, plan) = Twin::default().apply(&host(vec![unit]));
    let expected = Step::Verify(vec![("a.service".parse().unwrap(), Expect::Any)]);
    assert!(plan.steps.contains(&expected));
}

#[test]
fn instances_share_their_templates_file_until_the_last_one_goes() {
    let instance = |name: &str| {
        let mut unit = service(name);
        unit.fragment = Some(file(
            "/etc/systemd/system/w@.service",
            "[Service]\nExecStart=/usr/bin/w\n",
        ));
        unit
    };
    let mut twin = Twin::default();
    let (_, plan) = twin.apply(&host(vec![instance("w@a.service"), instance("w@b.service")]));
    let written = plan.steps.iter().find_map(|s| match s {
        Step::WriteFiles(files) => Some(files.len()),
        _ => None,
    });
    assert_eq!(written, Some(1));
    let one = host(vec![instance("w@a.service")]);
    twin.apply(&one);
    let (diff, plan) = twin.apply(&one);
    assert_eq!(diff.changes.removed.len(), 1);
    assert!(!kinds(&plan).contains(&"remove"));
}

#[test]
fn two_instances_that_disagree_about_their_template_are_not_both_taken() {
    let instance = |name: &str, text: &str| {
        let mut unit = service(name);
        unit.fragment = Some(file("/etc/systemd/system/w@.service", text));
        unit
    };
    let content = desired(
        &host(vec![
            instance("w@a.service", "[Service]\nExecStart=/bin/a\n"),
            instance("w@b.service", "[Service]\nExecStart=/bin/b\n"),
        ]),
        &spec(),
    );
    assert_eq!(
        (content.items.len(), content.excluded[0].reason),
        (1, Reason::InvalidItem)
    );
}

#[test]
fn a_masked_unit_is_masked_and_an_unmasked_one_unmasked_first() {
    let mut masked = service("a.service");
    masked.load_state = "masked".into();
    masked.enablement = "masked".into();
    let mut twin = Twin::default();
    let (_, plan) = twin.apply(&host(vec![masked]));
    assert!(kinds(&plan).contains(&"mask") && !kinds(&plan).contains(&"write"));
    let mut facts = running("a.service");
    facts.load = Load::Masked;
    facts.active = Active::Inactive;
    facts.file_state = "masked".into();
    twin.units = vec![facts];
    let (_, plan) = twin.apply(&host(vec![service("a.service")]));
    assert_eq!(kinds(&plan)[2..6], ["unmask", "write", "reload", "enable"]);
}

#[test]
fn a_vendor_unit_keeps_its_body_and_survives_its_removal() {
    let mut unit = vendor("nginx.service");
    unit.drop_ins = vec![file(
        "/etc/systemd/system/nginx.service.d/x.conf",
        "[Service]\nNice=5\n",
    )];
    let mut twin = Twin {
        units: vec![running("nginx.service")],
        ..Twin::default()
    };
    let (_, plan) = twin.apply(&host(vec![service("a.service"), unit]));
    assert!(kinds(&plan).contains(&"reload"), "it is loaded already");
    let one = host(vec![service("a.service")]);
    twin.apply(&one);
    let (_, plan) = twin.apply(&one);
    assert!(kinds(&plan).contains(&"remove") && !kinds(&plan).contains(&"stop"));
}

#[test]
fn an_independent_process_becomes_a_service_of_its_own() {
    let mut items = host(Vec::new());
    items.processes = Some(section(vec![process(1, &["worker", "--queue", "a b"])]));
    let (diff, plan) = Twin::default().apply(&items);
    assert_eq!(summary::short(&diff.changes), "process worker added");
    assert_eq!(diff.changes.added[0].id.kind, ItemKind::Process);
    assert_eq!(kinds(&plan), NEW);
}
