//! The machine: hardware, operating system, disks, interfaces, routes. Slow-changing facts from files;
//! what moves of them goes to `observed`.

mod block;
mod cpu;
mod mounts;
mod net;
mod pci;
mod routes;
mod source;
mod system;
#[cfg(test)]
mod tests;
mod virt;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::hoststate::MachineSummary;
use safetytwin_crds::item::Observed;
use safetytwin_crds::item::machine::Machine;
use safetytwin_crds::item::observed::ObservedMachine;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use self::cpu::KnownCpu;
use self::source::{Source, word};
use super::load::kib;
use super::steady::Steady;
use super::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::HostRoot;
use crate::redact::Redactor;
use crate::settings::Settings;

const AUDIT: Duration = Duration::from_secs(60);

/// The collector.
pub struct MachineFacts {
    root: HostRoot,
    redactor: Redactor,
    memory: Memory,
}

/// What a look remembers for the next.
#[derive(Default)]
struct Memory {
    cpu: KnownCpu,
    interfaces: Steady,
    gpus: Steady,
}

impl MachineFacts {
    /// A collector of the host's hardware and operating system.
    pub fn new(settings: &Settings) -> Self {
        Self {
            root: settings.root.clone(),
            redactor: settings.redactor.clone(),
            memory: Memory::default(),
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
        Ok(look(&self.root, &self.redactor, &mut self.memory))
    }
}

fn look(root: &HostRoot, redactor: &Redactor, memory: &mut Memory) -> Collected {
    let mut source = Source::new(root);
    let (interfaces, moving) = net::interfaces(&mut source, &mut memory.interfaces);
    let routes = routes::routes(&mut source, &interfaces);
    let pci = pci::devices(&mut source);
    let gpus = pci::memory(&source, &pci, &mut memory.gpus);
    let meminfo = source.proc("meminfo");
    let bytes = |key: &str| {
        let bytes = kib(&meminfo, key).and_then(|kib| kib.checked_mul(1024));
        bytes.and_then(|bytes| i64::try_from(bytes).ok())
    };
    let machine = Machine {
        hostname: system::hostname(&mut source),
        kernel: printable(source.proc("sys/kernel/osrelease").trim(), 128),
        architecture: std::env::consts::ARCH.to_owned(),
        systemd: system::systemd(root),
        cpu: memory.cpu.look(&mut source),
        memory_bytes: bytes("MemTotal").unwrap_or(0),
        swap_bytes: bytes("SwapTotal").unwrap_or(0),
        disks: block::disks(&mut source),
        interfaces,
        routes,
        gpus: pci::accelerators(&pci),
        pci,
        virtualization: virt::virtualization(&source),
        product: system::product(&source),
        firmware: system::firmware(&source),
        os: system::os(root),
    };
    if bytes("MemTotal").is_none() {
        source.gaps.push("/proc/meminfo: no MemTotal".into());
    }
    let summary = summary(&source, redactor, &machine);
    Collected {
        content: Arc::new(Content::Machine {
            item: Box::new(machine),
            summary,
        }),
        gaps: source.gaps,
        observed: Arc::new(Observed {
            machine: Some(ObservedMachine {
                clock_synchronized: system::clock_synchronized(root),
                interfaces: moving,
                gpus,
            }),
            ..Observed::default()
        }),
    }
}

fn summary(source: &Source, redactor: &Redactor, machine: &Machine) -> MachineSummary {
    MachineSummary {
        machine_id: redactor.published_id(),
        system_uuid: printable(&word(&source.sys("class/dmi/id/product_uuid")), 64),
        os: printable(&system::short_os(&machine.os), 64),
        kernel: printable(&machine.kernel, 128),
        architecture: None,
        cpus: machine.cpu.threads,
        memory_mib: machine.memory_bytes / 1024 / 1024,
    }
}
