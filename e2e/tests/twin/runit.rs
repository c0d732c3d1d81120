//! Services of runit on the host: seen as `sv` sees them, and run in the twin by its systemd.

use std::time::Duration;

use anyhow::Result;
use safetytwin_crds::item::{RunClass, UnitItem};
use safetytwin_crds::section::SectionName;
use safetytwin_e2e::product::twin;

use crate::Sentence;
use crate::dump::{Dump, agree};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "the_agent_says_of_runits_services_what_sv_says",
        the_agent_says_what_sv_says,
    ),
    (
        "a_service_of_runits_runs_in_the_twin_as_a_unit",
        a_service_runs_in_the_twin,
    ),
];

const SERVICES: [&str; 4] = ["agree-up", "agree-down", "agree-once", "agree-loop"];
const DIRECTORY: &str = "mkdir -p /etc/runit/runsvdir/default && ln -sfn default /etc/runit/runsvdir/current";
/// In no service: its processes are nobody's but its own.
const START: &str = "setsid --fork /usr/bin/runsvdir -P /etc/service < /dev/null > /dev/null 2>&1";
const STOP: &str = "pkill -HUP --exact runsvdir; \
    for n in $(seq 100); do pgrep --exact runsv > /dev/null || break; sleep 0.2; done; rm -rf /etc/service/agree-*";

fn script(seconds: u32) -> String {
    format!("#!/bin/sh\nexec 2>&1\nexec /bin/sleep {seconds}\n")
}

/// Writes services and waits until each has a runsv.
fn start(world: &World, services: &[(&str, String)]) -> Result<()> {
    let host = world.lab.host();
    host.run(DIRECTORY)?;
    for (name, script) in services {
        host.write_executable(&format!("/etc/service/{name}/run"), script)?;
    }
    host.run("touch /etc/service/agree-down/down 2> /dev/null || true")?;
    host.run(START)?;
    for (name, _) in services {
        host.run(&format!(
            "until test -p /etc/service/{name}/supervise/ok; do sleep 0.2; done"
        ))?;
    }
    Ok(())
}

/// What `sv status` says: whether the service is to run, and whether it has no file `down`. It names
/// what is usual only where that differs from what is (sv.c of runit 2.1, `svstatus_print`).
fn said(status: &str) -> (bool, bool) {
    match status.contains("(pid ") {
        true => (!status.contains("want down"), !status.contains("normally down")),
        false => (status.contains("want up"), status.contains("normally up")),
    }
}

fn the_agent_says_what_sv_says(world: &World) -> Result<()> {
    let host = world.lab.host();
    let services = SERVICES.map(|name| match name {
        "agree-loop" => (name, "#!/bin/sh\nexec /bin/false\n".to_owned()),
        name => (name, script(7_654_321)),
    });
    start(world, &services)?;
    host.run("sv -w 60 start /etc/service/agree-up && sv -w 60 stop /etc/service/agree-once")?;
    let compared = agree("the agent to agree with sv", Duration::from_secs(120), || {
        differences(world)
    });
    host.run(STOP)?;
    compared?;
    twin::wait_settled(&world.lab).map(|_| ())
}

fn differences(world: &World) -> Result<Vec<String>> {
    let dump = Dump::look(world, "--min-age=0")?;
    let units: Vec<UnitItem> = dump.items(SectionName::Units)?;
    let processes: String = dump.parts(SectionName::Processes).collect();
    let mut differences = Vec::new();
    for name in SERVICES {
        let status = world
            .lab
            .host()
            .try_run(&format!("sv status /etc/service/{name}"))?;
        let unit = format!("runit-{name}.service");
        match units.iter().find(|item| item.name.as_str() == unit) {
            None => differences.push(format!("{name} is not published, sv: {}", status.stdout)),
            Some(item) => {
                let found = (item.run == RunClass::Up, item.enablement == "enabled");
                if found != said(&status.stdout) {
                    differences.push(format!("{name}: {found:?}, sv: {}", status.stdout));
                }
            }
        }
    }
    if processes.contains("7654321") || processes.contains("runsv") {
        differences.push(format!("a supervised process is one of its own: {processes}"));
    }
    Ok(differences)
}

fn a_service_runs_in_the_twin(world: &World) -> Result<()> {
    // The twin's image has the service's script, as one that is built like its host has.
    let plant = format!(
        "mkdir -p /etc/service/agree-twin && printf '%s' '{}' > /etc/service/agree-twin/run && \
         chmod 0755 /etc/service/agree-twin/run",
        script(7_654_322)
    );
    twin::guest(&world.lab, twin::NAME)?.run(&["/bin/sh", "-c", &plant])?;
    start(world, &[("agree-twin", script(7_654_322))])?;
    let unit = "runit-agree-twin.service";
    let ran = twin::wait_unit(&world.lab, unit, "active");
    world.lab.host().run(STOP)?;
    ran?;
    twin::wait_unit(&world.lab, unit, "inactive")?;
    twin::wait_settled(&world.lab).map(|_| ())
}
