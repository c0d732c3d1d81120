//! The host's clock jumps: order among heads comes from the time since boot, and the controller trusts its own clock.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait::{self, Look};

use crate::Sentence;
use crate::following::{counter, start_on_host};
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
    for (days, name) in [(1, "forth"), (-2, "back")] {
        let before = twin::changes(&world.lab)?;
        world.lab.host().run(&format!("date --set='{days} days'"))?;
        let unit = format!("clock-{name}.service");
        start_on_host(world, &unit, &counter(name))?;
        twin::wait_unit(&world.lab, &unit, "active")?;
        twin::wait_settled(&world.lab)?;
        let made: Vec<String> = twin::changes(&world.lab)?.difference(&before).cloned().collect();
        // Written, and started: nothing else.
        ensure!(made.len() <= 2, "{days} days: {made:?}");
        // Beats go on, and are believed to be new.
        let heard = sequence(world)?;
        wait::until_true("the next beats", Duration::from_secs(60), || {
            Ok(sequence(world)? > heard + 1)
        })?;
        fresh(world)?;
    }
    Ok(())
}

/// The controller goes on believing what it hears.
fn fresh(world: &World) -> Result<()> {
    wait::until("a host that is fresh", Duration::from_secs(60), || {
        let twin = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
        let (fresh, reason, message) = twin::condition(&twin, "HostFresh");
        Ok(match fresh.as_str() {
            "True" => Look::Ready(()),
            _ => Look::NotYet(format!("HostFresh={fresh} {reason}: {message}")),
        })
    })
}

fn sequence(world: &World) -> Result<i64> {
    let head = twin::object(&world.lab, "hoststate", twin::NAME)?;
    Ok(head
        .pointer("/spec/sequence")
        .and_then(serde_json::Value::as_i64)
        .unwrap_or_default())
}
