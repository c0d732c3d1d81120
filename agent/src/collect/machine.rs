//! The machine: hardware, operating system, disks, interfaces. Slow-changing facts from files.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::hoststate::MachineSummary;
use safetytwin_crds::item::machine::{Cpu, Disk, Interface, Machine, Os};
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use super::load::kib;
use super::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::{HostRoot, read_plain};
use crate::settings::Settings;

const LIMIT: u64 = 1024 * 1024;
const AUDIT: Duration = Duration::from_secs(60);

/// The collector.
pub struct MachineFacts {
    root: HostRoot,
}

impl MachineFacts {
    /// A collector of the host's hardware and operating system.
    pub fn new(settings: &Settings) -> Self {
        Self {
            root: settings.root.clone(),
        }
    }
}

#[async_trait]
impl Collector for MachineFacts {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Machine)
    }

    fn audit_interval(&self) -> Duration {
        AUDIT
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        Ok(look(&self.root))
    }
}

fn look(root: &HostRoot) -> Collected {
    let proc = |file: &str| word(&root.proc().join(file));
    let sys = |file: &str| word(&root.sys().join(file));
    let os = os(&root.read_word("/etc/os-release").unwrap_or_default());
    let machine = Machine {
        hostname: root
            .read_word("/etc/hostname")
            .unwrap_or_else(|| proc("sys/kernel/hostname")),
        kernel: proc("sys/kernel/osrelease"),
        architecture: std::env::consts::ARCH.to_owned(),
        systemd: 0,
        cpu: cpu(&proc("cpuinfo")),
        memory_bytes: kib(&proc("meminfo"), "MemTotal").map_or(0, |kib| (kib * 1024) as i64),
        disks: disks(root.sys(), &proc("1/mountinfo")),
        interfaces: interfaces(root.sys()),
        gpus: gpus(root.sys()),
        virtualization: virtualization(&sys("class/dmi/id/sys_vendor"), &proc("cpuinfo")),
        product: format!(
            "{} {}",
            sys("class/dmi/id/sys_vendor"),
            sys("class/dmi/id/product_name")
        )
        .trim()
        .to_owned(),
        os,
    };
    let summary = MachineSummary {
        machine_id: printable(&root.read_word("/etc/machine-id").unwrap_or_default(), 64),
        system_uuid: printable(&sys("class/dmi/id/product_uuid"), 64),
        os: printable(&short_os(&machine.os), 64),
        kernel: printable(&machine.kernel, 128),
        architecture: machine.architecture.clone(),
        cpus: machine.cpu.threads,
        memory_mib: machine.memory_bytes / 1024 / 1024,
    };
    Collected::whole(Content::Machine {
        item: Box::new(machine),
        summary,
    })
}

