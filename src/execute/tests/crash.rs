//! The crash matrix: a process that dies at any effect leaves no trace in the end.
//!
//! The oracle is the clean run: the same end, and the same number of points, file writes and unit
//! jobs, wherever the process died, once or twice.

use super::*;
use crate::execute::points;
use crate::guest::fake::StartFailure;

/// What is run, again and again until it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    FirstApply,
    Apply,
    Restore,
    Prune,
}

impl Scenario {
    async fn prepare(self) -> World {
        let world = World::new().await;
        world.guest.fail_start("bad.service", StartFailure::Job);
        world.guest.fail_start("worse.service", StartFailure::Process);
        if self != Self::FirstApply {
            world.apply(1, 1, &first()).await.unwrap();
        }
        if matches!(self, Self::Restore | Self::Prune) {
            world.apply(2, 1, &second()).await.unwrap();
        }
        world
    }

    async fn run(self, world: &World, epoch: i64) -> Result<(), ExecuteError> {
        match self {
            Self::FirstApply => world.apply(1, epoch, &first()).await.map(drop),
            Self::Apply => world.apply(2, epoch, &second()).await.map(drop),
            Self::Restore => world.restore(3, epoch, 2).await.map(drop),
            Self::Prune => {
                let names = [point(1).name, point(2).name];
                points::remove(&world.vm, &Pen(world), &names).await
            }
        }
    }
}

/// Runs with the given deaths, then to the end; answers whether every process died as planned.
async fn perform(scenario: Scenario, deaths: &[(u64, Moment)]) -> (bool, End, Effects) {
    let world = scenario.prepare().await;
    let mut all_died = true;
    let mut epoch = 2;
    for death in deaths {
        world.start_process(Some(*death));
        let result = scenario.run(&world, epoch).await;
        assert!(result.is_ok() || world.died(), "{scenario:?} {deaths:?}: {result:?}");
        all_died &= world.died();
        epoch += 1;
    }
    world.start_process(None);
    let result = scenario.run(&world, epoch).await;
    assert!(result.is_ok(), "{scenario:?} {deaths:?}: {result:?}");
    (all_died, world.end().await, world.effects())
}

async fn every_single_death(scenario: Scenario) -> u64 {
    let (_, end, effects) = perform(scenario, &[]).await;
    for n in 1.. {
        for moment in [Moment::Before, Moment::After] {
            let (died, after, counted) = perform(scenario, &[(n, moment)]).await;
            assert_eq!(after, end, "{scenario:?} died {moment:?} effect {n}");
            assert_eq!(counted, effects, "{scenario:?} died {moment:?} effect {n}");
            if !died {
                return n - 1;
            }
        }
    }
    0
}

async fn every_pair_of_deaths(scenario: Scenario) {
    let (_, end, effects) = perform(scenario, &[]).await;
    for n in 1.. {
        let (died, ..) = perform(scenario, &[(n, Moment::Before)]).await;
        if !died {
            return;
        }
        for first in [Moment::Before, Moment::After] {
            for m in 1.. {
                let mut second_died = false;
                for second in [Moment::Before, Moment::After] {
                    let deaths = [(n, first), (m, second)];
                    let (died, after, counted) = perform(scenario, &deaths).await;
                    assert_eq!(after, end, "{scenario:?} {deaths:?}");
                    assert_eq!(counted, effects, "{scenario:?} {deaths:?}");
                    second_died |= died;
                }
                if !second_died {
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_that_dies_at_any_effect_ends_like_one_that_does_not() {
    assert!(every_single_death(Scenario::FirstApply).await > 20);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_dies_at_any_effect_ends_like_one_that_does_not() {
    assert!(every_single_death(Scenario::Apply).await > 25);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_dies_twice_at_any_two_effects_ends_like_one_that_does_not() {
    every_pair_of_deaths(Scenario::Apply).await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_dies_at_any_effect_ends_like_one_that_does_not() {
    assert!(every_single_death(Scenario::Restore).await > 8);
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_dies_twice_ends_like_one_that_does_not() {
    every_pair_of_deaths(Scenario::Restore).await;
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_dies_at_any_effect_ends_like_one_that_does_not() {
    assert!(every_single_death(Scenario::Prune).await > 3);
}
