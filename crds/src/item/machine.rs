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
    /// Block devices, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Network interfaces, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// GPUs and other accelerators as `vendor:device` PCI ids, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// Hypervisor as seen by the guest (kvm, qemu, vmware …); empty on bare metal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub virtualization: String,
    /// DMI vendor and product.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub product: String,
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

/// CPU topology as lscpu shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Model name.
    pub model: String,
    /// Sockets.
    pub sockets: i32,
    /// Physical cores in all sockets.
    pub cores: i32,
    /// Logical CPUs.
    pub threads: i32,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Kernel name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// Rotational disk.
    pub rotational: bool,
    /// Where it, or a part of it, is mounted, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mountpoints: Vec<String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: i32,
    /// Addresses with prefix length, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}
