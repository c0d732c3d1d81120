//! A process that dies after any effect leaves no trace in the end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use safetytwin_crds::item::UnitItem;

use super::end::{End, GuestEnd, differences};
use super::fate::{Moment, Trouble};
use super::script::{Step, api, delete_all};
use super::world::{Exit, World};
use crate::plan::samples::service;

/// A step, begun again and again in equal worlds.
struct Trial {
    step: Step,
    before: World,
    wanted: End,
}

impl Trial {
    /// The step without trouble is what all others are measured by.
    fn of(step: Step) -> Self {
        let before = step.world_before();
        let clean = before.fork();
        step.happen(&clean);
        clean.settle();
        let wanted = clean.end();
        Self { step, before, wanted }
    }

    /// A world in which the step has just happened.
    fn begin(&self) -> World {
        let world = self.before.fork();
        self.step.happen(&world);
        world
    }

    /// Runs the step with trouble at every effect in turn; `then` is what happens after, and answers
    /// what is wrong in the end. Answers how many effects there are.
    fn every_effect(&self, trouble: fn(u64) -> Trouble, then: impl Fn(&World) -> Vec<String>) -> u64 {
        let mut wrong = Vec::new();
        for n in 1.. {
            let world = self.begin();
            let run = AssertUnwindSafe(|| world.run_controller(Some(trouble(n))));
            let exit = catch_unwind(run);
            if !world.was_struck() {
                assert!(wrong.is_empty(), "{:?}:\n{}", self.step, wrong.join("\n"));
                return n - 1;
            }
            let effects = world.last_effects(if exit.is_ok() { 3 } else { 12 });
            let found = exit.and_then(|_| catch_unwind(AssertUnwindSafe(|| then(&world))));
            let found = found.unwrap_or_else(|_| vec!["it does not come to rest".to_owned()]);
            if !found.is_empty() {
                let what = format!("{:?} of {effects:?}\n  {}", trouble(n), found.join("\n  "));
                wrong.push(what);
            }
        }
        0
    }
}

fn death(n: u64) -> Trouble {
    Trouble::Death(n, Moment::After)
}

/// Dies after every n-th effect of a step; another process takes it up. Answers how many there are.
fn every_death(step: Step) -> u64 {
    let trial = Trial::of(step);
    trial.every_effect(death, |world| {
        world.settle();
        differences(&trial.wanted, &world.end())
    })
}

#[test]
fn a_twin_whose_making_dies_after_any_effect_is_made_all_the_same() {
    let effects = every_death(Step::Create);
    assert!(effects > 40, "{effects}");
}

#[test]
fn an_edit_that_dies_after_any_effect_is_applied_once() {
    let effects = every_death(Step::Edit);
    assert!(effects > 15, "{effects}");
}

#[test]
fn a_removal_that_dies_after_any_effect_is_carried_out_once() {
    let effects = every_death(Step::Remove);
    assert!(effects > 15, "{effects}");
}

#[test]
fn a_point_on_request_that_dies_after_any_effect_is_taken_once() {
    let effects = every_death(Step::Snapshot);
    assert!(effects > 5, "{effects}");
}

#[test]
fn an_addition_that_dies_after_any_effect_is_applied_once() {
    let effects = every_death(Step::Add);
    assert!(effects > 15, "{effects}");
}

#[test]
fn a_restore_that_dies_after_any_effect_is_executed_once_and_holds() {
    let effects = every_death(Step::Restore);
    assert!(effects > 15, "{effects}");
}

#[test]
fn a_restore_to_a_time_that_dies_after_any_effect_puts_the_revision_on_top_once() {
    let effects = every_death(Step::RestoreAsOf);
    assert!(effects > 25, "{effects}");
}

#[test]
fn a_released_twin_whose_catching_up_dies_after_any_effect_catches_up_once() {
    let effects = every_death(Step::Release);
    assert!(effects > 15, "{effects}");
}

#[test]
fn a_deletion_that_dies_after_any_effect_leaves_nothing_behind() {
    let effects = every_death(Step::Delete);
    assert!(effects > 8, "{effects}");
}

