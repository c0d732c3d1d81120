//! The crash matrix: a process that dies at any effect leaves no trace in the end.
//!
//! The oracle is the clean run: the same end, and the same number of points, file writes and unit
//! jobs, wherever the process died, once or twice.

use super::*;
use crate::execute::points;
use crate::guest::fake::{ChannelLoss, StartFailure};

/// What is run, again and again until it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    FirstApply,
    Apply,
    Restore,
    Prune,
    LostChannel,
    Retry,
}

impl Scenario {
    async fn prepare(self) -> World {
        let mut world = World::new().await;
        world.guest.fail_start("bad.service", StartFailure::Job);
        world.guest.fail_start("worse.service", StartFailure::Process);
        if self != Self::FirstApply {
            world.apply(1, 1, &first()).await.unwrap();
        }
        if self == Self::LostChannel {
            world
                .guest
                .cut_channel_while_active("fw.service", ChannelLoss::All);
        }
        if matches!(self, Self::Restore | Self::Prune | Self::Retry) {
            world.apply(2, 1, &second()).await.unwrap();
        }
        if self == Self::Retry {
            world.now += jiff::SignedDuration::from_secs(61);
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
            Self::LostChannel => world.apply(2, epoch, &with_firewall()).await.map(drop),
            Self::Retry => world.apply(3, epoch, &second()).await.map(drop),
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
        assert!(
            result.is_ok() || world.died(),
            "{scenario:?} {deaths:?}: {result:?}"
        );
        all_died &= world.died();
        epoch += 1;
    }
    world.start_process(None);
    let result = scenario.run(&world, epoch).await;
    assert!(result.is_ok(), "{scenario:?} {deaths:?}: {result:?}");
    (all_died, world.end().await, world.effects())
}

fn with_firewall() -> Content {
    let stems = ["edit", "fw", "gone", "keep", "masked", "off"];
    content(stems.map(|stem| service(&format!("{stem}.service"))).into(), &[])
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
        // Dying before effect n is dying after effect n-1 with its answer read.
        for m in 1.. {
            let mut second_died = false;
            for second in [Moment::Before, Moment::After] {
                let deaths = [(n, Moment::After), (m, second)];
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
async fn a_retry_that_dies_twice_at_any_two_effects_ends_like_one_that_does_not() {
    assert!(every_single_death(Scenario::Retry).await > 6);
    every_pair_of_deaths(Scenario::Retry).await;
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

/// The message says where the silence was noticed, and what is tried again after a revert is counted again.
#[tokio::test(start_paused = true)]
async fn an_apply_that_loses_the_channel_and_dies_at_any_effect_is_taken_back_once_and_for_all() {
    let neutral = |mut end: End| {
        for failure in end.manifest.items.iter_mut().filter_map(|i| i.failure.as_mut()) {
            failure.message.clear();
        }
        if let Some(taken_back) = &mut end.manifest.taken_back {
            taken_back.why.clear();
        }
        end
    };
    let (_, end, effects) = perform(Scenario::LostChannel, &[]).await;
    let end = neutral(end);
    let fw = end.manifest.item(&ItemId::unit("fw.service")).unwrap();
    assert!(fw.failure.is_some());
    for n in 1.. {
        let mut any_died = false;
        for moment in [Moment::Before, Moment::After] {
            let (died, after, counted) = perform(Scenario::LostChannel, &[(n, moment)]).await;
            assert_eq!(neutral(after), end, "died {moment:?} effect {n}");
            assert_eq!(counted.points, effects.points, "died {moment:?} effect {n}");
            any_died |= died;
        }
        if !any_died {
            assert!(n > 15, "only {n} effects");
            return;
        }
    }
}
