//! PCI devices, from one file of each.

use safetytwin_crds::item::machine::PciDevice;
use safetytwin_crds::item::observed::ObservedGpu;
use safetytwin_crds::names::printable;

use super::source::{Source, number, value};
use crate::collect::steady::Steady;
use crate::hostroot::read_plain;

const DEVICES: usize = 1024;

/// All PCI devices, sorted by slot.
pub fn devices(source: &mut Source) -> Vec<PciDevice> {
    let dir = source.sys("bus/pci/devices");
    let slots = source.names(&dir);
    let mut devices: Vec<PciDevice> = slots
        .into_iter()
        .filter_map(|slot| {
            let bytes = read_plain(&dir.join(&slot).join("uevent"), 4096).ok()?;
            let uevent = String::from_utf8_lossy(&bytes);
            let class = u32::from_str_radix(value(&uevent, "PCI_CLASS"), 16).ok()?;
            Some(PciDevice {
                class: format!("{class:06x}"),
                id: printable(&value(&uevent, "PCI_ID").to_lowercase(), 16),
                driver: printable(value(&uevent, "DRIVER"), 64),
                slot: printable(&slot, 32),
            })
        })
        .collect();
    source.bound("PCI devices", &mut devices, DEVICES);
    devices
}

const ACCELERATORS: [&str; 2] = ["03", "12"];

fn is_accelerator(device: &&PciDevice) -> bool {
    ACCELERATORS.iter().any(|class| device.class.starts_with(class))
}

/// Memory of GPUs, as far as sysfs tells it (Documentation/gpu/amdgpu/driver-misc.rst). Others tell
/// only a library that would have to be loaded.
pub fn memory(source: &Source, devices: &[PciDevice], steady: &mut Steady) -> Vec<ObservedGpu> {
    let gpu = |device: &PciDevice| {
        let dir = source.sys("bus/pci/devices").join(&device.slot);
        Some(ObservedGpu {
            memory_bytes: number(&dir.join("mem_info_vram_total"))?,
            memory_used_bytes: steady.hold(device.slot.as_str(), number(&dir.join("mem_info_vram_used"))?),
            slot: device.slot.clone(),
        })
    };
    let gpus = devices.iter().filter(is_accelerator).filter_map(gpu).collect();
    steady.end();
    gpus
}

/// Ids of display controllers and processing accelerators (classes 03 and 12), sorted.
pub fn accelerators(devices: &[PciDevice]) -> Vec<String> {
    let found = devices.iter().filter(is_accelerator);
    let mut ids: Vec<String> = found.map(|d| d.id.clone()).collect();
    ids.sort();
    ids
}
