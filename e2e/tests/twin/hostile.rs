//! What a hostile host publishes neither runs anything nor stops the rest.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_crds::twinclass::PointMode;
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait::{self, Look};

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
    (
        "a_service_that_cuts_the_controller_off_is_taken_back_and_named",
        a_service_that_cuts_the_controller_off_is_taken_back,
    ),
    (
        "a_service_that_was_enabled_before_it_cuts_the_controller_off_is_taken_back_too",
        a_service_that_was_enabled_before_it_cuts_off_is_taken_back,
    ),
    (
        "a_hostile_unit_name_runs_nothing_and_stops_nothing",
        a_hostile_unit_name_runs_nothing_and_stops_nothing,
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
    let line = "cd / && setsid --fork sh -c 'sleep 876543; :' x $'1\\nExecStartPre=/bin/touch /run/pwned2\\n' < /dev/null > /dev/null 2>&1";
    world
        .lab
        .host()
        .run(&format!("bash -c {}", safetytwin_e2e::lab::host::quote(line)))?;
    // The same process, with its newlines, and nothing beside it.
    let shell = "tr '\\000' '|' < /proc/$(pgrep --oldest --full 'sleep 876543; :')/cmdline";
    let arguments = "sh|-c|sleep 876543; :|x|1\nExecStartPre=/bin/touch /run/pwned2\n|";
    wait::until("the process in the twin", Duration::from_secs(240), || {
        let guest = twin::guest(&world.lab, twin::NAME)?;
        let seen = guest.try_run(&["/bin/sh", "-c", shell])?;
        Ok(if seen.stdout.ends_with(arguments) {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{:?} {:?}", seen.stdout, seen.stderr))
        })
    })?;
    absent_in_twin(world, "/run/pwned2")
}

fn firewall(program: &str, argument: &str) -> String {
    format!(
        "[Unit]\nDescription=firewall\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={program} {argument}\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

/// The controller still works on the twin, and the twin says what it left out and why.
fn is_named(world: &World, item: &str, reason: &str) -> Result<()> {
    wait::until(
        &format!("{item} to be {reason}"),
        Duration::from_secs(480),
        || {
            let twin = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
            twin::expect_not_replicated(&twin, item, reason).map(Look::Ready)
        },
    )
}

fn goes_on(world: &World, item: &str, reason: &str, next: &str) -> Result<()> {
    is_named(world, item, reason)?;
    follows(world, next)
}

fn follows(world: &World, next: &str) -> Result<()> {
    start_on_host(world, next, &counter("after the firewall"))?;
    twin::wait_unit(&world.lab, next, "active")?;
    twin::wait_settled(&world.lab)?;
    Ok(())
}

fn a_firewall_does_not_lock_out(world: &World) -> Result<()> {
    start_on_host(
        world,
        "host-firewall.service",
        &firewall("/usr/sbin/nft", "list ruleset"),
    )?;
    goes_on(
        world,
        "unit/host-firewall.service",
        "Protected",
        "after-firewall.service",
    )
}

/// A service that drops what comes to the twin. Lets the lab reach the host; a shell hides it from the list of
/// firewalls.
fn lockdown(name: &str) -> String {
    let rules = format!(
        "table inet {name} {{ chain input {{ type filter hook input priority 0; policy drop; \
         ip saddr 10.77.0.0/24 accept; iifname lo accept; iifname cni0 accept; }}; }}"
    );
    firewall("/bin/sh", &format!("-c \"exec nft '{rules}'\""))
}

fn a_service_that_cuts_the_controller_off_is_taken_back(world: &World) -> Result<()> {
    // With its memory the guest is back in seconds; the next sentence is the one that boots.
    twin::set_point_mode(&world.lab, PointMode::Full)?;
    start_on_host(world, "lockdown.service", &lockdown("lockdown"))?;
    let outcome = goes_on(
        world,
        "unit/lockdown.service",
        "FailedToApply",
        "after-lockdown.service",
    );
    let left = leaves(world, "lockdown");
    outcome.and(left)
}

fn a_service_that_was_enabled_before_it_cuts_off_is_taken_back(world: &World) -> Result<()> {
    let unit = "latelock.service";
    world
        .lab
        .host()
        .write(&format!("/etc/systemd/system/{unit}"), lockdown("latelock"))?;
    world.lab.host().run(&format!(
        "systemctl daemon-reload && systemctl enable --quiet {unit}"
    ))?;
    wait::until("its file in the twin", Duration::from_secs(120), || {
        let question = ["/usr/bin/systemctl", "is-enabled", unit];
        let state = twin::guest(&world.lab, twin::NAME)?.try_run(&question)?.stdout;
        Ok(match state.trim() {
            "enabled" => Look::Ready(()),
            other => Look::NotYet(other.to_owned()),
        })
    })?;
    twin::set_point_mode(&world.lab, PointMode::Disk)?;
    world.lab.host().run(&format!("systemctl start {unit}"))?;
    // The point before the start boots into the same silence: the one before it is gone back to.
    let outcome = is_named(world, "unit/latelock.service", "FailedToApply");
    let left = leaves(world, "latelock");
    outcome.and(left)?;
    twin::set_point_mode(&world.lab, PointMode::Auto)?;
    follows(world, "after-latelock.service")
}

/// Takes the service off the host, and waits until it has left the twin: until then another attempt may take the twin
/// back once more.
fn leaves(world: &World, name: &str) -> Result<()> {
    let item = format!("unit/{name}.service");
    let away = format!(
        "systemctl stop {name}.service; systemctl disable --quiet {name}.service; \
         rm /etc/systemd/system/{name}.service; systemctl daemon-reload; nft delete table inet {name}"
    );
    world.lab.host().run(&away)?;
    wait::until(
        &format!("{item} to leave the twin"),
        Duration::from_secs(300),
        || {
            let twin = twin::wait_settled(&world.lab)?;
            Ok(match twin::expect_not_replicated(&twin, &item, "FailedToApply") {
                Ok(()) => Look::NotYet("it is named as FailedToApply".into()),
                Err(_) => Look::Ready(()),
            })
        },
    )
}

fn a_hostile_unit_name_runs_nothing_and_stops_nothing(world: &World) -> Result<()> {
    let host = world.lab.host();
    // What systemd takes as a name, and what it only finds lying there.
    for name in [
        r"a\x2d\x24\x28touch\x20\x2frun\x2fpwned3\x29.service",
        "x..y.service",
    ] {
        host.write(&format!("/etc/systemd/system/{name}"), counter("odd name"))?;
    }
    for name in [
        "$(touch pwned3).service",
        "a\nb;touch pwned3;.service",
        "--help.service",
    ] {
        let path = format!("/etc/systemd/system/{name}");
        host.write(&path, counter("no name at all"))?;
    }
    host.run(r"systemctl daemon-reload && systemctl start 'a\x2d\x24\x28touch\x20\x2frun\x2fpwned3\x29.service' 'x..y.service'")?;
    start_on_host(world, "beside3.service", &counter("beside"))?;
    twin::wait_unit(&world.lab, "beside3.service", "active")?;
    twin::wait_unit(&world.lab, "x..y.service", "active")?;
    for path in ["/run/pwned3", "/pwned3", "/root/pwned3"] {
        absent_in_twin(world, path)?;
    }
    Ok(())
}
