//! The agent as the chart's pod, at level full.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use safetytwin_e2e::images;
use safetytwin_e2e::lab::node;
use safetytwin_e2e::wait::{self, Look};
use serde_json::{Value, json};

use crate::Sentence;
use crate::world::{Installed, World, text};

pub const SENTENCES: &[Sentence] = &[
    (
        "the_agent_runs_as_a_pod_on_the_node",
        the_agent_runs_as_a_pod_on_the_node,
    ),
    (
        "only_the_helper_of_the_agent_keeps_a_capability",
        only_the_helper_keeps_a_capability,
    ),
    (
        "the_pods_agent_publishes_what_systemctl_says",
        the_pods_agent_publishes_what_systemctl_says,
    ),
    (
        "a_drop_in_written_on_the_host_is_seen_in_the_pod",
        a_drop_in_is_seen_in_the_pod,
    ),
    (
        "the_pods_agent_publishes_containers_and_processes",
        the_pods_agent_publishes_containers_and_processes,
    ),
    (
        "a_model_server_is_counted_and_named_with_its_model_and_port",
        a_model_server_is_counted_and_named,
    ),
];

/// Longest time for something to be published; a process must be 30 s old.
const LIMIT: Duration = Duration::from_secs(180);

/// Units of every kind of state: running, enabled and on demand, installed only, failed.
const UNITS: &[&str] = &[
    "broken.service",
    "cron.service",
    "dbus.socket",
    "docker.service",
    "idle.service",
    "kubelet.service",
    "ssh.service",
];

fn the_agent_runs_as_a_pod_on_the_node(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    let pods = world.pods("agent")?;
    let [pod] = pods.as_slice() else {
        bail!("the agent has {} pods", pods.len());
    };
    ensure!(text(pod, "/spec/nodeName") == node::NAME, "{pod:#}");
    ensure!(text(pod, "/status/phase") == "Running", "{pod:#}");
    let image = format!("{}/agent:{}", images::REPOSITORY, images::TAG);
    ensure!(text(pod, "/spec/containers/0/image") == image, "{pod:#}");
    ensure!(
        pod.pointer("/status/containerStatuses/0/restartCount") == Some(&json!(0)),
        "{pod:#}"
    );
    wait::until("all sections to be complete", LIMIT, || {
        let head = head(world)?;
        Ok(if text(&head, "/spec/complete") == "5/5" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{:?}", head.pointer("/spec/sections")))
        })
    })
}

/// A program of this name and with these arguments is all that an agent sees of a model server: no model runs here.
fn a_model_server_is_counted_and_named(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    let host = world.lab.host();
    host.write("/usr/local/bin/llama-server", "#!/bin/sh\nexec sleep infinity\n")?;
    let unit =
        "[Service]\nExecStart=/bin/sh -c 'cd / && exec llama-server -m /srv/models/tiny.gguf --port 8099'\n";
    host.write("/etc/systemd/system/answers.service", unit)?;
    host.write(
        "/etc/systemd/system/trains.service",
        "[Service]\nExecStart=/bin/sleep infinity llama-server\n",
    )?;
    host.run(
        "chmod 755 /usr/local/bin/llama-server && systemctl daemon-reload && systemctl start answers trains",
    )?;
    wait::until("the model server in the section ai", LIMIT, || {
        let items = world.section("ai")?;
        let named = json!({"key": "unit/answers.service", "runtime": "llama.cpp", "api": "openai", "run": "Up",
            "model": {"name": "tiny.gguf", "file": "/srv/models/tiny.gguf"},
            "port": {"number": 8099, "evidence": "Declared"}});
        let counted = head(world)?.pointer("/spec/counts/ai") == Some(&json!(1));
        Ok(if items == [named] && counted {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{items:?}"))
        })
    })
}

fn only_the_helper_keeps_a_capability(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    let capabilities = |process: &str| -> Result<String> {
        let line = format!("grep -h ^CapPrm: /proc/$(pgrep --oldest --full '{process}')/status");
        let said = world.lab.host().run(&line)?;
        let bits = said.split_whitespace().nth(1);
        bits.map(str::to_owned)
            .with_context(|| format!("{process} has none: {said}"))
    };
    ensure!(capabilities("[t]win-agent --node-name")? == "0000000000000000");
    // CAP_SYS_PTRACE is bit 19.
    ensure!(capabilities("[t]win-agent-ptrace")? == "0000000000080000");
    Ok(())
}

