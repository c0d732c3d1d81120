//! The chart as a user installs it, with the images of this build on a real node: its pods run there, and it goes
//! only when nothing would be left behind.
//!
//! One lab serves all sentences, which run in this order. No twin's VM is needed for them.

mod agent;
mod controller;
mod uninstall;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use world::World;

/// A sentence and what proves it.
type Sentence = (&'static str, fn(&World) -> anyhow::Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let sentences: Vec<Sentence> = [agent::SENTENCES, controller::SENTENCES, uninstall::SENTENCES].concat();
    if arguments.list {
        let listed = |(name, _): Sentence| Trial::test(name, || Ok(()));
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
                // At once: the lab may be looked at meanwhile.
                eprintln!("{name}: {error:#}");
                format!("{error:#}").into()
            })
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    world.end(conclusion.has_failed());
    conclusion.exit_code()
}
