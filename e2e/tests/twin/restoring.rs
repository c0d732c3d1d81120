//! Points and restores.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::product::{TWINS, twin};
use safetytwin_e2e::wait::{self, Look};

use crate::Sentence;
use crate::following::{counter, start_on_host};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_restore_brings_back_a_marker_file_and_holds",
        a_restore_brings_back_a_marker_file_and_holds,
    ),
    (
        "a_recreated_restore_does_not_revert_again",
        a_recreated_restore_does_not_revert_again,
    ),
    ("a_released_twin_catches_up", a_released_twin_catches_up),
    (
        "deleting_the_twin_removes_what_was_made_for_it",
        deleting_the_twin_removes_what_was_made_for_it,
    ),
];

const RESTORE: &str = "apiVersion: safetytwin.com/v1alpha1\nkind: TwinRestore\nmetadata: {name: back, namespace: ops}\n\
                       spec: {twinRef: {name: web-01}, snapshotRef: {name: before-upgrade}, hold: true}\n";

fn wait_restore(world: &World, expected: &str) -> Result<()> {
    wait::until(
        &format!("the restore to say {expected}"),
        Duration::from_secs(300),
        || {
            let restore = twin::object(&world.lab, "twinrestore", "back")?;
            let (status, reason, message) = twin::condition(&restore, "Restored");
            Ok(if reason == expected {
                Look::Ready(())
            } else {
                Look::NotYet(format!("{status} {reason}: {message}"))
            })
        },
    )
}

fn a_restore_brings_back_a_marker_file_and_holds(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let guest = twin::guest(&world.lab, twin::NAME)?;
    guest.run(&["/usr/bin/touch", "/root/marker"])?;
    guest.run(&["/usr/bin/sync"])?;
    let point = "apiVersion: safetytwin.com/v1alpha1\nkind: TwinSnapshot\nmetadata: {name: before-upgrade, namespace: ops}\n\
                 spec: {twinRef: {name: web-01}, description: the marker, pinned: true}\n";
    world.lab.kubectl_with(["apply", "-f", "-"], point)?;
    wait::until("the point", Duration::from_secs(60), || {
        let (status, reason, message) = twin::condition(
            &twin::object(&world.lab, "twinsnapshot", "before-upgrade")?,
            "Ready",
        );
        Ok(if status == "True" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{reason}: {message}"))
        })
    })?;
    guest.run(&["/usr/bin/rm", "/root/marker"])?;
    start_on_host(world, "aftermarker.service", &counter("after the marker"))?;
    twin::wait_unit(&world.lab, "aftermarker.service", "active")?;
    twin::wait_settled(&world.lab)?;
    world.lab.kubectl_with(["apply", "-f", "-"], RESTORE)?;
    wait_restore(world, "Restored")?;
    let guest = twin::guest(&world.lab, twin::NAME)?;
    guest.wait_for_agent(Duration::from_secs(120))?;
    ensure!(
        guest.try_run(&["/usr/bin/test", "-e", "/root/marker"])?.success(),
        "the marker is not back"
    );
    // Three beats later the twin is still where it was put.
    std::thread::sleep(Duration::from_secs(35));
    ensure!(
        twin::property(&world.lab, "aftermarker.service", "ActiveState")? != "active",
        "the twin did not hold"
    );
    Ok(())
}

fn a_recreated_restore_does_not_revert_again(world: &World) -> Result<()> {
    let guest = twin::guest(&world.lab, twin::NAME)?;
    guest.run(&["/usr/bin/rm", "/root/marker"])?;
    world
        .lab
        .kubectl(["delete", "twinrestore", "back", "-n", TWINS])?;
    world.lab.kubectl_with(["apply", "-f", "-"], RESTORE)?;
    wait_restore(world, "AlreadyExecuted")?;
    let back = twin::guest(&world.lab, twin::NAME)?
        .try_run(&["/usr/bin/test", "-e", "/root/marker"])?
        .success();
    ensure!(!back, "the marker came back: the twin was reverted again");
    Ok(())
}

fn a_released_twin_catches_up(world: &World) -> Result<()> {
    let patch = [
        "patch",
        "twinrestore",
        "back",
        "-n",
        TWINS,
        "--type=merge",
        "-p",
        r#"{"spec":{"hold":false}}"#,
    ];
    world.lab.kubectl(patch)?;
    twin::wait_unit(&world.lab, "aftermarker.service", "active")?;
    // Not Following: items that earlier sentences brought may not run in the twin.
    twin::wait_settled(&world.lab).map(|_| ())
}

fn deleting_the_twin_removes_what_was_made_for_it(world: &World) -> Result<()> {
    // Points that were left behind branch off it; it goes with them, and the twin does not wait for it.
    world.lab.kubectl([
        "delete",
        "twinsnapshot",
        "before-upgrade",
        "-n",
        TWINS,
        "--wait=false",
    ])?;
    world
        .lab
        .kubectl(["delete", "twinrestore", "back", "-n", TWINS, "--timeout=50s"])?;
    world
        .lab
        .kubectl(["delete", "digitaltwin", twin::NAME, "-n", TWINS, "--timeout=55s"])?;
    let domains = world.lab.virsh(["list", "--all", "--name"])?;
    ensure!(
        domains.split_whitespace().collect::<Vec<_>>() == ["web-01"],
        "domains left: {domains}"
    );
    // The base image is the class's.
    let left: Vec<String> = world
        .lab
        .volumes()?
        .into_iter()
        .filter(|name| !name.starts_with("debian-12."))
        .collect();
    ensure!(left.is_empty(), "volumes left: {}", left.join(" "));
    ensure!(
        twin::objects(&world.lab, "twinsnapshots")?.is_empty(),
        "points left"
    );
    Ok(())
}