fn the_pods_agent_publishes_what_systemctl_says(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    wait::until("the published units to be systemctl's", LIMIT, || {
        let published = world.section("units")?;
        for unit in systemctl(world)? {
            let name = unit.get("Id").map_or("", String::as_str);
            let item = find(&published, name)?;
            if let Some(difference) = difference(&unit, item) {
                return Ok(Look::NotYet(format!("{name}: {difference}")));
            }
        }
        let head = head(world)?;
        let counts = head.pointer("/spec/counts").context("the head counts nothing")?;
        for (number, filter) in [("services", "--type=service"), ("failed", "--failed")] {
            let line = format!("systemctl list-units {filter} --plain --no-legend");
            let listed = world.lab.host().run(&line)?;
            if counts.get(number) != Some(&json!(listed.lines().count())) {
                return Ok(Look::NotYet(format!(
                    "{number} in {counts}, systemctl lists {listed}"
                )));
            }
        }
        Ok(Look::Ready(()))
    })
}

fn a_drop_in_is_seen_in_the_pod(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    let file = "/etc/systemd/system/cron.service.d/nice.conf";
    world.lab.host().write(file, "[Service]\nNice=5\n")?;
    wait::until_true("the drop-in to be published", LIMIT, || {
        let published = world.section("units")?;
        let drop_ins = &find(&published, "cron.service")?["dropIns"];
        Ok(drop_ins.as_array().is_some_and(|all| {
            all.iter()
                .any(|one| text(one, "/path") == file && text(one, "/content").contains("Nice=5"))
        }))
    })
}

fn the_pods_agent_publishes_containers_and_processes(world: &World) -> Result<()> {
    world.install(Installed::Agent)?;
    wait::until("the container", LIMIT, || {
        let items = world.section("containers")?;
        Ok(match items.iter().find(|item| text(item, "/name") == "web") {
            Some(_) => Look::Ready(()),
            None => Look::NotYet(json!(items).to_string()),
        })
    })?;
    let process = wait::until("the process", LIMIT, || {
        let items = world.section("processes")?;
        let found = items
            .iter()
            .find(|item| item["argv"] == json!(["sleep", "987654"]));
        Ok(match found {
            Some(item) => Look::Ready(item.clone()),
            None => Look::NotYet(json!(items).to_string()),
        })
    })?;
    // What only the helper can read.
    ensure!(text(&process, "/executable") == "/usr/bin/sleep", "{process:#}");
    ensure!(text(&process, "/workingDirectory") == "/srv", "{process:#}");
    ensure!(process.get("unknown").is_none(), "{process:#}");
    Ok(())
}

fn head(world: &World) -> Result<Value> {
    let said = world
        .lab
        .kubectl(["get", "hoststate", node::NAME, "-o", "json"])?;
    Ok(serde_json::from_str(&said)?)
}

fn find<'a>(items: &'a [Value], name: &str) -> Result<&'a Value> {
    items
        .iter()
        .find(|item| text(item, "/name") == name)
        .with_context(|| format!("{name} is not published"))
}

/// What `systemctl show` says of [`UNITS`], by property.
fn systemctl(world: &World) -> Result<Vec<BTreeMap<String, String>>> {
    let line = format!(
        "systemctl show --property=Id,LoadState,ActiveState,UnitFileState,FragmentPath {}",
        UNITS.join(" ")
    );
    let said = world.lab.host().run(&line)?;
    let unit = |block: &str| {
        let properties = block.lines().filter_map(|line| line.split_once('='));
        properties
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let units: Vec<BTreeMap<String, String>> = said.trim().split("\n\n").map(unit).collect();
    ensure!(units.len() == UNITS.len(), "{said}");
    Ok(units)
}

/// How an item differs from what systemctl says of its unit.
fn difference(unit: &BTreeMap<String, String>, item: &Value) -> Option<String> {
    let property = |name: &str| unit.get(name).map_or("", String::as_str);
    let run = match property("ActiveState") {
        "active" => "Up",
        "failed" => "Failed",
        _ => "Down",
    };
    [
        ("/loadState", property("LoadState")),
        ("/enablement", property("UnitFileState")),
        ("/fragment/path", property("FragmentPath")),
        ("/run", run),
    ]
    .into_iter()
    .find(|(path, said)| merged(text(item, path)) != merged(said))
    .map(|(path, said)| format!("{path} is {:?}, systemctl says {said:?}", text(item, path)))
}

/// The path by which a file below `/usr/lib` goes where `/lib` is a link to it.
fn merged(path: &str) -> &str {
    match path.strip_prefix("/usr") {
        Some(below) if below.starts_with("/lib/") => below,
        _ => path,
    }
}
