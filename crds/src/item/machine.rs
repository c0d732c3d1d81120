//! The machine: hardware, operating system, addresses.

use serde::{Deserialize, Serialize};

/// What the host is made of. Only slow-changing facts; load is in the head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Static host name.
    pub hostname: String,
    /// `/etc/os-release` ID, VERSION_ID and PRETTY_NAME.
    pub os: Os,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture as uname gives it.
    pub architecture: String,
    /// systemd's version number; 0 when unknown.
    #[serde(default)]
    pub systemd: i32,
    /// CPU topology.
    pub cpu: Cpu,
    /// MemTotal in bytes.
    pub memory_bytes: i64,
    /// SwapTotal in bytes; 0 for none.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub swap_bytes: i64,
    /// Block devices of a size, partitions too, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Network interfaces, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Routes of the main tables over these interfaces, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// PCI devices, sorted by slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<PciDevice>,
    /// GPUs and other accelerators as `vendor:device` PCI ids, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// What systemd-detect-virt calls it (kvm, qemu, vmware, lxc …); empty on bare metal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub virtualization: String,
    /// DMI vendor and product.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub product: String,
    /// How it was booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
}

/// What booted the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firmware {
    /// `/sys/firmware/efi` exists.
    Uefi,
    /// It does not: a BIOS, or a hypervisor that loads the kernel itself.
    Bios,
}

/// Operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Os {
    pub id: String,
    pub version_id: String,
    pub pretty_name: String,
}

/// CPU topology as lscpu shows it, of the CPUs that are online.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Vendor id: `GenuineIntel`; the implementer's number on Arm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Model name.
    pub model: String,
    /// Sockets.
    pub sockets: i32,
    /// Physical cores in all sockets.
    pub cores: i32,
    /// Logical CPUs.
    pub threads: i32,
    /// NUMA nodes; 0 with a kernel that knows none.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub numa_nodes: i32,
    /// Features of the first CPU, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// A block device as lsblk shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Kernel name: `vda1`, `dm-0`.
    pub name: String,
    /// lsblk's TYPE: disk, part, lvm, crypt, mpath, raid1, loop, rom …
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name of a device-mapper device.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mapped_name: String,
    /// Kernel names of the devices that it lies on, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Size in bytes.
    pub size_bytes: i64,
    /// Rotational disk.
    pub rotational: bool,
    /// Cannot be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Model as the device says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Type of its content as udev knows it (`crypto_LUKS`, `LVM2_member`), else of its mount.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filesystem: String,
    /// Where it is mounted, sorted; `[SWAP]` while it is swapped to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mountpoints: Vec<String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// bond, bridge, vlan, wireguard, wlan …; empty for a plain one.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Driver of its device.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Hardware address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: i32,
    /// Addresses with prefix length, sorted; neither link-local nor temporary ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Address and prefix length; `0.0.0.0/0` and `::/0` are the default routes.
    pub destination: String,
    /// Next hop; absent when the destination is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Interface.
    pub device: String,
    /// Metric.
    pub metric: u32,
}

/// A PCI device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PciDevice {
    /// Address on the bus: `0000:00:02.0`.
    pub slot: String,
    /// Class, six hex digits: `030000` is a VGA controller.
    pub class: String,
    /// `vendor:device`, four hex digits each.
    pub id: String,
    /// Driver that it is bound to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
}
