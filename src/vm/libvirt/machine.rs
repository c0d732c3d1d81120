//! The domain of a twin, as libvirt's XML (formatdomain).

use safetytwin_crds::twinclass::Vm;

use super::super::VmSpec;
use super::read::Owner;
use super::xml::{Element, element};
use crate::vm::MARK;

/// Where the parts of a domain lie, as the hypervisor's own paths.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) disk: String,
    pub(super) seed: String,
    pub(super) kernel: Option<String>,
    pub(super) initrd: Option<String>,
    pub(super) console: String,
    /// Hardware virtualisation.
    pub(super) kvm: bool,
}

/// Our metadata element, for a call that is told the namespace beside it.
pub(super) fn mark(owner: &Owner) -> Element {
    element("twin").attr("uid", &owner.uid).attr("epoch", owner.epoch)
}

/// Our metadata element inside a domain.
fn metadata(owner: &Owner) -> Element {
    element("safetytwin:twin")
        .attr("xmlns:safetytwin", MARK)
        .attr("uid", &owner.uid)
        .attr("epoch", owner.epoch)
}

/// The domain: q35 by default, virtio only, one interface, generation id, guest agent channel, and a
/// serial console whose output is kept beside the disk.
pub(super) fn domain(spec: &VmSpec, parts: &Parts) -> Element {
    let owner = Owner {
        uid: spec.twin_uid.clone(),
        epoch: 0,
    };
    element("domain")
        .attr("type", if parts.kvm { "kvm" } else { "qemu" })
        .child(element("name").text(&spec.name))
        .child(element("uuid").text(&spec.uuid))
        .child(element("genid"))
        .child(element("metadata").child(metadata(&owner)))
        .child(element("memory").attr("unit", "bytes").text(spec.memory_bytes))
        .child(element("vcpu").text(spec.cpus))
        .child(boot(spec, parts))
        .child(element("features").child(element("acpi")).child(element("apic")))
        .child(cpu(&spec.vm, parts.kvm))
        .child(element("clock").attr("offset", "utc"))
        .child(element("on_poweroff").text("destroy"))
        .child(element("on_reboot").text("restart"))
        .child(element("on_crash").text("restart"))
        .child(devices(spec, parts))
}

fn boot(spec: &VmSpec, parts: &Parts) -> Element {
    let file = |name, path: &Option<String>| path.as_ref().map(|path| element(name).text(path));
    let cmdline = spec.vm.cmdline.as_ref().filter(|_| parts.kernel.is_some());
    element("os")
        .child(element("type").attr("machine", &spec.vm.machine).text("hvm"))
        .children(file("kernel", &parts.kernel))
        .children(file("initrd", &parts.initrd))
        .children(cmdline.map(|text| element("cmdline").text(text)))
}

/// Features with which a guest copies memory by `rep movsb`, which QEMU's translator does byte by byte: without them an
/// emulated guest copies five times as fast.
const SLOW_EMULATED: [&str; 2] = ["erms", "fsrm"];

fn cpu(vm: &Vm, kvm: bool) -> Element {
    let model = vm.cpu.as_str();
    // A PC; other machines have none of these.
    let x86 = vm.machine.contains("q35") || vm.machine.contains("i440fx") || vm.machine == "pc";
    let without = SLOW_EMULATED
        .into_iter()
        .filter(|_| !kvm && x86 && model == "maximum");
    match model {
        "maximum" | "host-model" | "host-passthrough" => element("cpu")
            .attr("mode", model)
            .children(without.map(|name| element("feature").attr("policy", "disable").attr("name", name))),
        named => element("cpu")
            .attr("mode", "custom")
            .attr("match", "exact")
            .child(element("model").attr("fallback", "forbid").text(named)),
    }
}

fn devices(spec: &VmSpec, parts: &Parts) -> Element {
    let agent = element("target")
        .attr("type", "virtio")
        .attr("name", "org.qemu.guest_agent.0");
    let interface = element("interface")
        .attr("type", "network")
        .child(element("mac").attr("address", mac(&spec.uuid)))
        .child(element("source").attr("network", &spec.network))
        .child(element("model").attr("type", "virtio"));
    let console = element("serial")
        .attr("type", "pty")
        .child(element("log").attr("file", &parts.console).attr("append", "on"));
    let entropy = element("backend").attr("model", "random").text("/dev/urandom");
    element("devices")
        .child(system_disk(&parts.disk))
        .child(seed_disk(&parts.seed))
        .child(interface)
        .child(console)
        .child(element("channel").attr("type", "unix").child(agent))
        .child(element("rng").attr("model", "virtio").child(entropy))
        .child(element("video").child(element("model").attr("type", "none")))
        .child(element("memballoon").attr("model", "none"))
}

