//! The monitored host without a VM: the node image's systemd as process 1 of namespaces, on the machine's own processor
//! and kernel. For figures: software emulation makes a system call dozens of times dearer. It is a node by name only:
//! no kubelet runs.
//!
//! ```text
//! lab's network ─┬─ control plane (127.0.0.1, 10.77.0.1)
//!                └─ native host (10.77.0.10): mount, pid, uts, ipc and cgroup namespace of its own
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::Lab;
use super::namespaces::{child_of, start_time};
use super::node::{ADDRESS, NAME};
use crate::command::{output, output_within};
use crate::prepare::image::Image;
use crate::progress::{note, stage};
use crate::wait::{self, Look};

/// Makes the namespaces' file system and becomes systemd: `sh -c ENTER sh IMAGE DIRECTORY NAME`.
const ENTER: &str = include_str!("native.sh");
/// Holds the number of its process 1, as the machine counts, and when it started.
const PROCESS: &str = "native.pid";
/// The control group that is the host's own root, and the one of what is beside it: a group that has processes gives its
/// children no controllers (cgroups(7), no internal processes).
const INSIDE: &str = "host";
const OUTSIDE: &str = "beside";
/// The control group of what is run in the host from without, below its root.
const COMMANDS: &str = "commands";
/// Longest time to unpack the image.
const UNPACK: Duration = Duration::from_secs(300);
/// Longest time for systemd to come to rest.
const BOOT: Duration = Duration::from_secs(120);
/// Longest time for the control groups of what was killed to be empty.
const EMPTIED: Duration = Duration::from_secs(10);

/// Starts it, waits until its systemd has started what is enabled, and makes it a node.
///
/// # Errors
/// The image cannot be unpacked, systemd does not start, or the API server refuses the node.
pub(super) fn start(lab: &Lab, image: &Image) -> Result<()> {
    // The API server's address on the nodes' network, and the host's own.
    for address in ["10.77.0.1/32", &format!("{ADDRESS}/32")] {
        output(lab.command("ip").args(["address", "add", address, "dev", "lo"]))?;
    }
    let disk = lab.path("native.raw");
    stage("the monitored host: its file system", || {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "qcow2", "-O", "raw"]);
        output_within(convert.arg(&image.disk).arg(&disk), &[], UNPACK).map(|_| ())
    })?;
    stage("the monitored host: systemd in namespaces", || {
        let root = lab.path("native");
        std::fs::create_dir_all(&root)?;
        let group = group(lab.name())?;
        for below in [&format!("{INSIDE}/{COMMANDS}"), OUTSIDE] {
            let group = group.join(below);
            std::fs::create_dir_all(&group).with_context(|| format!("failed to make {}", group.display()))?;
        }
        let process = enter(lab, &disk, &root, &group)?;
        let started = start_time(process).context("systemd ended at once: see logs/native.log")?;
        std::fs::write(lab.path(PROCESS), format!("{process} {started}"))?;
        wait::until("systemd", BOOT, || {
            let state = lab.host().try_run("systemctl is-system-running")?.stdout;
            Ok(match state.trim() {
                // Nothing else is expected of an image that is made for a VM.
                "running" | "degraded" => Look::Ready(()),
                other => Look::NotYet(format!("systemd is {other}")),
            })
        })
    })?;
    register(lab)
}

/// Starts it in a control group of its own, which is all it sees of them; answers its process 1.
fn enter(lab: &Lab, disk: &Path, root: &Path, group: &Path) -> Result<i32> {
    let mut unshare = lab.command("unshare");
    unshare.args([
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--cgroup",
        "--fork",
        "--propagation",
        "private",
    ]);
    unshare
        .args(["--", "sh", "-c", ENTER, "sh"])
        .arg(disk)
        .arg(root)
        .arg(NAME);
    let nsenter = lab.daemon("native", &mut joined(unshare, &group.join(INSIDE)))?;
    let unshare = child_of(nsenter)?;
    let process = child_of(u32::try_from(unshare)?)?;
    for beside in [nsenter.to_string(), unshare.to_string()] {
        std::fs::write(group.join(OUTSIDE).join("cgroup.procs"), beside)?;
    }
    Ok(process)
}

/// The same command, begun in a control group.
fn joined(command: Command, group: &Path) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""])
        .arg(group);
    sh.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            sh.env(name, value);
        }
    }
    sh
}

/// The control group of a lab's host, in the unified hierarchy (cgroups(7)).
fn group(lab: &str) -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let path = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    let Some(mount) = mount else {
        bail!("no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified");
    };
    Ok(mount.join(format!("{lab}-native")))
}

/// Tells the cluster of the node, as a kubelet does: tokens are bound to it.
fn register(lab: &Lab) -> Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}});
    lab.kubectl_with(["create", "-f", "-"], &node.to_string())
        .map(|_| ())
}

/// The command that runs `line` in its shell; none when the lab's host is no native one, or has ended.
pub(super) fn command(lab: &Lab, line: &str) -> Option<Command> {
    let text = std::fs::read_to_string(lab.path(PROCESS)).ok()?;
    let (process, started) = text.split_once(' ')?;
    if start_time(process.parse().ok()?)? != started {
        return None;
    }
    let mut nsenter = Command::new("nsenter");
    nsenter.args([
        "--target", process, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--",
    ]);
    nsenter.args(["/bin/sh", "-c", &format!("cd /; {line}")]);
    // What a command leaves behind belongs to no service of the machine.
    let group = group(lab.name()).ok()?.join(INSIDE).join(COMMANDS);
    let mut command = joined(nsenter, &group);
    command.env_clear().env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    Some(command)
}

/// Removes what outlives its processes.
pub(super) fn forget(lab: &str) {
    let Ok(group) = group(lab) else {
        return;
    };
    let gone = wait::until_true("the end of its control groups", EMPTIED, || {
        remove_groups(&group);
        Ok(!group.exists())
    });
    if let Err(error) = gone {
        note(&format!("{} stays: {error:#}", group.display()));
    }
}

/// Control groups are removed from the leaves on; one with processes stays.
fn remove_groups(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_that_a_shell_understands() {
        let checked = Command::new("sh").args(["-n", "-c", ENTER]).status().unwrap();
        assert!(checked.success());
    }

    #[test]
    fn a_joined_command_keeps_its_words_and_environment() {
        let dir = tempfile::tempdir().unwrap();
        let mut inner = Command::new("sh");
        inner.args(["-c", "echo \"$1 $X\"", "sh", "a b"]).env("X", "y");
        let said = joined(inner, dir.path()).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "a b y\n");
        assert!(dir.path().join("cgroup.procs").exists());
    }
}
