//! Looks at planted trees: ordinary hardware, and what no kernel should say.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use safetytwin_crds::item::machine::{Disk, Firmware, Machine};

use super::*;

struct Planted(tempfile::TempDir);

impl Planted {
    fn new(files: &[(&str, &str)]) -> Self {
        let planted = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            planted.file(path, text);
        }
        planted
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn root(&self) -> HostRoot {
        let at = |dir: &str| self.0.path().join(dir);
        HostRoot::new(self.0.path(), at("proc"), at("sys"))
    }

    fn look(&self) -> (Machine, Vec<String>, ObservedMachine) {
        let collected = look(&self.root(), &Redactor::default(), &mut Memory::default());
        let Content::Machine { item, .. } = &*collected.content else {
            panic!("no machine");
        };
        (
            Machine::clone(item),
            collected.gaps,
            collected.observed.machine.clone().unwrap(),
        )
    }

    /// One network namespace: the agent's is the host's.
    fn network(&self, files: &[(&str, &str)]) {
        for (file, text) in files {
            self.file(&format!("proc/1/net/{file}"), text);
        }
        symlink(self.0.path().join("proc/1"), self.0.path().join("proc/self")).unwrap();
    }
}

const SERVER: &[(&str, &str)] = &[
    ("proc/meminfo", "MemTotal: 2048 kB\nSwapTotal: 1024 kB\n"),
    ("proc/sys/kernel/osrelease", "6.1.0-50-amd64\n"),
    (
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n",
    ),
    (
        "proc/1/mountinfo",
        "22 1 254:0 / / rw - ext4 /dev/mapper/vg-root rw\n23 22 8:1 / /boot rw - ext4 /dev/sda1 rw\n24 22 8:1 /x /bind rw - ext4 /dev/sda1 rw\n",
    ),
    (
        "proc/cpuinfo",
        "processor : 0\nvendor_id : GenuineIntel\nmodel name : Xeon\nflags : sse avx sse\n\nprocessor : 1\n",
    ),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/node/online", "0-1\n"),
    ("sys/firmware/efi/fw_platform_size", "64\n"),
    ("sys/class/dmi/id/sys_vendor", "Lenovo\n"),
    ("sys/class/dmi/id/product_name", "ThinkSystem\n"),
    ("sys/block/sda/dev", "8:0\n"),
    ("sys/block/sda/size", "100\n"),
    ("sys/block/sda/queue/rotational", "1\n"),
    ("sys/block/sda/device/model", "ST1000  \n"),
    ("sys/block/sda/sda1/partition", "1\n"),
    ("sys/block/sda/sda1/dev", "8:1\n"),
    ("sys/block/sda/sda1/size", "20\n"),
    ("sys/block/sda/sda2/partition", "2\n"),
    ("sys/block/sda/sda2/dev", "8:2\n"),
    ("sys/block/sda/sda2/size", "80\n"),
    ("run/udev/data/b8:2", "S:disk/x\nE:ID_FS_TYPE=LVM2_member\n"),
    ("sys/block/dm-0/dev", "254:0\n"),
    ("sys/block/dm-0/size", "60\n"),
    ("sys/block/dm-0/dm/name", "vg-root\n"),
    ("sys/block/dm-0/dm/uuid", "LVM-abc\n"),
    ("sys/block/dm-0/slaves/sda2/x", ""),
    ("sys/block/dm-1/dev", "254:1\n"),
    ("sys/block/dm-1/size", "20\n"),
    ("sys/block/dm-1/dm/name", "swap_crypt\n"),
    ("sys/block/dm-1/dm/uuid", "CRYPT-PLAIN-x\n"),
    ("sys/block/md0/size", "8\n"),
    ("sys/block/md0/md/level", "raid1\n"),
    ("sys/block/sr0/size", "4\n"),
    ("sys/block/sr0/device/type", "5\n"),
    ("sys/block/loop0/size", "0\n"),
    ("sys/block/ram0/size", "8\n"),
    (
        "sys/bus/pci/devices/0000:03:00.0/uevent",
        "DRIVER=nvidia\nPCI_CLASS=30200\nPCI_ID=10DE:2330\n",
    ),
    ("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total", "1000\n"),
    ("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "10\n"),
    (
        "sys/bus/pci/devices/0000:00:00.0/uevent",
        "PCI_CLASS=60000\nPCI_ID=8086:0D57\n",
    ),
    ("etc/hostname", "web-01\n"),
    (
        "etc/os-release",
        "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
    ),
    ("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so", ""),
    ("run/systemd/timesync/synchronized", ""),
];

fn server() -> Planted {
    let planted = Planted::new(SERVER);
    for cpu in 0..4 {
        let pair = if cpu < 2 { "0-1" } else { "2-3" };
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        planted.file(&format!("{topology}/thread_siblings_list"), pair);
        planted.file(&format!("{topology}/core_siblings_list"), "0-3");
    }
    planted.network(&[("dev", ""), ("if_inet6", ""), ("route", "")]);
    planted
}

#[test]
fn a_server_is_described_as_lscpu_and_os_release_describe_it() {
    let (machine, gaps, observed) = server().look();
    assert_eq!(gaps, Vec::<String>::new());
    let cpu = &machine.cpu;
    assert_eq!(
        (cpu.sockets, cpu.cores, cpu.threads, cpu.numa_nodes),
        (1, 2, 4, 2)
    );
    assert_eq!(
        (cpu.vendor.as_str(), cpu.model.as_str()),
        ("GenuineIntel", "Xeon")
    );
    assert_eq!(cpu.flags, ["avx", "sse"]);
    assert_eq!(
        (machine.memory_bytes, machine.swap_bytes),
        (2048 * 1024, 1024 * 1024)
    );
    assert_eq!(
        (machine.hostname.as_str(), machine.kernel.as_str()),
        ("web-01", "6.1.0-50-amd64")
    );
    assert_eq!(system::short_os(&machine.os), "Debian 12");
    assert_eq!(
        (machine.firmware, machine.product.as_str()),
        (Some(Firmware::Uefi), "Lenovo ThinkSystem")
    );
    assert_eq!(observed.clock_synchronized, Some(true));
    assert_eq!(machine.gpus, ["10de:2330"]);
    let gpus: Vec<_> = observed
        .gpus
        .iter()
        .map(|g| (g.memory_bytes, g.memory_used_bytes))
        .collect();
    assert_eq!(gpus, [(1000, 10)]);
    let pci: Vec<_> = machine
        .pci
        .iter()
        .map(|d| (d.class.as_str(), d.driver.as_str()))
        .collect();
    assert_eq!(pci, [("060000", ""), ("030200", "nvidia")]);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(machine.systemd, 252);
    }
}

