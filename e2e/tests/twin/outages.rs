//! The agent cut short, cut off, or telling less than there is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_e2e::command::output;
use safetytwin_e2e::lab::node;
use safetytwin_e2e::lab::process::built_binary;
use safetytwin_e2e::product::{agent, twin};
use safetytwin_e2e::wait::{self, Look};
use serde_json::{Value, json};

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "an_agent_killed_between_section_and_head_leaves_the_old_state_readable",
        an_agent_killed_between_section_and_head,
    ),
    (
        "an_agent_without_the_api_for_a_minute_loses_nothing",
        an_agent_without_the_api_loses_nothing,
    ),
    (
        "an_emptied_or_truncated_host_state_removes_nothing",
        an_emptied_or_truncated_host_state_removes_nothing,
    ),
];

/// Refuses heads of agents that name other units than DIGEST, and nothing else.
const NO_NEWS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-news}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [safetytwin.com], apiVersions: ['*'], resources: [hoststates], operations: [CREATE, UPDATE]}
  validations:
    - expression: object.spec.sections.exists(s, s.name == 'units' && s.parts[0].digest == 'DIGEST')
      message: no news for a moment
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-news}
spec: {policyName: no-news, validationActions: [Deny]}
";

fn head(world: &World) -> Result<Value> {
    let text = world
        .lab
        .kubectl(["get", "hoststate", node::NAME, "-o", "json"])?;
    serde_json::from_str(&text).context("kubectl printed no JSON")
}

/// Versions of all sections: another one after a write.
fn section_versions(world: &World) -> Result<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion} {end}";
    world.lab.kubectl(["get", "hostsections", "-o", path])
}

/// The units that a reader gets now.
fn published_units(world: &World) -> Result<String> {
    let mut show = world.lab.command(built_binary("twin")?);
    output(show.args(["host", "show", node::NAME, "--section", "units", "-o", "json"]))
}