#[test]
fn a_twin_that_goes_with_its_vm_merges_no_point_first() {
    let trial = Trial::of(Step::Delete);
    let before = trial.before.effects().points_deleted;
    assert_eq!(trial.wanted.effects.points_deleted, before);
}

#[test]
fn a_held_twin_does_not_move_when_its_host_does() {
    let trial = Trial::of(Step::ChangeWhileHeld);
    let still = trial.before.end();
    assert_eq!(trial.wanted.guest, still.guest);
    assert_eq!(trial.wanted.vm, still.vm);
    assert_eq!(trial.wanted.effects, still.effects);
}

/// The call whose answer is lost succeeded; the same process goes on.
#[test]
fn a_process_that_does_not_hear_of_an_effect_does_it_once() {
    for step in [Step::Edit, Step::Restore, Step::Delete] {
        let trial = Trial::of(step);
        let fault = |n| Trouble::Fault(n, Moment::After);
        let effects = trial.every_effect(fault, |world| differences(&trial.wanted, &world.end()));
        assert!(effects > 8, "{step:?}: {effects}");
    }
}

#[test]
fn a_process_that_dies_again_and_again_makes_a_twin_in_the_end() {
    let trial = Trial::of(Step::Create);
    for life in [13, 17] {
        let world = trial.begin();
        let mut deaths = 0;
        while world.run_controller(Some(Trouble::Death(life, Moment::After))) == Exit::Died {
            deaths += 1;
            assert!(deaths < 40, "no progress: {:?}", world.last_effects(7));
        }
        assert!(deaths > 2, "{deaths}");
        let found = differences(&trial.wanted, &world.end());
        assert!(
            found.is_empty(),
            "a life of {life} effects:\n{}",
            found.join("\n")
        );
    }
}

/// What the host runs when the next process comes.
fn moved_on() -> [UnitItem; 3] {
    [api(9), service("cache.service"), service("web.service")]
}

/// The guest without what counts operations.
fn content_of(world: &World) -> GuestEnd {
    let mut guest = world.guest_end();
    if let Some(manifest) = &mut guest.manifest {
        (manifest.operation, manifest.revision) = (0, 0);
    }
    guest
}

/// What was begun when a process died and is not among the twin's changes now.
fn unfinished(begun: Option<String>, world: &World) -> Vec<String> {
    let changes = world.twin_status()["changes"].clone();
    let is_there = |snapshot: &String| {
        let mut all = changes.as_array().into_iter().flatten();
        all.any(|change| change["snapshot"] == **snapshot)
    };
    let lost = begun.filter(|snapshot| !is_there(snapshot));
    lost.map(|snapshot| format!("{snapshot} was not finished"))
        .into_iter()
        .collect()
}

#[test]
fn what_was_begun_is_finished_first_when_the_host_moves_on_meanwhile() {
    for step in [Step::Edit, Step::Remove] {
        let trial = Trial::of(step);
        let clean = trial.begin();
        clean.settle();
        clean.host_runs(&moved_on());
        clean.settle();
        let wanted = content_of(&clean);
        trial.every_effect(death, |world| {
            let begun = world.twin_status()["operation"]["snapshotName"]
                .as_str()
                .map(str::to_owned);
            world.host_runs(&moved_on());
            world.settle();
            let mut wrong = unfinished(begun, world);
            let found = content_of(world);
            if found != wanted {
                wrong.push(format!("wanted {wanted:?}\n  found {found:?}"));
            }
            wrong
        });
    }
}

#[test]
fn a_twin_that_is_deleted_while_an_operation_is_cut_short_goes_all_the_same() {
    for step in [Step::Edit, Step::Snapshot, Step::Restore] {
        let trial = Trial::of(step);
        trial.every_effect(death, |world| {
            delete_all(world);
            world.settle();
            let end = world.end();
            let mut left: Vec<String> = end.objects.into_keys().collect();
            left.retain(|name| !name.starts_with("hoststates/"));
            if end.vm.remains != (false, false, false) {
                left.push(format!("{:?}", end.vm));
            }
            left
        });
    }
}
