//! The whole product on real parts: a real host changes, its twin follows.
//!
//! One lab serves all sentences, which run in this order: it is brought up before the first and ended after the
//! last. What a failed run leaves (logs, objects) is kept and named.

mod adopting;
mod agreeing;
mod containers;
mod faults;
mod following;
mod hostile;
mod outages;
mod reaching;
mod refusals;
mod restoring;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use world::World;

/// A sentence and what proves it.
type Sentence = (&'static str, fn(&World) -> anyhow::Result<()>);

/// Sentences that were seen to hold on real parts. The others are shown as ignored until they were; run them with
/// `cargo test -p safetytwin-e2e --test twin -- --include-ignored`.
const SEEN: &[&str] = &[
    "a_unit_written_on_the_host_runs_in_the_twin",
    "each_change_has_its_snapshot_first",
    "an_edited_unit_is_changed_and_nothing_else_restarts",
    "the_same_change_made_twice_has_two_snapshots",
    "a_service_that_cannot_start_in_the_twin_is_named_and_the_others_go_on",
    "a_removed_unit_leaves_the_twin_after_a_second_observation",
    "a_controller_restarted_between_beats_does_nothing",
    "an_independent_process_runs_in_the_twin",
    "a_unit_with_a_carriage_return_adds_no_command",
    "an_argument_with_a_newline_runs_nothing",
    "a_firewall_service_of_the_host_does_not_lock_the_controller_out",
    "a_controller_killed_in_an_apply_finishes_it_once",
    "a_twin_rebooted_runs_the_same_services",
    "a_namespace_that_the_class_does_not_allow_is_refused",
    "a_missing_class_is_named_and_heals",
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let sentences: Vec<Sentence> = [
        following::SENTENCES,
        reaching::SENTENCES,
        agreeing::SENTENCES,
        containers::SENTENCES,
        hostile::SENTENCES,
        faults::SENTENCES,
        outages::SENTENCES,
        refusals::SENTENCES,
        adopting::SENTENCES,
        restoring::SENTENCES,
    ]
    .concat();
    if arguments.list {
        return libtest_mimic::run(&arguments, sentences.into_iter().map(listed).collect()).exit_code();
    }
    let world = match World::up() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("the lab for the tests did not come up: {error:?}");
            return ExitCode::FAILURE;
        }
    };
    let trials = sentences.into_iter().map(|(name, proof)| {
        let world = world.clone();
        Trial::test(name, move || {
            proof(&world).map_err(|error| {
                // At once: a run of all sentences takes long, and its lab may be looked at meanwhile.
                eprintln!("{name}: {error:#}");
                format!("{error:#}").into()
            })
        })
        .with_ignored_flag(!SEEN.contains(&name))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    world.end(conclusion.has_failed());
    conclusion.exit_code()
}

fn listed((name, _): Sentence) -> Trial {
    Trial::test(name, || Ok(())).with_ignored_flag(!SEEN.contains(&name))
}
