//! The lab's own namespaces: network, mounts and processes.
//!
//! One process (`catatonit -P`, a reaper) is process 1 of the lab; everything else runs below it. Ending it ends
//! all of the lab, whatever state a run left, and the kernel takes the bridges and mounts back. The network
//! namespace has no uplink. In the mount namespace `/run` is empty and libvirt's directories are the lab's own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{append, output};
use crate::wait;

/// libvirt's directories, and their names under the lab's state.
const OWN_DIRECTORIES: &[(&str, &str)] = &[
    ("libvirt/lib", "/var/lib/libvirt"),
    ("libvirt/etc", "/etc/libvirt"),
    ("libvirt/cache", "/var/cache/libvirt"),
    ("libvirt/log", "/var/log/libvirt"),
];

/// The namespaces of one lab, by their process 1.
#[derive(Debug, Clone)]
pub(super) struct Namespaces {
    holder: i32,
}

impl Namespaces {
    /// Makes them. `state` is the lab's directory.
    ///
    /// # Errors
    /// A namespace or a mount is refused.
    pub(super) fn create(state: &Path) -> Result<Self> {
        let log = append(&state.join("logs/init.log"))?;
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--propagation",
            "private",
        ]);
        unshare.args(["--", "catatonit", "-P"]).process_group(0);
        unshare.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let outer = unshare.spawn().context("failed to start unshare")?;
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let holder = wait::until("process 1 of the lab", Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&children)?;
            let child = text
                .split_whitespace()
                .next()
                .and_then(|pid| pid.parse::<i32>().ok());
            // Only after its exec are its mounts private.
            Ok(match child.filter(|pid| command_name(*pid) == "catatonit") {
                Some(pid) => wait::Look::Ready(pid),
                None => wait::Look::NotYet("not started".into()),
            })
        })?;
        let namespaces = Self { holder };
        std::fs::write(
            state.join(HOLDER),
            format!("{holder} {}", start_time(holder).unwrap_or_default()),
        )?;
        namespaces.mount(state)?;
        output(namespaces.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(namespaces)
    }

    fn mount(&self, state: &Path) -> Result<()> {
        output(
            self.command("mount")
                .args(["-t", "tmpfs", "-o", "mode=0755", "lab", "/run"]),
        )?;
        // Shows the devices of this network namespace, and hides the machine's control groups.
        output(self.command("mount").args(["-t", "sysfs", "lab", "/sys"]))?;
        for (own, machine) in OWN_DIRECTORIES {
            let own = state.join(own);
            std::fs::create_dir_all(&own)?;
            output(self.command("mount").arg("--bind").arg(&own).arg(machine))?;
        }
        output(self.command("mkdir").args(["-p", "/run/lock", "/run/libvirt"]))?;
        Ok(())
    }

    /// The namespaces that an earlier run left, if their process 1 still lives.
    pub(super) fn find(state: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(state.join(HOLDER)).ok()?;
        let (holder, started) = text.split_once(' ')?;
        let holder = holder.parse().ok()?;
        (start_time(holder)? == started).then_some(Self { holder })
    }

    /// A command that runs inside.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.holder.to_string(),
            "--net",
            "--mount",
            "--pid",
            "--wd=/",
            "--",
            program,
        ]);
        command
    }

    /// Moves the calling thread, and what it starts, into the network namespace. For clients in this process.
    ///
    /// # Errors
    /// The lab is gone.
    pub(super) fn enter_network(&self) -> Result<()> {
        let file =
            std::fs::File::open(format!("/proc/{}/ns/net", self.holder)).context("the lab is not running")?;
        setns(file, CloneFlags::CLONE_NEWNET).context("failed to enter the lab's network namespace")
    }

    /// Ends every process of the lab; mounts and devices go with the last of them.
    ///
    /// # Errors
    /// Something is still there after 20 s.
    pub(super) fn destroy(&self) -> Result<()> {
        let network = std::fs::read_link(format!("/proc/{}/ns/net", self.holder));
        // Gone already is as good.
        let _ = kill(Pid::from_raw(self.holder), Signal::SIGKILL);
        wait::until_true("the end of the lab's processes", Duration::from_secs(20), || {
            Ok(start_time(self.holder).is_none() || command_name(self.holder).is_empty())
        })?;
        if let Ok(network) = network {
            for pid in processes_in(&network) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        Ok(())
    }
}

const HOLDER: &str = "holder";

fn command_name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Field 22 of `/proc/PID/stat` (proc(5)): with the number it names a process for good.
pub(super) fn start_time(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    // A zombie holds nothing any more.
    let mut fields = fields.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Processes of which every thread is in this network namespace: never the harness itself, which enters with
/// single threads only.
fn processes_in(network: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    numbers
        .filter(|pid| *pid != own)
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link == network))
        .collect()
}

/// The child that `nsenter` or `unshare` forked: the process that a command inside really is.
///
/// # Errors
/// It did not start within 10 s.
pub(super) fn child_of(pid: u32) -> Result<i32> {
    let children = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
    wait::until(
        "the start of a process in the lab",
        Duration::from_secs(10),
        || {
            let text = std::fs::read_to_string(&children)?;
            match text.split_whitespace().next().map(str::parse::<i32>) {
                Some(Ok(child)) => Ok(wait::Look::Ready(child)),
                Some(Err(error)) => bail!("{error}"),
                None => Ok(wait::Look::NotYet("no child yet".into())),
            }
        },
    )
}