/// A small file as text without surrounding white space; empty when unreadable.
fn word(path: &Path) -> String {
    let bytes = read_plain(path, LIMIT).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// os-release(5).
fn os(text: &str) -> Os {
    let get = |key: &str| {
        let value = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    Os {
        id: get("ID"),
        version_id: get("VERSION_ID"),
        pretty_name: get("PRETTY_NAME"),
    }
}

/// "Debian 12": the first word of the name and the version.
fn short_os(os: &Os) -> String {
    let name = os.pretty_name.split_whitespace().next().unwrap_or(&os.id);
    format!("{name} {}", os.version_id).trim().to_owned()
}

fn cpu(cpuinfo: &str) -> Cpu {
    let field = |line: &str, key: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    };
    let count = |set: BTreeSet<String>| i32::try_from(set.len()).unwrap_or(i32::MAX);
    let mut sockets = BTreeSet::new();
    let mut cores = BTreeSet::new();
    let mut threads = 0;
    let mut socket = String::from("0");
    for line in cpuinfo.lines() {
        threads += i32::from(field(line, "processor").is_some());
        if let Some(id) = field(line, "physical id") {
            socket = id;
            sockets.insert(socket.clone());
        }
        if let Some(core) = field(line, "core id") {
            cores.insert(format!("{socket}/{core}"));
        }
    }
    Cpu {
        model: cpuinfo
            .lines()
            .find_map(|l| field(l, "model name"))
            .unwrap_or_default(),
        sockets: count(sockets).max(1),
        cores: if cores.is_empty() { threads } else { count(cores) },
        threads,
    }
}

/// Block devices with hardware behind them, and where they or their partitions are mounted.
fn disks(sys: &Path, mountinfo: &str) -> Vec<Disk> {
    let mut disks = Vec::new();
    for name in names(&sys.join("block")) {
        let dir = sys.join("block").join(&name);
        if !dir.join("device").exists() {
            continue;
        }
        let mut mountpoints: Vec<String> = mountinfo.lines().filter_map(|line| mount(line, &name)).collect();
        mountpoints.sort();
        mountpoints.dedup();
        disks.push(Disk {
            size_bytes: word(&dir.join("size")).parse::<i64>().unwrap_or(0) * 512,
            rotational: word(&dir.join("queue/rotational")) == "1",
            name,
            mountpoints,
        });
    }
    disks
}

/// Mount point of a mountinfo line (proc_pid_mountinfo(5)) whose source is `disk` or a partition.
fn mount(line: &str, disk: &str) -> Option<String> {
    let (left, right) = line.split_once(" - ")?;
    let source = right.split(' ').nth(1)?.strip_prefix("/dev/")?;
    let partition = source.strip_prefix(disk)?.trim_start_matches('p');
    let mut fields = left.split(' ');
    // Only the file system's own root: binds of parts of it come and go with containers.
    let root = fields.nth(3)?;
    let point = fields.next()?;
    (root == "/" && partition.bytes().all(|b| b.is_ascii_digit())).then(|| point.to_owned())
}

/// Interfaces that stand for hardware, bridges, bonds and VLANs; never the veths of containers.
fn interfaces(sys: &Path) -> Vec<Interface> {
    let networks = sysinfo::Networks::new_with_refreshed_list().ok();
    let mut interfaces = Vec::new();
    for name in names(&sys.join("class/net")) {
        let dir = sys.join("class/net").join(&name);
        let uevent = word(&dir.join("uevent"));
        let kind = uevent.lines().find_map(|l| l.strip_prefix("DEVTYPE="));
        let lasting = matches!(kind, Some("bond" | "bridge" | "vlan" | "wireguard"));
        if !dir.join("device").exists() && !lasting {
            continue;
        }
        let data = networks
            .as_ref()
            .and_then(|all| all.get(std::ffi::OsStr::new(&name)));
        let addresses = data.map(|data| data.ip_networks()).unwrap_or_default();
        let mut addresses: Vec<String> = addresses
            .iter()
            .filter(|network| !network.addr.to_string().starts_with("fe80:"))
            .map(|network| format!("{}/{}", network.addr, network.prefix))
            .collect();
        addresses.sort();
        interfaces.push(Interface {
            mac: word(&dir.join("address")),
            mtu: word(&dir.join("mtu")).parse().unwrap_or(0),
            name,
            addresses,
        });
    }
    interfaces
}

/// PCI display controllers and processing accelerators (classes 03 and 12).
fn gpus(sys: &Path) -> Vec<String> {
    let devices = sys.join("bus/pci/devices");
    let mut ids = Vec::new();
    for name in names(&devices) {
        let read = |file: &str| word(&devices.join(&name).join(file));
        let class = read("class");
        if class.starts_with("0x03") || class.starts_with("0x12") {
            let id = format!("{}:{}", read("vendor"), read("device"));
            ids.push(id.replace("0x", ""));
        }
    }
    ids.sort();
    ids
}

fn virtualization(vendor: &str, cpuinfo: &str) -> String {
    let by_vendor = [
        ("QEMU", "qemu"),
        ("VMware", "vmware"),
        ("innotek", "oracle"),
        ("Xen", "xen"),
        ("Microsoft", "microsoft"),
        ("Amazon EC2", "amazon"),
        ("Google", "google"),
    ];
    let known = by_vendor.iter().find(|(prefix, _)| vendor.starts_with(prefix));
    let flagged = cpuinfo
        .lines()
        .any(|l| l.starts_with("flags") && l.contains(" hypervisor"));
    match known {
        Some((_, name)) => (*name).to_owned(),
        None if flagged => "vm-other".to_owned(),
        None => String::new(),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topology_and_names_are_read_as_lscpu_and_os_release_mean_them() {
        let two = "processor : 0\nphysical id : 0\ncore id : 0\nmodel name : X\n\nprocessor : 1\nphysical id : 0\ncore id : 0\n";
        let cpu = cpu(two);
        assert_eq!(
            (cpu.sockets, cpu.cores, cpu.threads, cpu.model.as_str()),
            (1, 1, 2, "X")
        );
        let os = os("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        assert_eq!(short_os(&os), "Debian 12");
    }

    #[test]
    fn a_disk_is_mounted_where_its_partitions_are_and_not_where_containers_bind_it() {
        let line =
            |root: &str, point: &str, source: &str| format!("1 2 8:1 {root} {point} rw - ext4 {source} rw");
        assert_eq!(
            mount(&line("/", "/srv", "/dev/vda1"), "vda").as_deref(),
            Some("/srv")
        );
        assert_eq!(
            mount(&line("/", "/srv", "/dev/nvme0n1p2"), "nvme0n1").as_deref(),
            Some("/srv")
        );
        assert_eq!(mount(&line("/x", "/etc/hosts", "/dev/vda1"), "vda"), None);
        assert_eq!(mount(&line("/", "/srv", "/dev/vdb"), "vda"), None);
    }
}
