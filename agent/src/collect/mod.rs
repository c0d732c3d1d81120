//! Collectors: one source of host state each, in one file or folder each. This is the plug-in
//! point: another service manager or engine is one more type that implements [`Collector`] and
//! one more line in [`registry`].
//!
//! ```text
//! Collector ──collect()──▶ Collected ──runner──▶ Board ──▶ assemble ──▶ publish
//!     ▲  changed()         (a thread of its own,   ▲  (last known content)
//!     │                     budget, breaker)       │
//!     └────────── watchdog: one that does not come back is given up
//! ```
//! Invariants: a collector only reads; it starts no process per cycle; it activates nothing by
//! looking; a failure is its own section's and no other's. It may block its thread, which nobody
//! else uses; work that it gave to another thread would escape its budget.

pub mod accounts;
pub mod board;
pub mod breaker;
pub mod bus;
pub mod census;
pub mod containers;
pub mod load;
pub mod machine;
pub mod meter;
pub mod optin;
pub mod processes;
pub mod runit;
pub mod runner;
pub mod schedstat;
pub mod size;
pub mod steady;
pub mod thread;
pub mod units;
pub mod watch;
pub mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::hoststate::{Load, MachineSummary};
use safetytwin_crds::item::{ContainerItem, Machine, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::{MAX_PARTS, PART_BYTES, SectionName};
use serde::Serialize;

use crate::settings::Settings;

/// What a collector found. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Collected {
    /// The items.
    pub content: Arc<Content>,
    /// Why the list is not whole, for people; empty means Complete.
    pub gaps: Vec<String>,
    /// What changes by itself; goes to the `observed` section.
    pub observed: Arc<Observed>,
}

impl Collected {
    /// A whole list.
    pub fn whole(content: Content) -> Self {
        Self {
            content: content.into(),
            gaps: Vec::new(),
            observed: Arc::default(),
        }
    }

    /// The same in the allocations of `before` where it is equal: what is the same allocation is neither compared,
    /// counted nor encoded again.
    #[must_use]
    pub fn sharing(mut self, before: &Self) -> Self {
        share(&mut self.content, &before.content);
        share(&mut self.observed, &before.observed);
        self
    }
}

/// Makes `now` the allocation of `before` if it is equal.
fn share<T: PartialEq>(now: &mut Arc<T>, before: &Arc<T>) {
    if !Arc::ptr_eq(now, before) && **now == **before {
        *now = Arc::clone(before);
    }
}

/// Items of one kind. Several collectors may feed one section: their items are merged. Who keeps an item that stayed
/// as it was hands over the same allocation: it is neither copied nor compared again, nor made a part anew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Content {
    /// Units, and the two numbers that the head shows.
    Units {
        /// The units, any order.
        items: Vec<Arc<UnitItem>>,
        /// Services that are loaded and not inactive, as `systemctl list-units` shows them.
        services: i32,
        /// Units in state failed.
        failed: i32,
    },
    /// Containers, any order.
    Containers(Vec<Arc<ContainerItem>>),
    /// Independent processes, any order.
    Processes(Vec<Arc<ProcessItem>>),
    /// The machine and its summary for the head.
    Machine {
        /// The item.
        item: Box<Machine>,
        /// For the head.
        summary: MachineSummary,
    },
    /// Load, which is in the head; what is finer of it is observed.
    Load(Load),
    /// Items of an opt-in section, which one collector feeds.
    Listed(#[serde(skip)] optin::Listed),
}

/// Items as [`Content`] takes them.
pub fn shared<T>(items: impl IntoIterator<Item = T>) -> Vec<Arc<T>> {
    items.into_iter().map(Arc::new).collect()
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At everything: the first look, and the audit at a long interval.
    Audit,
    /// At what `changed` announced.
    Changes,
}

