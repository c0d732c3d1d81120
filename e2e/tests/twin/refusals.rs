//! What is in the way is named, and heals by itself when it goes.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::lab::hypervisor;
use safetytwin_e2e::product::{TWINS, twin};
use safetytwin_e2e::wait::{self, Look};
use serde_json::Value;

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_class_whose_hypervisor_does_not_answer_says_so_and_heals",
        a_class_whose_hypervisor_does_not_answer,
    ),
    (
        "a_hypervisor_that_goes_away_is_named_and_the_twin_follows_again_when_it_is_back",
        a_hypervisor_that_goes_away,
    ),
    (
        "a_full_pool_stops_changes_until_there_is_space",
        a_full_pool_stops_changes,
    ),
    (
        "a_guest_with_another_host_key_is_refused",
        a_guest_with_another_host_key_is_refused,
    ),
];

/// Waits until a condition of an object has this reason.
pub fn wait_reason(world: &World, kind: &str, name: &str, type_: &str, expected: &str) -> Result<()> {
    wait::until(
        &format!("{kind} {name}: {type_} {expected}"),
        Duration::from_secs(150),
        || {
            let (status, reason, message) = twin::condition(&twin::object(&world.lab, kind, name)?, type_);
            Ok(if reason == expected {
                Look::Ready(())
            } else {
                Look::NotYet(format!("{status} {reason}: {message}"))
            })
        },
    )
}

fn a_class_whose_hypervisor_does_not_answer(world: &World) -> Result<()> {
    let class = "apiVersion: safetytwin.com/v1alpha1\nkind: TwinClass\nmetadata: {name: nowhere}\nspec: {allowed: {namespaces: [ops], hosts: ['*']}, \
                 libvirt: {uri: 'qemu+tcp://127.0.0.1/system', pool: twins, network: twins-isolated, baseImage: debian-12.qcow2}}\n";
    let wanted = format!(
        "apiVersion: safetytwin.com/v1alpha1\nkind: DigitalTwin\nmetadata: {{name: nowhere, namespace: {TWINS}}}\n\
         spec: {{hostRef: {{name: web-01}}, className: nowhere}}\n"
    );
    world.lab.kubectl_with(["apply", "-f", "-"], class)?;
    wait_reason(world, "twinclass", "nowhere", "Ready", "HypervisorUnreachable")?;
    world.lab.kubectl_with(["apply", "-f", "-"], &wanted)?;
    wait_reason(world, "digitaltwin", "nowhere", "Ready", "HypervisorUnreachable")?;
    world
        .lab
        .kubectl(["delete", "digitaltwin", "nowhere", "-n", TWINS, "--timeout=50s"])?;
    let patch = r#"{"spec":{"libvirt":{"uri":"qemu:///system"}}}"#;
    world
        .lab
        .kubectl(["patch", "twinclass", "nowhere", "--type=merge", "-p", patch])?;
    wait_reason(world, "twinclass", "nowhere", "Ready", "Usable")?;
    world
        .lab
        .kubectl(["delete", "twinclass", "nowhere", "--timeout=50s"])?;
    Ok(())
}

fn a_hypervisor_that_goes_away(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    hypervisor::stop_daemon(&world.lab)?;
    start_on_host(world, "unseen.service", &counter("while the hypervisor is away"))?;
    wait_reason(world, "digitaltwin", twin::NAME, "Ready", "HypervisorUnreachable")?;
    hypervisor::start_daemon(&world.lab)?;
    twin::wait_unit(&world.lab, "unseen.service", "active")?;
    twin::wait_settled(&world.lab)?;
    Ok(())
}

fn a_full_pool_stops_changes(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let newest = twin::points(&world.lab)?.pop();
    let least = |size: &str| {
        let patch = format!(r#"{{"spec":{{"snapshots":{{"minFreeSpace":"{size}"}}}}}}"#);
        world
            .lab
            .kubectl(["patch", "twinclass", "lab", "--type=merge", "-p", &patch])
    };
    least("100Ti")?;
    let stopped = || {
        start_on_host(world, "crowded.service", &counter("no space for its point"))?;
        wait_reason(world, "digitaltwin", twin::NAME, "Ready", "LowSpace")?;
        ensure!(twin::property(&world.lab, "crowded.service", "ActiveState")? != "active");
        ensure!(twin::points(&world.lab)?.pop() == newest, "a point was taken");
        Ok(())
    };
    let outcome = stopped();
    least("2Gi")?;
    outcome?;
    twin::wait_unit(&world.lab, "crowded.service", "active")?;
    twin::wait_settled(&world.lab)?;
    Ok(())
}

fn a_guest_with_another_host_key_is_refused(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let guest = twin::guest(&world.lab, twin::NAME)?;
    let shell = |line: &str| guest.run(&["/bin/sh", "-c", line]);
    shell(
        "cd /etc/ssh && cp -p ssh_host_ed25519_key /root/kept && rm -f /root/other* && ssh-keygen -q -t ed25519 -N '' -f /root/other && cp /root/other ssh_host_ed25519_key && systemctl restart ssh && pkill -f '[s]shd: root' || true",
    )?;
    start_on_host(world, "distrusted.service", &counter("behind another host key"))?;
    wait_reason(
        world,
        "digitaltwin",
        twin::NAME,
        "GuestReachable",
        "HostKeyRefused",
    )?;
    let state = twin::property(&world.lab, "distrusted.service", "LoadState")?;
    ensure!(state == "not-found", "something was written: {state}");
    shell("cp -p /root/kept /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh")?;
    // What only a user can mend is looked at every ten minutes, and at once when something changes.
    start_on_host(world, "trusted.service", &counter("behind the pinned host key"))?;
    twin::wait_unit(&world.lab, "trusted.service", "active")?;
    twin::wait_unit(&world.lab, "distrusted.service", "active")?;
    twin::wait_settled(&world.lab)?;
    let status: Value = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
    let (reachable, ..) = twin::condition(&status, "GuestReachable");
    ensure!(reachable == "True", "{status:#}");
    Ok(())
}