#[test]
fn block_devices_are_those_of_lsblk() {
    let (machine, _, _) = server().look();
    let row = |disk: &Disk| {
        let (parents, points) = (disk.parents.join("+"), disk.mountpoints.join("+"));
        let Disk {
            name,
            kind,
            mapped_name,
            size_bytes,
            filesystem,
            rotational,
            ..
        } = disk;
        format!("{name} {kind} {mapped_name} {parents} {size_bytes} {rotational} {filesystem} {points}")
    };
    let rows: Vec<String> = machine.disks.iter().map(row).collect();
    assert_eq!(
        rows,
        [
            "dm-0 lvm vg-root sda2 30720 false ext4 /",
            "dm-1 crypt swap_crypt  10240 false swap [SWAP]",
            "md0 raid1   4096 false  ",
            "sda disk   51200 true  ",
            "sda1 part  sda 10240 true ext4 /boot",
            "sda2 part  sda 40960 true LVM2_member ",
            "sr0 rom   2048 false  ",
        ]
    );
    assert_eq!(machine.disks[3].model, "ST1000");
}

#[test]
fn interfaces_are_hardware_and_what_lasts_and_their_routes_are_told() {
    let planted = server();
    for name in ["enp1s0", "br0", "veth1"] {
        planted.file(&format!("sys/class/net/{name}/address"), "02:00:00:00:00:01\n");
        planted.file(&format!("sys/class/net/{name}/mtu"), "1500\n");
        planted.file(&format!("sys/class/net/{name}/operstate"), "up\n");
    }
    planted.file("sys/class/net/enp1s0/device/x", "");
    planted.file("sys/class/net/enp1s0/speed", "-1\n");
    planted.file("sys/class/net/br0/uevent", "DEVTYPE=bridge\nINTERFACE=br0\n");
    planted.file("proc/1/net/dev", "enp1s0: 7 0 0 0 0 0 0 0 9 0\n");
    planted.file(
        "proc/1/net/if_inet6",
        "fd000000000000000000000000000002 04 40 00 82 enp1s0\n",
    );
    let route = |device: &str| format!("{device} 00000000 00000000 0001 0 0 0 00000000 0 0 0\n");
    planted.file("proc/1/net/route", &(route("enp1s0") + &route("veth1")));
    let (machine, gaps, observed) = planted.look();
    assert_eq!(gaps, Vec::<String>::new());
    let row = |i: &safetytwin_crds::item::machine::Interface| {
        format!("{} {} {} {}", i.name, i.kind, i.mtu, i.addresses.join("+"))
    };
    let rows: Vec<String> = machine.interfaces.iter().map(row).collect();
    assert_eq!(rows, ["br0 bridge 1500 ", "enp1s0  1500 fd00::2/64"]);
    let routes: Vec<_> = machine
        .routes
        .iter()
        .map(|r| (r.device.as_str(), r.destination.as_str()))
        .collect();
    assert_eq!(routes, [("enp1s0", "0.0.0.0/0")]);
    let moving = &observed.interfaces[1];
    assert_eq!((moving.state.as_str(), moving.speed_mbps), ("up", None));
    assert_eq!((moving.received_bytes, moving.sent_bytes), (Some(7), Some(9)));
}

