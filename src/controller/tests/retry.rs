//! Items that fail, and what trying them again costs.

use std::time::Duration;

use safetytwin_crds::{TwinRestore, TwinRevision, TwinSnapshot};
use serde_json::Value;

use super::end::{Effects, differences};
use super::fate::{Moment, Trouble};
use super::script::Step;
use super::world::{NAMESPACE, World};
use crate::guest::fake::{ChannelLoss, StartFailure};

const HOURS: Duration = Duration::from_secs(3 * 3600);

/// A twin of a host whose db.service does not start in it.
fn with_a_failure() -> World {
    let world = Step::Create.world_before();
    world.machines.guest.fail_start("db.service", StartFailure::Job);
    Step::Create.happen(&world);
    world.settle();
    world
}

/// What retention and history are about: points, their objects, revisions, changes.
fn history(world: &World) -> (u64, usize, usize, usize) {
    let changes = world.twin_status()["changes"].as_array().map_or(0, Vec::len);
    (
        world.effects().points_taken,
        world.server.names::<TwinSnapshot>().len(),
        world.server.names::<TwinRevision>().len(),
        changes,
    )
}

fn attempts_of(world: &World, unit: &str) -> Option<i32> {
    let manifest = world.machines.guest.manifest_on_disk().unwrap();
    let item = manifest.items.iter().find(|i| i.unit.as_str() == unit)?;
    Some(item.failure.as_ref()?.attempts)
}

fn ready(world: &World) -> String {
    condition(&world.twin_status(), "Ready")
}

/// Status and reason.
fn condition(status: &Value, type_: &str) -> String {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|c| c["type"] == type_).unwrap();
    format!(
        "{} {}",
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap()
    )
}

#[test]
fn a_restore_whose_point_cannot_be_loaded_ends_and_the_twin_follows_on() {
    let world = Step::Restore.world_before();
    let target = world
        .server
        .read::<TwinSnapshot>(NAMESPACE, "before-cache")
        .unwrap();
    let vm = world.machines.vm().unwrap();
    vm.break_point(target["status"]["point"].as_str().unwrap());
    Step::Restore.happen(&world);
    world.settle();
    let restore = world.server.read::<TwinRestore>(NAMESPACE, "back").unwrap();
    assert_eq!(condition(&restore["status"], "Restored"), "False RevertFailed");
    assert!(world.twin_status()["operation"].is_null());
    // Not held by it.
    Step::ChangeWhileHeld.happen(&world);
    world.settle();
    assert_eq!(ready(&world), "True Following");
    world.run_for(HOURS);
    assert_eq!(vm.counts().get("revert"), None);
}

#[test]
fn an_item_that_fails_for_hours_takes_no_point_and_writes_no_history() {
    let world = with_a_failure();
    let before = history(&world);
    assert_eq!((before.0, ready(&world).as_str()), (1, "False ItemsFailed"));
    world.run_for(HOURS);
    assert_eq!(history(&world), before);
    let attempts = attempts_of(&world, "db.service").unwrap();
    assert!(attempts >= 6, "{attempts}");
    assert_eq!(world.twin_status()["operation"], serde_json::Value::Null);
}

#[test]
fn an_item_that_can_start_at_last_is_started_without_a_point() {
    let world = with_a_failure();
    let before = history(&world);
    world.machines.guest.heal_starts();
    world.run_for(Duration::from_secs(180));
    assert!(world.machines.guest.active_units().contains("db.service"));
    assert_eq!(ready(&world), "True Following");
    assert_eq!(history(&world), before);
}

#[test]
fn a_retry_that_dies_after_any_effect_is_made_once() {
    let before = with_a_failure();
    before.time.pass(Duration::from_secs(60));
    let clean = before.fork();
    clean.settle();
    let wanted = clean.end();
    assert_eq!(attempts_of(&clean, "db.service"), Some(2));
    for n in 1.. {
        let world = before.fork();
        world.run_controller(Some(Trouble::Death(n, Moment::After)));
        if !world.was_struck() {
            assert!(n > 8, "only {n} effects");
            return;
        }
        let effects = world.last_effects(3);
        world.settle();
        let found = differences(&wanted, &world.end());
        assert!(
            found.is_empty(),
            "died after effect {n} of {effects:?}:\n{}",
            found.join("\n")
        );
    }
}

/// A twin that cache.service was to come to, and cuts off.
fn with_a_culprit(loss: ChannelLoss) -> World {
    let world = Step::Add.world_before();
    world
        .machines
        .guest
        .cut_channel_while_active("cache.service", loss);
    Step::Add.happen(&world);
    world.settle();
    world
}

#[test]
fn an_item_that_cuts_the_twin_off_is_tried_again_from_the_same_point() {
    for loss in [ChannelLoss::New, ChannelLoss::All] {
        let world = with_a_culprit(loss);
        let before = history(&world);
        assert_eq!(ready(&world), "False ItemsFailed");
        world.run_for(HOURS);
        assert_eq!(history(&world), before, "{loss:?}");
        let attempts = attempts_of(&world, "cache.service").unwrap();
        assert!(attempts >= 6, "{loss:?}: {attempts}");
        let active = world.machines.guest.active_units();
        assert!(
            active.contains("api.service") && !active.contains("cache.service"),
            "{loss:?}"
        );
        world.machines.guest.heal_channel();
        world.run_for(2 * HOURS);
        assert_eq!(ready(&world), "True Following", "{loss:?}");
        assert_eq!(history(&world), before, "{loss:?}");
    }
}

#[test]
fn an_addition_that_is_taken_back_and_dies_after_any_effect_is_taken_back_once() {
    let before = Step::Add.world_before();
    let start = || {
        let world = before.fork();
        let guest = &world.machines.guest;
        guest.cut_channel_while_active("cache.service", ChannelLoss::All);
        Step::Add.happen(&world);
        world
    };
    let clean = start();
    clean.settle();
    let wanted = clean.end();
    for n in 1.. {
        let world = start();
        world.run_controller(Some(Trouble::Death(n, Moment::After)));
        if !world.was_struck() {
            assert!(n > 20, "only {n} effects");
            return;
        }
        let effects = world.last_effects(3);
        world.settle();
        let mut end = world.end();
        // What was tried again after a revert is counted again.
        end.effects = Effects {
            points_taken: end.effects.points_taken,
            points_deleted: end.effects.points_deleted,
            ..wanted.effects.clone()
        };
        let found = differences(&wanted, &end);
        assert!(
            found.is_empty(),
            "died after effect {n} of {effects:?}:\n{}",
            found.join("\n")
        );
    }
}
