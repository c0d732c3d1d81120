//! The host's clock jumps: order among heads comes from the time since boot, and the controller trusts its own clock.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::lab::node;
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait;

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::refusals::wait_reason;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "a_clock_that_jumps_a_day_forth_and_two_back_loses_nothing_and_causes_nothing",
    a_clock_that_jumps_loses_nothing,
)];

fn a_clock_that_jumps_loses_nothing(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let jumped = jump(world);
    // Back to the time of the machine that the lab runs on.
    let now = jiff::Timestamp::now().as_second();
    world.lab.host().run(&format!("date --set=@{now}"))?;
    jumped?;
    fresh(world)
}

fn jump(world: &World) -> Result<()> {
    let before = twin::changes(&world.lab)?;
    set(world, 1)?;
    fresh(world)?;
    ensure!(
        twin::changes(&world.lab)? == before,
        "the jump was taken for a change"
    );
    set(world, -2)?;
    let unit = "after-the-jump.service";
    start_on_host(world, unit, &counter("the day before yesterday"))?;
    twin::wait_unit(&world.lab, unit, "active")?;
    twin::wait_settled(&world.lab)?;
    fresh(world)?;
    let made: Vec<String> = twin::changes(&world.lab)?.difference(&before).cloned().collect();
    // Written, and started: nothing else.
    ensure!((1..=2).contains(&made.len()), "{made:?}");
    Ok(())
}

/// Sets the host's clock so many days later, and waits for beats that come after.
fn set(world: &World, days: i64) -> Result<()> {
    world.lab.host().run(&format!("date --set='{days} days'"))?;
    let heard = sequence(world)?;
    wait::until_true("the next beats", Duration::from_secs(60), || {
        Ok(sequence(world)? > heard + 1)
    })
}

/// The controller goes on believing what it hears.
fn fresh(world: &World) -> Result<()> {
    wait_reason(world, "digitaltwin", twin::NAME, "HostFresh", "Beating")
}

fn sequence(world: &World) -> Result<i64> {
    let head = twin::object(&world.lab, "hoststate", node::NAME)?;
    Ok(head
        .pointer("/spec/sequence")
        .and_then(serde_json::Value::as_i64)
        .unwrap_or_default())
}
