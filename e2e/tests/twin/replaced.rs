//! Another machine comes under the host's name.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::product::{agent, twin};

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::refusals::wait_reason;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "another_machine_under_the_host_s_name_is_named_and_changes_nothing",
    another_machine_changes_nothing,
)];

const OTHER: &str =
    "cp /etc/machine-id /etc/machine-id.own && tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id";
const OWN: &str = "mv /etc/machine-id.own /etc/machine-id";

fn another_machine_changes_nothing(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let newest = twin::points(&world.lab)?.pop();
    let host = world.lab.host();
    let restart = |identity: &str| host.run(&format!("{identity} && systemctl restart {}", agent::UNIT));
    let outcome = restart(OTHER).and_then(|_| stays_as_it_is(world, newest.as_ref()));
    restart(OWN)?;
    outcome?;
    // The own machine again: the twin follows on.
    twin::wait_unit(&world.lab, "replaced.service", "active")?;
    Ok(())
}

fn stays_as_it_is(world: &World, newest: Option<&String>) -> Result<()> {
    wait_reason(world, "digitaltwin", twin::NAME, "Ready", "HostReplaced")?;
    start_on_host(world, "replaced.service", &counter("on another machine"))?;
    // Longer than it takes to follow.
    std::thread::sleep(Duration::from_secs(25));
    let state = twin::property(&world.lab, "replaced.service", "LoadState")?;
    ensure!(state == "not-found", "the twin follows another machine: {state}");
    let now = twin::points(&world.lab)?.pop();
    ensure!(now.as_ref() == newest, "something was changed");
    Ok(())
}
