//! What the machine is virtualised by, named and decided as systemd-detect-virt does (systemd's
//! src/basic/virt.c), without running it.

use super::source::{Source, word};

/// What there is to tell it by.
#[derive(Debug, Default)]
struct Signs {
    /// The container manager's own note, when the host is a container itself.
    container: String,
    /// Vendors and product in the DMI tables.
    dmi: Vec<String>,
    /// Vendor of the hypervisor by the CPU, twelve letters.
    cpu: String,
    /// `/sys/hypervisor/type`.
    hypervisor: String,
    /// `compatible` of the device tree's hypervisor node.
    device_tree: String,
}

/// DMI strings begin with one of these.
const DMI: [(&str, &str); 17] = [
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
];

/// Vendors that the CPU names.
const CPU: [(&str, &str); 9] = [
    ("XenVMMXenVMM", "xen"),
    ("KVMKVMKVM", "kvm"),
    ("Linux KVM Hv", "kvm"),
    ("TCGTCGTCGTCG", "qemu"),
    ("VMwareVMware", "vmware"),
    ("Microsoft Hv", "microsoft"),
    ("bhyve bhyve ", "bhyve"),
    ("QNXQVMBSQG", "qnx"),
    ("ACRNACRNACRN", "acrn"),
];

/// The name; empty on bare metal.
pub fn virtualization(source: &Source) -> String {
    let root = source.root;
    let notes = ["/run/host/container-manager", "/run/systemd/container"];
    let signs = Signs {
        container: notes
            .iter()
            .find_map(|note| root.read_word(note))
            .unwrap_or_default(),
        dmi: [
            "product_name",
            "sys_vendor",
            "board_vendor",
            "bios_vendor",
            "product_version",
        ]
        .iter()
        .map(|file| word(&source.sys(&format!("class/dmi/id/{file}"))))
        .collect(),
        cpu: cpu(),
        hypervisor: word(&source.sys("hypervisor/type")),
        device_tree: word(&root.proc().join("device-tree/hypervisor/compatible")),
    };
    safetytwin_crds::names::printable(&decide(&signs), 32)
}

fn decide(signs: &Signs) -> String {
    if !signs.container.is_empty() {
        return signs.container.clone();
    }
    let by_dmi = || {
        let names = signs.dmi.iter();
        names
            .filter_map(|text| DMI.iter().find(|(start, _)| text.starts_with(start)))
            .map(|(_, name)| *name)
            .next()
    };
    // These run on another's hypervisor, whose name the CPU says.
    let first = ["oracle", "amazon", "parallels", "google"];
    if let Some(name) = by_dmi().filter(|name| first.contains(name)) {
        return name.to_owned();
    }
    let by_cpu = CPU
        .iter()
        .find(|(vendor, _)| signs.cpu == vendor.trim_end_matches('\0'));
    let found = match (by_cpu, by_dmi()) {
        (Some((_, name)), _) => name,
        (None, Some(name)) => name,
        (None, None) if signs.hypervisor.starts_with("xen") => "xen",
        (None, None) if signs.device_tree.starts_with("linux,kvm") => "kvm",
        (None, None) if signs.device_tree.starts_with("xen") => "xen",
        (None, None) if signs.device_tree.starts_with("vmware") => "vmware",
        (None, None) if !signs.cpu.is_empty() || !signs.device_tree.is_empty() => "vm-other",
        (None, None) => "",
    };
    found.to_owned()
}

/// The hypervisor that the CPU names; empty without one. The agent runs on the host's CPU.
#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    use std::arch::x86_64::__cpuid;
    // Leaf 1, ECX bit 31: a hypervisor is there, and leaf 0x40000000 names it.
    if __cpuid(1).ecx & (1 << 31) == 0 {
        return String::new();
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_what_systemd_calls_it() {
        let signs = |cpu: &str, dmi: &[&str]| Signs {
            cpu: cpu.into(),
            dmi: dmi.iter().map(|text| (*text).to_owned()).collect(),
            ..Signs::default()
        };
        for (expected, signs) in [
            (
                "kvm",
                signs("KVMKVMKVM", &["Standard PC (Q35 + ICH9, 2009)", "QEMU"]),
            ),
            ("qemu", signs("TCGTCGTCGTCG", &["Standard PC", "QEMU"])),
            ("qemu", signs("", &["", "QEMU"])),
            ("amazon", signs("KVMKVMKVM", &["t3.micro", "Amazon EC2"])),
            ("google", signs("KVMKVMKVM", &["Google Compute Engine", "Google"])),
            ("oracle", signs("KVMKVMKVM", &["VirtualBox", "innotek GmbH"])),
            (
                "microsoft",
                signs("Microsoft Hv", &["Virtual Machine", "Microsoft Corporation"]),
            ),
            ("vm-other", signs("NeverHeardOf", &["Board", "Maker"])),
            ("", signs("", &["ThinkSystem SR650", "Lenovo"])),
            // A laptop by Microsoft is no virtual machine.
            ("", signs("", &["Surface Laptop", "Microsoft Corporation"])),
        ] {
            assert_eq!(decide(&signs), expected, "{signs:?}");
        }
        let mut container = signs("KVMKVMKVM", &["", "QEMU"]);
        container.container = "lxc".into();
        assert_eq!(decide(&container), "lxc");
    }
}