#[test]
fn what_cannot_be_read_is_named_and_never_taken_for_nothing() {
    let (_, gaps, observed) = Planted::new(&[]).look();
    let all = gaps.join("\n");
    for missing in [
        "/proc/meminfo",
        "/proc/1/mountinfo",
        "/proc/swaps",
        "/proc/cpuinfo",
        "/proc/1/net/route",
        "/proc/sys/kernel/osrelease",
        "online CPUs",
        "interfaces and IPv4 addresses are unknown",
    ] {
        assert!(all.contains(missing), "{missing} is not in {all}");
    }
    assert_eq!(observed.clock_synchronized, None);
}

#[test]
fn what_no_kernel_says_is_bounded_printable_and_named() {
    let planted = server();
    for (device, size) in [("sdb", "-5"), ("sdc", "18446744073709551615"), ("sdd", "many")] {
        planted.file(&format!("sys/block/{device}/size"), size);
    }
    planted.file("sys/block/s\u{1b}[2Jx/size", "1\n");
    planted.file(
        "proc/meminfo",
        "MemTotal: -1 kB\nSwapTotal: 99999999999999999999 kB\n",
    );
    planted.file("sys/devices/system/cpu/online", "0-4294967295\n");
    planted.file("etc/hostname", "a\u{202e}b\n");
    let mut mounts = String::new();
    for number in 0..10_000 {
        writeln!(mounts, "1 1 8:1 / /m{number:05} rw - ext4 /dev/sda1 rw").unwrap();
    }
    planted.file("proc/1/mountinfo", &mounts);
    let (machine, gaps, _) = planted.look();
    let all = gaps.join("\n");
    for told in ["size of sdb", "size of sdc", "size of sdd", "no MemTotal"] {
        assert!(all.contains(told), "{told} is not in {all}");
    }
    assert_eq!(
        (machine.memory_bytes, machine.swap_bytes, machine.cpu.threads),
        (0, 0, 8192)
    );
    assert_eq!(machine.hostname, "a\\u{202e}b");
    let odd = machine.disks.iter().find(|d| d.name.starts_with("s\\"));
    assert_eq!(odd.unwrap().name, "s\\u{1b}[2Jx");
    let boot = machine.disks.iter().find(|d| d.name == "sda1").unwrap();
    assert_eq!(boot.mountpoints.len(), 64);
}

#[test]
fn a_hundred_thousand_entries_are_cut_and_told() {
    let planted = server();
    let dir = planted.0.path().join("sys/bus/pci/devices");
    for number in 0..100_000 {
        std::fs::File::create(dir.join(number.to_string())).unwrap();
    }
    let mut routes = String::new();
    for number in 0..100_000 {
        writeln!(routes, "enp1s0 {number:08X} 00000000 0001 0 0 0 FFFFFFFF 0 0 0").unwrap();
    }
    planted.file("proc/1/net/route", &routes);
    planted.file("sys/class/net/enp1s0/device/x", "");
    let (machine, gaps, _) = planted.look();
    assert!(
        gaps.iter().any(|gap| gap.contains("more than 4096 entries")),
        "{gaps:?}"
    );
    // The table is longer than a file may be.
    assert!(machine.routes.len() <= 512);
    assert!(gaps.iter().any(|gap| gap.contains("route")), "{gaps:?}");
}

#[test]
fn the_same_machine_is_the_same_bytes_again() {
    let planted = server();
    let (first, _, _) = planted.look();
    // What moves of a machine.
    planted.file("proc/1/net/dev", "enp1s0: 700 0 0 0 0 0 0 0 900 0\n");
    planted.file("proc/loadavg", "5.00 5.00 5.00 1/2 3\n");
    let (second, _, _) = planted.look();
    assert_eq!(first, second);
}