/// Puts the policy in place and waits until it works.
fn refuse_news(world: &World) -> Result<()> {
    let now = head(world)?;
    let sections = now.pointer("/spec/sections").and_then(Value::as_array);
    let units = sections
        .into_iter()
        .flatten()
        .find(|s| s.get("name") == Some(&json!("units")));
    let digest = units.and_then(|s| s.pointer("/parts/0/digest")?.as_str());
    let policy = NO_NEWS.replace("DIGEST", digest.context("the head names no units")?);
    world.lab.kubectl_with(["apply", "-f", "-"], &policy)?;
    // A beat falls between looking and writing now and then: each try starts from the head as it is.
    wait::until("heads with news to be refused", Duration::from_secs(90), || {
        let mut other = head(world)?;
        if let Some(digest) = other.pointer_mut("/spec/sections/0/parts/0/digest") {
            *digest = json!("0".repeat(32));
        }
        let tried = world
            .lab
            .kubectl_with(["replace", "--dry-run=server", "-f", "-"], &other.to_string());
        Ok(match tried {
            Ok(_) => Look::NotYet("a head with news is accepted".into()),
            Err(error) if format!("{error:#}").contains("no news for a moment") => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
}

fn allow_news(world: &World) -> Result<()> {
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        world
            .lab
            .kubectl(["delete", kind, "no-news", "--ignore-not-found"])?;
    }
    Ok(())
}

fn an_agent_killed_between_section_and_head(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let outcome = refuse_news(world).and_then(|()| killed_between(world));
    allow_news(world)?;
    world
        .lab
        .host()
        .run(&format!("systemctl start {}", agent::UNIT))?;
    outcome?;
    twin::wait_unit(&world.lab, "between.service", "active")?;
    Ok(())
}

fn killed_between(world: &World) -> Result<()> {
    let before = section_versions(world)?;
    start_on_host(world, "between.service", &counter("between section and head"))?;
    wait::until_true("a section without its head", Duration::from_secs(90), || {
        Ok(section_versions(world)? != before)
    })?;
    let unit = agent::UNIT;
    let kill = format!("systemctl kill --signal=KILL {unit}; systemctl stop {unit}");
    world.lab.host().run(&kill)?;
    let units = published_units(world)?;
    ensure!(units.contains("first.service"), "the old state is not readable");
    ensure!(
        !units.contains("between.service"),
        "the new state shows without its head"
    );
    Ok(())
}

/// Lets nothing of the host reach the API server while `work` runs.
fn without_api(world: &World, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let host = world.lab.host();
    let rules = "table inet outage { chain output { type filter hook output priority 0; policy accept; tcp dport 6443 drop; }; }";
    host.run(&format!("nft '{rules}'"))?;
    let outcome = work();
    host.run("nft delete table inet outage")?;
    outcome
}

fn an_agent_without_the_api_loses_nothing(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let before = twin::changes(&world.lab)?;
    without_api(world, || {
        start_on_host(world, "passing.service", &counter("here and gone"))?;
        start_on_host(world, "lasting.service", &counter("still here"))?;
        world.lab.host().run("systemctl disable --now --quiet passing.service; rm /etc/systemd/system/passing.service; systemctl daemon-reload")?;
        wait::until(
            "the twin to say that its host is silent",
            Duration::from_secs(90),
            || {
                let (fresh, reason, message) =
                    twin::condition(&twin::object(&world.lab, "digitaltwin", twin::NAME)?, "HostFresh");
                Ok(if fresh == "False" {
                    Look::Ready(())
                } else {
                    Look::NotYet(format!("HostFresh={fresh} {reason}: {message}"))
                })
            },
        )?;
        // The outage lasts a minute in all.
        std::thread::sleep(Duration::from_secs(25));
        Ok(())
    })?;
    twin::wait_unit(&world.lab, "lasting.service", "active")?;
    twin::wait_settled(&world.lab)?;
    ensure!(twin::property(&world.lab, "passing.service", "LoadState")? == "not-found");
    let made: Vec<String> = twin::changes(&world.lab)?.difference(&before).cloned().collect();
    ensure!(made.len() <= 2, "one outage made {made:?}");
    Ok(())
}

/// Writes a head in the agent's place: the units section changed, the sequence higher.
fn write_head(world: &World, change: impl Fn(&mut Value)) -> Result<()> {
    let mut head = head(world)?;
    let sequence = head
        .pointer("/spec/sequence")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    if let Some(slot) = head.pointer_mut("/spec/sequence") {
        *slot = json!(sequence + 1);
    }
    let sections = head.pointer_mut("/spec/sections").and_then(Value::as_array_mut);
    let units = sections
        .into_iter()
        .flatten()
        .find(|s| s.get("name") == Some(&json!("units")));
    change(units.context("the head has no section units")?);
    world
        .lab
        .kubectl_with(["replace", "-f", "-"], &head.to_string())?;
    // Longer than the controller needs to look and, if it were wrong, to act.
    std::thread::sleep(Duration::from_secs(12));
    for unit in ["first.service", "second.service", "third.service"] {
        let state = twin::property(&world.lab, unit, "ActiveState")?;
        ensure!(state == "active", "{unit} is {state} in the twin");
    }
    Ok(())
}

fn an_emptied_or_truncated_host_state_removes_nothing(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    // An attempt of an item that failed before takes no point and may fall into this time.
    let newest = twin::points(&world.lab)?.pop();
    let host = world.lab.host();
    host.run(&format!("systemctl stop {}", agent::UNIT))?;
    let outcome = write_broken_heads(world);
    host.run(&format!("systemctl start {}", agent::UNIT))?;
    outcome?;
    twin::wait_settled(&world.lab)?;
    ensure!(twin::points(&world.lab)?.pop() == newest, "something was changed");
    Ok(())
}

fn write_broken_heads(world: &World) -> Result<()> {
    // The service manager does not answer.
    write_head(world, |units| {
        *units = json!({"name": "units", "parts": [], "items": 0, "state": "Unavailable",
            "collectedTime": "2026-01-01T00:00:00Z", "message": "no answer"});
    })?;
    // The content is not what the head says.
    write_head(world, |units| {
        *units = json!({"name": "units", "parts": [{"slot": "a", "digest": "0".repeat(32)}], "items": 3,
            "state": "Complete"});
    })?;
    // Everything left at once, seen twice: too much to be believed.
    for _ in 0..2 {
        write_head(world, |units| {
            *units = json!({"name": "units", "parts": [], "items": 0, "state": "Complete"});
        })?;
    }
    let (ready, reason, message) =
        twin::condition(&twin::object(&world.lab, "digitaltwin", twin::NAME)?, "Ready");
    ensure!(
        reason == "RemovalNeedsApproval",
        "Ready={ready} {reason}: {message}"
    );
    ensure!(message.contains("safetytwin.com/approve-removal="), "{message}");
    Ok(())
}
