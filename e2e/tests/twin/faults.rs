//! Crashes, outages and refusals.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::lab::control_plane;
use safetytwin_e2e::lab::process::Process;
use safetytwin_e2e::product::{TWINS, twin};
use safetytwin_e2e::wait::{self, Look};

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_controller_killed_in_an_apply_finishes_it_once",
        a_controller_killed_in_an_apply_finishes_it_once,
    ),
    (
        "an_api_server_that_dies_and_comes_back_forgetful_loses_nothing",
        an_api_server_that_dies_and_comes_back_loses_nothing,
    ),
    (
        "a_twin_rebooted_runs_the_same_services",
        a_twin_rebooted_runs_the_same_services,
    ),
    (
        "a_namespace_that_the_class_does_not_allow_is_refused",
        a_namespace_not_allowed_is_refused,
    ),
    (
        "a_missing_class_is_named_and_heals",
        a_missing_class_is_named_and_heals,
    ),
];

fn a_controller_killed_in_an_apply_finishes_it_once(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    start_on_host(world, "killed.service", &counter("killed in the middle"))?;
    wait::until_true("an operation under way", Duration::from_secs(60), || {
        let twin = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
        Ok(twin.pointer("/status/operation").is_some_and(|o| !o.is_null()))
    })?;
    world.crash_controller()?;
    // The host moves on meanwhile.
    start_on_host(world, "meanwhile.service", &counter("meanwhile"))?;
    world.start_controller()?;
    twin::wait_unit(&world.lab, "killed.service", "active")?;
    twin::wait_unit(&world.lab, "meanwhile.service", "active")?;
    twin::wait_settled(&world.lab)?;
    let starts = "journalctl --quiet --unit killed.service --output cat | grep --count ^Started";
    let starts = twin::guest(&world.lab, twin::NAME)?.run(&["/bin/sh", "-c", starts])?;
    ensure!(starts.trim() == "1", "killed.service was started {starts} times");
    Ok(())
}

fn an_api_server_that_dies_and_comes_back_loses_nothing(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let before = twin::changes(&world.lab)?;
    control_plane::crash_api_server(&world.lab)?;
    let started = start_on_host(
        world,
        "outlived.service",
        &counter("started without an API server"),
    );
    control_plane::start_api_server(&world.lab)?;
    started?;
    // On a busy machine the lease may have run out, which ends the process; the kubelet would start it again.
    if world
        .with_controller(|slot| Ok(slot.as_mut().map(Process::ended).transpose()?.flatten()))?
        .is_some()
    {
        world.start_controller()?;
    }
    twin::wait_unit(&world.lab, "outlived.service", "active")?;
    twin::wait_settled(&world.lab)?;
    let made: Vec<String> = twin::changes(&world.lab)?.difference(&before).cloned().collect();
    // The file and its start are two changes where the server came back between them.
    ensure!((1..=2).contains(&made.len()), "one outage made {made:?}");
    Ok(())
}

fn a_twin_rebooted_runs_the_same_services(world: &World) -> Result<()> {
    let name = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
    let domain = name
        .pointer("/status/vm/domainName")
        .and_then(|v| v.as_str())
        .unwrap_or_default()
        .to_owned();
    let boot =
        twin::guest(&world.lab, twin::NAME)?.run(&["/usr/bin/cat", "/proc/sys/kernel/random/boot_id"])?;
    world.lab.virsh(["reset", &domain])?;
    wait::until_true("another boot of the twin", Duration::from_secs(180), || {
        let guest = twin::guest(&world.lab, twin::NAME)?;
        Ok(guest.run(&["/usr/bin/cat", "/proc/sys/kernel/random/boot_id"])? != boot)
    })?;
    for unit in ["first.service", "second.service", "third.service"] {
        twin::wait_unit(&world.lab, unit, "active")?;
    }
    Ok(())
}

fn a_namespace_not_allowed_is_refused(world: &World) -> Result<()> {
    let twin = "apiVersion: safetytwin.com/v1alpha1\nkind: DigitalTwin\nmetadata: {name: stolen, namespace: default}\n\
                spec: {hostRef: {name: web-01}, className: lab}\n";
    world.lab.kubectl_with(["apply", "-f", "-"], twin)?;
    wait::until("the refusal", Duration::from_secs(60), || {
        let text = world
            .lab
            .kubectl(["get", "digitaltwin", "stolen", "-n", "default", "-o", "json"])?;
        let (status, reason, _) = twin::condition(&serde_json::from_str(&text)?, "Ready");
        Ok(if status == "False" && reason == "NotAllowed" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{status} {reason}"))
        })
    })?;
    world.lab.kubectl([
        "delete",
        "digitaltwin",
        "stolen",
        "-n",
        "default",
        "--timeout=50s",
    ])?;
    let domains = world.lab.virsh(["list", "--all", "--name"])?;
    ensure!(!domains.contains("stolen"), "{domains}");
    Ok(())
}

fn a_missing_class_is_named_and_heals(world: &World) -> Result<()> {
    let twin = format!(
        "apiVersion: safetytwin.com/v1alpha1\nkind: DigitalTwin\nmetadata: {{name: early, namespace: {TWINS}}}\n\
         spec: {{hostRef: {{name: web-01}}, className: later}}\n"
    );
    world.lab.kubectl_with(["apply", "-f", "-"], &twin)?;
    let reason = |expected: &'static str| {
        wait::until(expected, Duration::from_secs(60), || {
            let (status, reason, message) =
                twin::condition(&twin::object(&world.lab, "digitaltwin", "early")?, "Ready");
            Ok(if reason == expected {
                Look::Ready(())
            } else {
                Look::NotYet(format!("{status} {reason} {message}"))
            })
        })
    };
    reason("ClassNotFound")?;
    let class = "apiVersion: safetytwin.com/v1alpha1\nkind: TwinClass\nmetadata: {name: later}\nspec: {allowed: {namespaces: [nobody]}, \
                 libvirt: {uri: 'qemu:///system', pool: twins, network: twins-isolated, baseImage: debian-12.qcow2}}\n";
    world.lab.kubectl_with(["apply", "-f", "-"], class)?;
    reason("NotAllowed")?;
    world
        .lab
        .kubectl(["delete", "digitaltwin", "early", "-n", TWINS, "--timeout=50s"])?;
    world
        .lab
        .kubectl(["delete", "twinclass", "later", "--timeout=50s"])?;
    Ok(())
}
