//! Processes that are gone before anybody looks: the kernel tells the agent of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_crds::item::observed::ProcessEvents;
use safetytwin_e2e::wait::{self, Look};

use crate::Sentence;
use crate::dump::Dump;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "processes_that_live_five_milliseconds_are_counted_and_the_source_is_told",
    short_lives_are_counted,
)];

fn short_lives_are_counted(world: &World) -> Result<()> {
    let before = wait::until("the process connector", Duration::from_secs(180), || {
        Ok(match heard(world)? {
            Some(heard) if heard.source == "Connector" => Look::Ready(heard),
            other => Look::NotYet(format!("{other:?}")),
        })
    })?;
    ensure!(before.reason.is_none(), "{before:?}");
    // Enough that what is published, which may be 4 % off, shows all of them.
    let count = before.executed / 4 + 200;
    world
        .lab
        .host()
        .run(&format!("for i in $(seq {count}); do /bin/sleep 0.005; done"))?;
    let expected = (before.executed + count) * 96 / 100;
    wait::until("the processes to be counted", Duration::from_secs(180), || {
        let Some(heard) = heard(world)? else {
            return Ok(Look::NotYet("it publishes".into()));
        };
        Ok(match heard.executed >= expected && heard.ended >= count {
            true => Look::Ready(()),
            false => Look::NotYet(format!("{count} ran after {before:?}: {heard:?}")),
        })
    })
}

/// What the agent published last of starts and ends; none while it publishes.
fn heard(world: &World) -> Result<Option<ProcessEvents>> {
    let events = |dump: Dump| Ok(dump.observed()?.process_events);
    Dump::published(world)?.map_or(Ok(None), events)
}