/// What a collector may use. A look that takes more time gives nothing: the section keeps its last content and says why.
/// A list that is too long is cut ([`size`]), and its section is Partial.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Longest time of one `collect`.
    pub wall: Duration,
    /// Most time on a CPU of one `collect`, as the clock of the collector's thread counts it.
    pub cpu: Duration,
    /// Most bytes of JSON of the items; what moves by itself may be as many.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(20),
            // Hundreds of times what a look costs on a large host, and enough for one on an emulated machine: for
            // defects, not for saving.
            cpu: Duration::from_secs(20),
            // What a section holds, less what stays free at the end of its parts.
            bytes: (MAX_PARTS - 2) * PART_BYTES,
        }
    }
}

/// A look at a source that gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The source does not exist here or cannot be reached without changing the host.
    #[error("{0}")]
    Unavailable(String),
    /// A D-Bus call failed.
    #[error("failed to call {call} over D-Bus: {source}")]
    Bus {
        /// Member name of the call.
        call: &'static str,
        /// Why.
        source: zbus::Error,
    },
    /// A container engine's API failed.
    #[error("failed to ask {engine}: {source}")]
    Engine {
        /// docker or podman.
        engine: &'static str,
        /// Why.
        source: bollard::errors::Error,
    },
    /// A file of the host could not be read.
    #[error(transparent)]
    Read(#[from] crate::hostroot::ReadError),
    /// What was found cannot be encoded.
    #[error(transparent)]
    Encode(#[from] safetytwin_crds::section::SectionError),
    /// The wall budget is spent.
    #[error("failed to finish within {} s", .0.as_secs())]
    Slow(Duration),
    /// The CPU budget is spent.
    #[error("over its CPU budget: {:.1} s of {:.1} s", used.as_secs_f64(), limit.as_secs_f64())]
    Costly {
        /// Time on a CPU so far.
        used: Duration,
        /// The budget.
        limit: Duration,
    },
    /// The byte budget is spent on what is no list.
    #[error("over its size budget: more than {} KiB", .0 / 1024)]
    Large(usize),
    /// It neither ends nor lets others run; the watchdog says so in its stead.
    #[error("given up until it comes back: no sign of life for {} s, {:.1} s of them on a CPU", silent.as_secs(), cpu.as_secs_f64())]
    Stuck {
        /// Since its last sign of life.
        silent: Duration,
        /// Time on a CPU meanwhile.
        cpu: Duration,
    },
    /// The helper process of level full ended; what is read without it would be other identities.
    #[error("the helper process of --level full ended; the agent ends for it, to be started anew")]
    HelperEnded,
    /// A defect of the collector.
    #[error("the collector stopped unexpectedly")]
    Panicked,
}

/// A source of host state.
#[async_trait]
pub trait Collector: Send {
    /// Short lower-case name, unique; in logs.
    fn name(&self) -> &'static str;

    /// The section that it feeds, and that says so when it fails; none where it has nothing to say on this host.
    fn section(&self) -> Option<SectionName>;

    /// What one look may cost.
    fn budget(&self) -> Budget {
        Budget::default()
    }

    /// Longest time between two audits.
    fn audit_interval(&self) -> Duration;

    /// Looks at the source. After an error the next call has scope Audit.
    async fn collect(&mut self, scope: Scope) -> Result<Collected, CollectError>;

    /// Resolves when the source may have changed; may be dropped at any await. A source without
    /// events never resolves.
    async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// All collectors of this build, in the order of their sections.
pub fn registry(settings: &Settings) -> Vec<Box<dyn Collector>> {
    // One each: a connection lives on the thread of its collector.
    let bus = || bus::Bus::new(settings.dbus_socket.clone());
    let pids = processes::MainPids::default();
    let mut collectors: Vec<Box<dyn Collector>> = vec![
        Box::new(units::Units::new(settings, bus(), pids.clone())),
        Box::new(runit::Runit::new(settings)),
        Box::new(containers::Containers::new(settings, bus())),
        Box::new(processes::Processes::new(settings, pids)),
        Box::new(machine::MachineFacts::new(settings)),
        Box::new(load::HostLoad::new(settings)),
    ];
    collectors.extend(optin::collectors(settings));
    collectors
}

#[cfg(test)]
mod tests;
