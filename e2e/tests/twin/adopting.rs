//! A domain that exists already is used as the twin, and left where it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_e2e::lab::scratch::{BOOT, Scratch};
use safetytwin_e2e::product::{NAMESPACE, TWINS};
use safetytwin_e2e::wait;
use serde_json::json;

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "an_existing_domain_is_adopted_and_stays_when_its_twin_is_deleted",
    an_existing_domain_is_adopted,
)];

/// Domain and twin.
const NAME: &str = "adopted";

/// The class that names the domain, and the Secret with its key and the host key to pin.
fn class_and_keys(world: &World, domain: &Scratch) -> Result<()> {
    let uuid = world.lab.virsh(["domuuid", &domain.domain])?;
    let known = std::fs::read_to_string(&domain.known_hosts)?;
    let (_, host_key) = known.split_once(' ').context("no host key")?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "adopted-key", "namespace": NAMESPACE},
        "stringData": {"id_ed25519": std::fs::read_to_string(&domain.key)?, "ssh_host_key.pub": host_key},
    });
    let class = json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinClass", "metadata": {"name": NAME},
        "spec": {
            "allowed": {"namespaces": [TWINS], "hosts": ["web-*"]},
            "libvirt": {
                "uri": "qemu:///system", "pool": "twins", "network": "twins-isolated",
                "adopt": {"domainUuid": uuid.trim(), "user": "root", "keyRef": {"name": "adopted-key"}},
            },
            "snapshots": {"minFreeSpace": "2Gi"},
        },
    });
    for object in [secret, class] {
        world
            .lab
            .kubectl_with(["apply", "-f", "-"], &object.to_string())?;
    }
    Ok(())
}

fn an_existing_domain_is_adopted(world: &World) -> Result<()> {
    let domain = world.lab.boot_scratch(NAME, 512)?;
    let guest = world.lab.twin_guest(NAME);
    guest.wait_for_agent(BOOT)?;
    class_and_keys(world, &domain)?;
    let wanted = json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
        "metadata": {"name": NAME, "namespace": TWINS},
        "spec": {"hostRef": {"name": "web-01"}, "className": NAME, "deletionPolicy": "Retain"},
    });
    world
        .lab
        .kubectl_with(["apply", "-f", "-"], &wanted.to_string())?;
    start_on_host(world, "both.service", &counter("in two twins"))?;
    let state = ["/usr/bin/systemctl", "is-active", "both.service"];
    wait::until_true(
        "both.service in the adopted domain",
        Duration::from_secs(180),
        || Ok(guest.try_run(&state)?.stdout.trim() == "active"),
    )?;
    let points = world.lab.virsh(["snapshot-list", NAME, "--name"])?;
    ensure!(
        points.contains("adopted-r0001"),
        "no point before the first apply: {points}"
    );
    world
        .lab
        .kubectl(["delete", "digitaltwin", NAME, "-n", TWINS, "--timeout=55s"])?;
    let running = world.lab.virsh(["domstate", NAME])?;
    ensure!(running.trim() == "running", "the adopted domain is {running}");
    ensure!(
        guest.try_run(&state)?.stdout.trim() == "active",
        "its services went"
    );
    let xml = world.lab.virsh(["dumpxml", NAME])?;
    ensure!(
        !xml.contains("safetytwin.com"),
        "it is still marked as a twin's: {xml}"
    );
    world.lab.remove_scratch(&domain)?;
    world
        .lab
        .kubectl(["delete", "twinclass", NAME, "--timeout=50s"])?;
    Ok(())
}
