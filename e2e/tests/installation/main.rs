//! The chart as a user installs it, with the images of this build on a real node: its pods run there, and it goes
//! only when nothing would be left behind.
//!
//! One lab serves all sentences, which run in this order. No twin's VM is needed for them.

mod agent;
mod controller;
mod package;
#[path = "../sentences/mod.rs"]
mod sentences;
mod uninstall;
mod world;

use std::process::ExitCode;

use world::World;

/// A sentence and what proves it.
type Sentence = sentences::Sentence<World>;

fn main() -> ExitCode {
    let all = [
        agent::SENTENCES,
        package::SENTENCES,
        controller::SENTENCES,
        uninstall::SENTENCES,
    ]
    .concat();
    sentences::run(all, World::up, World::end)
}
