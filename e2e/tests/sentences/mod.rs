//! Runs sentences that share one lab, in their order: it comes up before the first and ends after the last.

use std::process::ExitCode;
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};

/// A sentence and what proves it in a world `W`.
pub type Sentence<W> = (&'static str, fn(&W) -> anyhow::Result<()>);

/// Runs what the command line asks for. `up` is not called for a list.
pub fn run<W: Clone + Send + 'static>(
    sentences: Vec<Sentence<W>>,
    up: impl FnOnce() -> anyhow::Result<W>,
    end: impl FnOnce(&W, bool),
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        let listed = |(name, _): Sentence<W>| Trial::test(name, || Ok(()));
        return libtest_mimic::run(&arguments, sentences.into_iter().map(listed).collect()).exit_code();
    }
    let world = match up() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("the lab for the tests did not come up: {error:?}");
            return ExitCode::FAILURE;
        }
    };
    let trials = sentences.into_iter().map(|(name, proof)| {
        let world = world.clone();
        Trial::test(name, move || {
            let start = Instant::now();
            let proved = proof(&world);
            // Behind the sentence, before how it ended: a run of all is long, and its time is looked for here.
            print!("{:.0} s ... ", start.elapsed().as_secs_f64());
            proved.map_err(|error| {
                // At once: a run of all sentences takes long, and its lab may be looked at meanwhile.
                eprintln!("{name}: {error:#}");
                format!("{error:#}").into()
            })
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    end(&world, conclusion.has_failed());
    conclusion.exit_code()
}
