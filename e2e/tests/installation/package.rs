//! A machine outside the cluster, with the agent's Debian package: enrolled in one line, published, taken away.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::command::{output, output_within};
use safetytwin_e2e::lab::control_plane::NODE_SERVER;
use safetytwin_e2e::lab::process::built_binary;
use safetytwin_e2e::product::{self, chart, package};
use safetytwin_e2e::wait::{self, Look};
use serde_json::Value;

use crate::Sentence;
use crate::world::{Installed, World, text};

const ACCOUNTS: &str = safetytwin_crds::access::ACCOUNTS;

pub const SENTENCES: &[Sentence] = &[(
    "a_machine_with_the_package_is_enrolled_in_one_line_and_publishes",
    a_machine_with_the_package_is_enrolled,
)];

const HOST: &str = "ext-web-09";
const LIMIT: Duration = Duration::from_secs(180);

fn a_machine_with_the_package_is_enrolled(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    allow(world, true)?;
    let outcome = enrolled(world);
    let away = taken_away(world);
    outcome.and(away)?;
    allow(world, false)
}

/// Whether the chart takes machines outside the cluster.
fn allow(world: &World, yes: bool) -> Result<()> {
    let enabled = format!("enrolled.enabled={yes}");
    let own = ["controller.mode=External", enabled.as_str()];
    chart::install(&world.lab, &[product::AGENT, &own].concat())?;
    let label = "jsonpath={.metadata.labels.safetytwin\\.com/enrolled}";
    let said = world.lab.kubectl(["get", "namespace", ACCOUNTS, "-o", label])?;
    ensure!(said == enabled.trim_start_matches("enrolled.enabled="), "{said}");
    Ok(())
}

fn enrolled(world: &World) -> Result<()> {
    let host = world.lab.host();
    let file = package::of_this_build(&world.lab.prepared().cache)?;
    host.write("/root/safetytwin-agent.deb", std::fs::read(file)?)?;
    host.run("dpkg --install /root/safetytwin-agent.deb")?;
    ensure!(
        !host.try_run("systemctl is-active twin-agent")?.success(),
        "the agent runs before the machine is enrolled"
    );
    let mut enroll = world.lab.command(built_binary("twin")?);
    let invitation = output(enroll.args(["enroll", "web-09", "--server", NODE_SERVER]))?;
    let said = output_within(
        &mut host.command("twin-agent enroll"),
        invitation.as_bytes(),
        LIMIT,
    )?;
    ensure!(said.contains("twin-agent.service runs"), "{said}");
    wait::until("the enrolled host to be complete", LIMIT, || {
        let head = head(world)?;
        let complete = text(&head, "/spec/complete") == "5/5" && text(&head, "/spec/source") == "Enrolled";
        Ok(if complete {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{:?}", head.pointer("/spec/sections")))
        })
    })?;
    // Of root's own only; its main process has no capability.
    let modes = host.run("stat -c %a-%U /var/lib/safetytwin/token /etc/safetytwin/kubeconfig")?;
    ensure!(modes.split_whitespace().eq(["600-root", "600-root"]), "{modes}");
    let held = host.run("grep ^CapPrm: /proc/$(systemctl show -P MainPID twin-agent)/status")?;
    ensure!(
        held.split_whitespace().nth(1) == Some("0000000000000000"),
        "{held}"
    );
    Ok(())
}

fn head(world: &World) -> Result<Value> {
    let all = world.lab.kubectl(["get", "hoststates", "-o", "json"])?;
    let all: Value = serde_json::from_str(&all)?;
    let mut items = all.get("items").and_then(Value::as_array).into_iter().flatten();
    let found = items.find(|item| text(item, "/metadata/name") == HOST);
    Ok(found.cloned().unwrap_or_default())
}

/// As the documentation says, on the machine and in the cluster.
fn taken_away(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.run("dpkg --purge safetytwin-agent; rm -rf /etc/safetytwin /var/lib/safetytwin /root/safetytwin-agent.deb")?;
    ensure!(
        !host
            .try_run("test -e /usr/bin/twin-agent || systemctl is-active twin-agent")?
            .success(),
        "something of the package is left"
    );
    world.lab.kubectl([
        "delete",
        "serviceaccount",
        HOST,
        "-n",
        ACCOUNTS,
        "--ignore-not-found",
    ])?;
    let names = world
        .lab
        .kubectl(["get", "hoststates,hostsections", "-o", "name"])?;
    for name in names.lines().filter(|name| name.contains(HOST)) {
        world.lab.kubectl(["delete", name])?;
    }
    Ok(())
}
