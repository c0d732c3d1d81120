//! Whether guests can use KVM, found out by booting one: on some machines `/dev/kvm` exists but guests hang.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::image::Image;
use crate::cache::Cache;
use crate::command::finish_within;

/// How guests run on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// Hardware virtualisation.
    Kvm,
    /// Software emulation.
    Emulation,
}

impl Acceleration {
    /// The `type` of a libvirt domain.
    pub fn domain_type(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulation => "qemu",
        }
    }

    /// What a guest's kernel is told beside where its root is.
    ///
    /// Emulated processors share one time-stamp counter, which a kernel that sees two of them does not believe: it would
    /// ask the HPET for each time of day, in the emulator and under its lock. And an emulated processor has none of what
    /// mitigations are for, but each retpoline and each change of access to user memory ends a translated block.
    pub fn kernel_arguments(self) -> &'static str {
        match self {
            Self::Kvm => "console=ttyS0 quiet",
            Self::Emulation => {
                "console=ttyS0 quiet tsc=reliable mitigations=off clearcpuid=smap,smep no5lvl rcupdate.rcu_expedited=1"
            }
        }
    }

    /// One line for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Kvm => "guests run with KVM",
            Self::Emulation => {
                "guests run by software emulation, without mitigations: slower, and the lab's figures are to be read so"
            }
        }
    }
}

/// Longest time for a kernel to boot up to the search for its disk; with KVM it takes about a second, on a machine that
/// compiles meanwhile some more. It is waited out once a boot, where guests hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Tries KVM by a boot of the image's kernel without any disk, which must end in the kernel's panic. The answer
/// is kept until the machine boots again.
///
/// # Errors
/// The cache cannot be written.
pub fn detect(cache: &Cache, image: &Image) -> Result<Acceleration> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Acceleration::Emulation);
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let file = cache.root().join("kvm");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let works = match known.split_once(' ') {
        Some((answer, at)) if at == boot => answer == "works",
        _ => {
            let works = trial_boot(&image.kernel);
            std::fs::write(&file, format!("{} {boot}", if works { "works" } else { "hangs" }))?;
            works
        }
    };
    Ok(if works {
        Acceleration::Kvm
    } else {
        Acceleration::Emulation
    })
}

fn trial_boot(kernel: &Path) -> bool {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-machine",
        "q35,accel=kvm",
        "-cpu",
        "host",
        "-m",
        "256",
        "-display",
        "none",
        "-no-reboot",
    ]);
    qemu.args([
        "-nodefaults",
        "-serial",
        "stdio",
        "-append",
        "console=ttyS0 panic=-1",
        "-kernel",
    ])
    .arg(kernel);
    // A boot that hangs is killed at the limit and comes back as an error.
    finish_within(&mut qemu, &[], LIMIT).is_ok_and(|output| output.stdout.contains("Kernel panic"))
}
