//! The whole product on real parts: a real host changes, its twin follows.
//!
//! One lab serves all sentences, which run in this order: it is brought up before the first and ended after the
//! last. What a failed run leaves (logs, objects) is kept and named.

mod adopting;
mod agreeing;
mod clock;
mod containers;
mod counting;
mod describing;
mod dump;
mod faults;
mod followed;
mod following;
mod guest;
mod hostile;
mod inspected;
mod lists;
mod measuring;
mod outages;
mod planter;
mod processes;
mod properties;
mod reaching;
mod refusals;
mod replaced;
mod restoring;
mod runit;
mod secrets;
mod sections;
#[path = "../sentences/mod.rs"]
mod sentences;
mod shown;
mod world;

use std::process::ExitCode;

use world::World;

/// A sentence and what proves it.
type Sentence = sentences::Sentence<World>;

fn main() -> ExitCode {
    let all = [
        following::SENTENCES,
        reaching::SENTENCES,
        agreeing::SENTENCES,
        sections::SENTENCES,
        describing::SENTENCES,
        measuring::SENTENCES,
        counting::SENTENCES,
        processes::SENTENCES,
        containers::SENTENCES,
        inspected::SENTENCES,
        runit::SENTENCES,
        hostile::SENTENCES,
        secrets::SENTENCES,
        followed::SENTENCES,
        faults::SENTENCES,
        outages::SENTENCES,
        clock::SENTENCES,
        replaced::SENTENCES,
        refusals::SENTENCES,
        guest::SENTENCES,
        adopting::SENTENCES,
        restoring::SENTENCES,
    ]
    .concat();
    sentences::run(all, World::up, World::end)
}
