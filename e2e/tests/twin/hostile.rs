//! What a hostile host publishes neither runs anything nor stops the rest.

use anyhow::{Result, ensure};
use safetytwin_e2e::product::twin;

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_unit_with_a_carriage_return_adds_no_command",
        a_unit_with_a_carriage_return_adds_no_command,
    ),
    (
        "an_argument_with_a_newline_runs_nothing",
        an_argument_with_a_newline_runs_nothing,
    ),
    (
        "a_firewall_service_of_the_host_does_not_lock_the_controller_out",
        a_firewall_does_not_lock_out,
    ),
];

fn absent_in_twin(world: &World, path: &str) -> Result<()> {
    let found = twin::guest(&world.lab, twin::NAME)?
        .try_run(&["/usr/bin/test", "-e", path])?
        .success();
    ensure!(!found, "{path} exists in the twin");
    Ok(())
}

fn a_unit_with_a_carriage_return_adds_no_command(world: &World) -> Result<()> {
    let text = counter("x\r[Service]\rExecStartPre=/bin/touch /run/pwned");
    start_on_host(world, "carriage.service", &text)?;
    start_on_host(world, "beside.service", &counter("beside"))?;
    twin::wait_unit(&world.lab, "beside.service", "active")?;
    absent_in_twin(world, "/run/pwned")
}

fn an_argument_with_a_newline_runs_nothing(world: &World) -> Result<()> {
    let line = "cd / && setsid --fork sleep 876543 $'1\\nExecStartPre=/bin/touch /run/pwned2' < /dev/null > /dev/null 2>&1 || true";
    world
        .lab
        .host()
        .run(&format!("bash -c {}", safetytwin_e2e::lab::host::quote(line)))?;
    start_on_host(world, "beside2.service", &counter("beside"))?;
    twin::wait_unit(&world.lab, "beside2.service", "active")?;
    absent_in_twin(world, "/run/pwned2")
}

fn a_firewall_does_not_lock_out(world: &World) -> Result<()> {
    // A rule set of the host that lets nobody in; harmless on the host itself until it is loaded.
    let rules = "table inet lockout { chain input { type filter hook input priority 0; policy drop; ct state established accept } }\n";
    world.lab.host().write("/etc/lockout.nft", rules)?;
    world.lab.host().run("systemctl mask --now --quiet nftables.service; systemctl unmask --quiet nftables.service; systemctl enable --quiet nftables.service")?;
    let text = "[Unit]\nDescription=firewall\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/nft list ruleset\n[Install]\nWantedBy=multi-user.target\n";
    start_on_host(world, "host-firewall.service", text)?;
    start_on_host(world, "after-firewall.service", &counter("after the firewall"))?;
    twin::wait_unit(&world.lab, "after-firewall.service", "active")?;
    twin::wait_settled(&world.lab)?;
    Ok(())
}
