//! What leaves a twin, and when.

use super::*;

#[test]
fn a_removed_unit_goes_only_after_a_second_later_observation() {
    let mut twin = Twin::default();
    let both = host(vec![service("a.service"), service("b.service")]);
    let one = host(vec![service("a.service")]);
    twin.apply(&both);
    let (first, plan) = twin.apply(&one);
    assert_eq!(first.waiting, Some(WaitingOn::SecondObservation { items: 1 }));
    assert!(plan.steps.is_empty() && first.changes.kept.len() == 1);
    twin.sequence -= 10;
    assert!(
        twin.apply(&one).0.changes.removed.is_empty(),
        "the same head again confirms nothing"
    );
    let (second, plan) = twin.apply(&one);
    assert_eq!((second.waiting, second.pending), (None, None));
    assert_eq!(
        kinds(&plan),
        [
            "point", "lock", "stop", "disable", "remove", "reload", "prove", "record", "unlock"
        ]
    );
    assert_eq!(twin.manifest.items.len(), 1);
}

#[test]
fn a_host_with_another_boot_id_at_each_beat_is_believed_no_sooner_and_no_more_than_others() {
    let mut twin = Twin::default();
    let all: Vec<_> = (0..10).map(|n| service(&format!("a{n}.service"))).collect();
    twin.apply(&host(all.clone()));
    let nine = host(all[..9].to_vec());
    // Its sequence begins anew with each boot; the first of these heads is looked at twice.
    for (boot, removed) in [("1970", 0), ("1970", 0), ("2106", 1)] {
        (twin.boot, twin.sequence) = (Some(boot), -10);
        assert_eq!(twin.apply(&nine).0.changes.removed.len(), removed, "{boot}");
    }
    let few = host(all[..4].to_vec());
    for boot in ["b", "c", "d", "e"] {
        (twin.boot, twin.sequence) = (Some(boot), -10);
        assert!(
            twin.apply(&few).0.changes.removed.is_empty(),
            "{boot}: five at once"
        );
    }
}

#[test]
fn a_unit_that_comes_back_between_two_observations_is_never_removed() {
    let mut twin = Twin::default();
    let both = host(vec![service("a.service"), service("b.service")]);
    let one = host(vec![service("a.service")]);
    twin.apply(&both);
    twin.apply(&one);
    assert_eq!(twin.apply(&both).0.pending, None);
    assert_eq!(
        twin.apply(&one).0.waiting,
        Some(WaitingOn::SecondObservation { items: 1 })
    );
}

#[test]
fn an_empty_or_partial_or_missing_section_removes_nothing_however_often_it_is_seen() {
    let full = host((0..6).map(|n| service(&format!("a{n}.service"))).collect());
    let mut partial = host(Vec::new());
    partial.units.as_mut().unwrap().state = SectionState::Partial;
    for lacking in [host(Vec::new()), partial, HostItems::default()] {
        let mut twin = Twin::default();
        twin.apply(&full);
        for _ in 0..4 {
            let (diff, plan) = twin.apply(&lacking);
            assert!(diff.changes.removed.is_empty() && plan.steps.is_empty());
            assert_eq!(diff.changes.kept.len(), 6);
        }
    }
}

#[test]
fn a_mass_removal_waits_for_the_word_of_an_administrator() {
    let mut twin = Twin::default();
    twin.apply(&host(
        (0..10).map(|n| service(&format!("a{n}.service"))).collect(),
    ));
    let few = host((0..6).map(|n| service(&format!("a{n}.service"))).collect());
    twin.apply(&few);
    let (diff, _) = twin.apply(&few);
    let Some(WaitingOn::Approval { digest, items: 4 }) = diff.waiting else {
        panic!("{:?}", diff.waiting);
    };
    assert_eq!(diff.pending.unwrap().digest, digest);
    twin.approved = Some("another digest".into());
    assert!(twin.apply(&few).0.changes.removed.is_empty());
    twin.approved = Some(digest.to_string());
    assert_eq!(twin.apply(&few).0.changes.removed.len(), 4);
}

#[test]
fn an_item_that_could_not_be_decoded_is_present() {
    let mut twin = Twin::default();
    twin.apply(&host(vec![service("a.service"), service("b.service")]));
    let mut items = host(vec![service("a.service")]);
    items.units.as_mut().unwrap().refused = vec![RefusedItem {
        name: "b.service".into(),
        why: "no enablement".into(),
    }];
    for _ in 0..3 {
        let (diff, _) = twin.apply(&items);
        assert_eq!((diff.changes.kept.len(), diff.pending), (1, None));
    }
}

#[test]
fn what_the_user_excludes_goes_at_once() {
    let mut twin = Twin::default();
    let items = host(vec![service("a.service"), service("b.service")]);
    twin.apply(&items);
    let mut excluding = spec();
    excluding.replicate.services.as_mut().unwrap().exclude = vec!["b*".into()];
    let content = desired(&items, &excluding);
    assert_eq!(twin.diff(&items, &excluding, &content).changes.removed.len(), 1);
    excluding.replicate.services = None;
    let nothing = HostItems::default();
    let content = desired(&nothing, &excluding);
    assert_eq!(twin.diff(&nothing, &excluding, &content).changes.removed.len(), 2);
}