fn system_disk(path: &str) -> Element {
    let driver = element("driver").attr("name", "qemu").attr("type", "qcow2");
    disk(path, driver.attr("discard", "unmap"), "vda")
}

/// On virtio, since cloud kernels have no other disk driver. Points hold it like any other drive
/// (see [`Medium`](super::read::Medium)): an empty overlay of 200 KiB each.
fn seed_disk(path: &str) -> Element {
    let driver = element("driver").attr("name", "qemu").attr("type", "raw");
    disk(path, driver, "vdb").child(element("readonly"))
}

fn disk(path: &str, driver: Element, target: &str) -> Element {
    element("disk")
        .attr("type", "file")
        .attr("device", "disk")
        .child(driver)
        .child(element("source").attr("file", path))
        .child(element("target").attr("dev", target).attr("bus", "virtio"))
}

/// The MAC address of a VM: always the same for a UUID, in QEMU's range 52:54:00.
pub(super) fn mac(uuid: &str) -> String {
    let digest = blake3::hash(uuid.as_bytes());
    let [a, b, c, ..] = digest.as_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

#[cfg(test)]
mod tests {
    use super::super::super::VmOrigin;
    use super::super::read;
    use super::*;

    fn spec() -> VmSpec {
        VmSpec {
            name: "ops-web-01-9c1e".into(),
            uuid: "5f0c6f1e-6a7e-4b39-9d3c-0d6c2f6f9c1e".into(),
            twin_uid: "twin<1>".into(),
            origin: VmOrigin::Adopt,
            pool: "twins".into(),
            network: "twins-isolated".into(),
            vm: Vm {
                kernel: Some("vmlinuz".into()),
                cmdline: Some("root=/dev/vda \"x\" <y>".into()),
                ..Vm::default()
            },
            cpus: 2,
            memory_bytes: 1 << 30,
        }
    }

    fn parts() -> Parts {
        Parts {
            disk: "/p/a.qcow2".into(),
            seed: "/p/a.seed.img".into(),
            kernel: Some("/p/vmlinuz".into()),
            initrd: None,
            console: "/p/a.console.log".into(),
            kvm: false,
        }
    }

    #[test]
    fn the_domain_reads_back_with_both_its_drives_and_our_mark() {
        let seen = read::domain(&domain(&spec(), &parts()).to_string()).unwrap();
        let owner = seen.owner.unwrap();
        assert_eq!((owner.uid.as_str(), owner.epoch), ("twin<1>", 0));
        let drives: Vec<_> = seen
            .disks
            .iter()
            .map(|disk| (disk.target.as_str(), disk.files().concat()))
            .collect();
        let expected = [("vda", "/p/a.qcow2"), ("vdb", "/p/a.seed.img")];
        assert_eq!(drives, expected.map(|(target, file)| (target, file.to_owned())));
        assert_eq!(seen.interfaces.len(), 1);
        assert_eq!(seen.interfaces[0].network.as_deref(), Some("twins-isolated"));
    }

    #[test]
    fn a_kernel_command_line_stays_one_text() {
        let xml = domain(&spec(), &parts()).to_string();
        assert!(
            xml.contains("<cmdline>root=/dev/vda &quot;x&quot; &lt;y&gt;</cmdline>"),
            "{xml}"
        );
        assert!(xml.contains("<domain type=\"qemu\">"), "{xml}");
    }

    #[test]
    fn an_emulated_guest_of_no_named_model_has_no_slow_copies_and_any_other_has_what_it_asks_for() {
        let disabled = |kvm, model: &str, machine: &str| {
            let mut spec = spec();
            (spec.vm.cpu, spec.vm.machine) = (model.to_owned(), machine.to_owned());
            let xml = domain(&spec, &Parts { kvm, ..parts() }).to_string();
            let features = xml.split("<feature policy=\"disable\" name=\"").skip(1);
            features
                .map(|rest| rest.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        for machine in ["q35", "pc-q35-8.2", "pc", "pc-i440fx-8.2"] {
            assert_eq!(disabled(false, "maximum", machine), SLOW_EMULATED);
        }
        for (kvm, model, machine) in [
            (true, "maximum", "q35"),
            (false, "Nehalem", "q35"),
            (false, "host-model", "q35"),
            (false, "maximum", "virt"),
        ] {
            assert_eq!(disabled(kvm, model, machine), [""; 0], "{kvm} {model} {machine}");
        }
    }

    #[test]
    fn a_mac_address_belongs_to_its_uuid() {
        assert_eq!(mac("a"), mac("a"));
        assert_ne!(mac("a"), mac("b"));
        assert!(mac("a").starts_with("52:54:00:"));
    }
}
