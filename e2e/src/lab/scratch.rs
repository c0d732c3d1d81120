//! A plain VM from the base image, as a twin is one: for tests of the parts below the controller, and by hand.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use super::hypervisor::{BASE_VOLUME, POOL, POOL_DIRECTORY, TWINS};
use crate::command::output;
use crate::wait::{self, Look};

/// Longest time for a boot: half a minute under software emulation, many times that on a busy machine.
pub const BOOT: Duration = Duration::from_secs(600);

/// A started VM and what is needed to log in.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// Domain.
    pub domain: String,
    /// Address in the network of twins.
    pub address: String,
    /// Root's private key, OpenSSH format.
    pub key: PathBuf,
    /// File of the one host key that may answer, in the format of `known_hosts`.
    pub known_hosts: PathBuf,
}

impl Lab {
    /// Boots a VM from the base volume with a NoCloud seed: root's key and a pinned host key. Waits for its
    /// address, not for its SSH server.
    ///
    /// # Errors
    /// libvirt refuses it, or it has no address after ten minutes.
    pub fn boot_scratch(&self, domain: &str, memory_mib: u32) -> Result<Scratch> {
        super::check_name(domain)?;
        let directory = self.path("scratch").join(domain);
        std::fs::create_dir_all(&directory)?;
        let (key, host_key) = (
            directory.join("id_ed25519"),
            directory.join("ssh_host_ed25519_key"),
        );
        for file in [&key, &host_key] {
            if !file.exists() {
                let mut keygen = Command::new("ssh-keygen");
                output(
                    keygen
                        .args(["-q", "-t", "ed25519", "-N", "", "-C", domain, "-f"])
                        .arg(file),
                )?;
            }
        }
        let public = |file: &PathBuf| std::fs::read_to_string(file.with_extension("pub"));
        let (root_public, host_public) = (public(&key)?, public(&host_key)?);
        self.seed(
            domain,
            &root_public,
            &std::fs::read_to_string(&host_key)?,
            &host_public,
        )?;
        let disk = format!("{domain}.qcow2");
        let backing = ["--backing-vol", BASE_VOLUME, "--backing-vol-format", "qcow2"];
        let create = ["vol-create-as", POOL, &disk, "8GiB", "--format", "qcow2"];
        self.virsh(create.into_iter().chain(backing))?;
        self.define_and_start(domain, &self.domain_xml(domain, memory_mib))?;
        let address = self.address(domain)?;
        let known_hosts = directory.join("known_hosts");
        std::fs::write(&known_hosts, format!("{address} {host_public}"))?;
        Ok(Scratch {
            domain: domain.to_owned(),
            address,
            key,
            known_hosts,
        })
    }

    /// Ends a VM of [`Lab::boot_scratch`] and removes its disk, its seed and what its points left.
    ///
    /// # Errors
    /// libvirt refuses it.
    pub fn remove_scratch(&self, scratch: &Scratch) -> Result<()> {
        let domain = scratch.domain.as_str();
        self.virsh(["destroy", domain])?;
        self.virsh(["undefine", domain, "--snapshots-metadata"])?;
        for volume in self.volumes()? {
            if volume.contains(domain) {
                self.virsh(["vol-delete", "--pool", POOL, &volume])?;
            }
        }
        Ok(())
    }

    fn seed(&self, domain: &str, root_public: &str, host_private: &str, host_public: &str) -> Result<()> {
        let directory = self.path("scratch").join(domain).join("seed");
        std::fs::create_dir_all(&directory)?;
        // JSON is YAML: nothing needs to be quoted by hand.
        let user_data = serde_json::json!({
            "disable_root": false,
            "ssh_pwauth": false,
            "ssh_deletekeys": true,
            "ssh_keys": {"ed25519_private": host_private, "ed25519_public": host_public.trim()},
            "users": [{"name": "root", "ssh_authorized_keys": [root_public.trim()]}],
        });
        std::fs::write(
            directory.join("user-data"),
            format!("#cloud-config\n{user_data}\n"),
        )?;
        let meta_data = serde_json::json!({"instance-id": domain, "local-hostname": domain});
        std::fs::write(directory.join("meta-data"), meta_data.to_string())?;
        let pool = self.path("libvirt/lib/images/twins");
        let mut iso = Command::new("genisoimage");
        iso.args(["-quiet", "-J", "-R", "-V", "cidata", "-o"])
            .arg(pool.join(format!("{domain}-seed.iso")));
        output(iso.arg(&directory))?;
        self.virsh(["pool-refresh", POOL])?;
        Ok(())
    }

    /// The newest lease: a card may have several.
    fn address(&self, domain: &str) -> Result<String> {
        let interfaces = self.virsh(["domiflist", domain])?;
        let card = interfaces
            .split_whitespace()
            .last()
            .context("the domain has no network card")?
            .to_owned();
        wait::until(&format!("an address of {domain}"), BOOT, || {
            let leases = self.virsh(["net-dhcp-leases", TWINS, "--mac", &card])?;
            let newest = leases
                .lines()
                .map(str::trim)
                .filter(|line| line.contains(&card))
                .max();
            let address = newest.and_then(|line| line.split_whitespace().find(|word| word.contains('/')));
            Ok(match address.and_then(|address| address.split('/').next()) {
                Some(address) => Look::Ready(address.to_owned()),
                None => Look::NotYet("no lease".into()),
            })
        })
    }

    fn domain_xml(&self, domain: &str, memory_mib: u32) -> String {
        let acceleration = self.prepared().acceleration;
        let (kind, arguments) = (acceleration.domain_type(), acceleration.kernel_arguments());
        format!(
            "<domain type='{kind}'>
  <name>{domain}</name>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{POOL_DIRECTORY}/debian-12.vmlinuz</kernel>
    <initrd>{POOL_DIRECTORY}/debian-12.initrd</initrd>
    <cmdline>root=/dev/vda rw {arguments}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <clock offset='utc'/>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{POOL_DIRECTORY}/{domain}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk' snapshot='no'>
      <driver name='qemu' type='raw'/>
      <source file='{POOL_DIRECTORY}/{domain}-seed.iso'/>
      <target dev='vdb' bus='virtio'/>
      <readonly/>
    </disk>
    <interface type='network'><source network='{TWINS}'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='pty'><log file='/var/log/libvirt/{domain}-console.log' append='off'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"
        )
    }

    /// The SSH client for a scratch VM, up to and without the command to run.
    pub fn scratch_ssh(&self, scratch: &Scratch) -> Command {
        let mut ssh = self.command("ssh");
        ssh.arg("-i").arg(&scratch.key);
        ssh.arg("-o")
            .arg(format!("UserKnownHostsFile={}", scratch.known_hosts.display()));
        ssh.args([
            "-F",
            "none",
            "-l",
            "root",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "BatchMode=yes",
        ]);
        ssh.args(["-o", "ConnectTimeout=10", &scratch.address, "--"]);
        ssh
    }
}
