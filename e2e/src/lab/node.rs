//! The monitored host: a VM that is a real Kubernetes node.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Lab;
use super::control_plane::NODE_SERVER;
use super::hypervisor::share;
use super::pki::{Authority, Subject, write_private};
use super::scratch::BOOT;
use crate::command::{output, output_within};
use crate::prepare::acceleration::Acceleration;
use crate::prepare::image::Image;
use crate::progress::{note, stage};
use crate::wait::{self, Look};

/// Name of the node, and of its domain.
pub const NAME: &str = "web-01";
/// How often the host is started before its emulator is given up.
const BOOTS: u32 = 3;
/// The node's address.
pub const ADDRESS: &str = "10.77.0.10";
/// Where the node's disk lies, as the lab's processes see it.
pub(super) const DIRECTORY: &str = "/var/lib/libvirt/node";

/// Issues the node's certificates and collects what its configuration disk holds.
///
/// # Errors
/// A file cannot be written or ssh-keygen fails.
pub fn issue(authority: &Authority, state: &Path) -> Result<()> {
    let user = format!("system:node:{NAME}");
    let group = Some("system:nodes");
    authority.issue(&Subject {
        file: "kubelet",
        user: &user,
        group,
        names: &[],
    })?;
    authority.issue(&Subject {
        file: "kubelet-serving",
        user: &user,
        group,
        names: &[ADDRESS, NAME],
    })?;
    let (config, pki, ssh) = (state.join("node-config"), state.join("pki"), state.join("ssh"));
    std::fs::create_dir_all(&config)?;
    std::fs::create_dir_all(&ssh)?;
    write_private(
        &config.join("kubelet.kubeconfig"),
        &authority.kubeconfig(NODE_SERVER, "kubelet")?,
    )?;
    for file in ["ca.crt", "kubelet-serving.crt", "kubelet-serving.key"] {
        std::fs::copy(pki.join(file), config.join(file))?;
    }
    write_private(&config.join("node.env"), &format!("NODE_NAME={NAME}\n"))?;
    for key in [ssh.join("id_ed25519"), config.join("ssh_host_ed25519_key")] {
        output(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
                .arg(key),
        )?;
    }
    write_private(
        &config.join("authorized_keys"),
        &std::fs::read_to_string(ssh.join("id_ed25519.pub"))?,
    )?;
    let host_key = std::fs::read_to_string(config.join("ssh_host_ed25519_key.pub"))?;
    write_private(&ssh.join("known_hosts"), &format!("{ADDRESS} {host_key}"))
}

/// Defines and starts the VM with so many MiB of memory, without waiting for it.
///
/// # Errors
/// libvirt refuses it.
pub fn start(lab: &Lab, image: &Image, memory: u32) -> Result<()> {
    stage("the monitored host: start", || {
        let directory = lab.path("libvirt/lib/node");
        std::fs::create_dir_all(&directory)?;
        for (from, name) in [
            (&image.disk, "base.qcow2"),
            (&image.kernel, "vmlinuz"),
            (&image.initrd, "initrd.img"),
        ] {
            share(from, &directory.join(name))?;
        }
        let mut overlay = Command::new("qemu-img");
        overlay.current_dir(&directory).args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            "base.qcow2",
        ]);
        output(overlay.arg("disk.qcow2"))?;
        let mut config = Command::new("genisoimage");
        config
            .args(["-quiet", "-R", "-V", "LABCONF", "-o"])
            .arg(directory.join("config.iso"));
        output(config.arg(lab.path("node-config")))?;
        lab.define_and_start(NAME, &domain(lab.prepared().acceleration, memory))
    })
}

/// Waits until the host answers over SSH and Kubernetes calls it ready.
///
/// # Errors
/// It does not within the time that software emulation needs.
pub fn wait_ready(lab: &Lab) -> Result<()> {
    stage("the monitored host: boot", || boot(lab))?;
    stage("the monitored host: ready as a node", || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        wait::until("a ready node", BOOT, || {
            let ready = lab.kubectl(["get", "node", NAME, "-o", path])?;
            Ok(if ready == "True" {
                Look::Ready(())
            } else {
                Look::NotYet(format!("Ready is {ready:?}"))
            })
        })
    })?;
    stage("the default service account", || {
        wait::until_true("the default service account", Duration::from_secs(60), || {
            Ok(lab
                .kubectl(["get", "serviceaccount", "default", "-o", "name"])
                .is_ok())
        })
    })?;
    // What the machine's clock says is what timelines are written in.
    let now = format!("date --utc --set=@{}", jiff::Timestamp::now().as_second());
    output_within(&mut lab.host().command(&now), &[], Duration::from_secs(20)).map(|_| ())
}

/// How one boot of the host went on.
enum Boot {
    /// It answers.
    Done,
    /// The emulator itself ended.
    EmulatorCrashed,
}

/// Waits for a login, and starts the VM again where its emulator crashed: in a boot with more than one processor
/// QEMU's translator can look up memory that was just mapped anew and ends in `iotlb_to_section`
/// (<https://gitlab.com/qemu-project/qemu/-/issues/1921>).
fn boot(lab: &Lab) -> Result<()> {
    for started in 1..=BOOTS {
        let boot = wait::until("an SSH login on the monitored host", BOOT, || {
            if lab.host().run("true").is_ok() {
                return Ok(Look::Ready(Boot::Done));
            }
            let state = lab.virsh(["domstate", NAME, "--reason"])?;
            Ok(if state.contains("crashed") {
                Look::Ready(Boot::EmulatorCrashed)
            } else {
                Look::NotYet(format!("the domain is {}", state.trim()))
            })
        })?;
        match boot {
            Boot::Done => return Ok(()),
            Boot::EmulatorCrashed if started == BOOTS => break,
            Boot::EmulatorCrashed => {
                note("the emulator crashed; the host is started again");
                lab.virsh(["start", NAME])?;
            }
        }
    }
    bail!("the emulator of {NAME} crashed {BOOTS} times; its last words are in {NAME}.log")
}

fn domain(acceleration: Acceleration, memory: u32) -> String {
    let (kind, arguments) = (acceleration.domain_type(), acceleration.kernel_arguments());
    // An emulated `rep movsb` goes byte by byte: with these two the kernel copies five times as slowly.
    let without = match acceleration {
        Acceleration::Emulation => {
            "<feature policy='disable' name='erms'/><feature policy='disable' name='fsrm'/>"
        }
        Acceleration::Kvm => "",
    };
    format!(
        "<domain type='{kind}'>
  <name>{NAME}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{DIRECTORY}/vmlinuz</kernel>
    <initrd>{DIRECTORY}/initrd.img</initrd>
    <cmdline>root=/dev/vda rw {arguments} systemd.hostname={NAME}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'>{without}</cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe' discard='unmap'/>
      <source file='{DIRECTORY}/disk.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{DIRECTORY}/config.iso'/>
      <target dev='vdb' bus='virtio'/>
      <readonly/>
    </disk>
    <interface type='network'><source network='nodes'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='pty'><log file='/var/log/libvirt/{NAME}-console.log' append='off'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}
