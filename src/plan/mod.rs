//! PURE: what to do about a twin. No async, no clock, no client; every fact is an argument.
//!
//! ```text
//! host items + spec ──selection──▶ desired (rendered) ──diff with manifest──▶ Diff
//! Changes + guest facts ──steps──▶ StepPlan, run by `execute`
//! ```
//! Total and deterministic: same arguments, same answer; no input panics.

pub mod desired;
pub mod diff;
pub mod number;
pub mod offline;
pub mod point_mode;
pub mod preflight;
pub mod quantity;
pub mod removal;
pub mod retention;
pub mod retry;
pub mod selection;
pub mod status;
pub mod steps;
pub mod summary;

pub use desired::desired;
pub use diff::{Diff, diff};
pub use offline::offline;
pub use removal::{Observation, WaitingOn};
pub use steps::{StepPlan, steps};

use safetytwin_crds::item::{ContainerItem, ProcessItem, UnitItem};
use safetytwin_crds::manifest::{Manifest, ManifestItem};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::{DesiredFile, DesiredItem};
use safetytwin_crds::section::{RefusedItem, SectionState};

use crate::facts::Accounts;

/// A host's items as decoded from its sections. `None`: the section is not published or not readable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostItems {
    /// Units.
    pub units: Option<SectionItems<UnitItem>>,
    /// Containers.
    pub containers: Option<SectionItems<ContainerItem>>,
    /// Independent processes.
    pub processes: Option<SectionItems<ProcessItem>>,
}

/// Items of a section.
#[derive(Clone, Debug, PartialEq)]
pub struct SectionItems<T> {
    /// How much of the truth this is; absence means something only when Complete.
    pub state: SectionState,
    /// Items, in identity order.
    pub items: Vec<T>,
    /// Items that could not be decoded: present on the host, so never removed for being absent.
    pub refused: Vec<RefusedItem>,
}

/// What differs between the desired content and what the guest's manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Not in the manifest.
    pub added: Vec<DesiredItem>,
    /// In the manifest with other rendered bytes, run class or enablement, or due for a retry.
    pub changed: Vec<DesiredItem>,
    /// In the manifest, confirmed gone from the host.
    pub removed: Vec<ManifestItem>,
    /// In the manifest, absent from the host, not confirmed: kept as they are.
    pub kept: Vec<ManifestItem>,
    /// As they should be.
    pub untouched: Vec<ManifestItem>,
}

/// One unit job with what is known before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitJob {
    /// Start a unit that does not run.
    Start(UnitName),
    /// Restart a unit whose definition changed; skipped when its InvocationID is no longer `before`.
    Restart {
        /// The unit.
        unit: UnitName,
        /// InvocationID before.
        before: String,
    },
    /// Stop a unit that the host has down.
    Stop(UnitName),
}

/// What a unit must be after activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Active (or activating with auto-restart, as on the host).
    Up,
    /// Inactive or failed.
    Down,
    /// Anything: the host has it failed, or it is on demand.
    Any,
}

/// An effect as a value; `execute` performs it. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take the restore point of the operation, or find the one it shares.
    TakePoint,
    /// Take the guest's lock and write the operation record.
    Lock,
    /// Make missing users and groups.
    MakeAccounts(Accounts),
    /// Stop units of removed items.
    StopRemoved(Vec<UnitName>),
    /// Disable units: of removed items that we enabled, and those that the host has disabled.
    Disable(Vec<UnitName>),
    /// Remove files of removed items and files that an item no longer has.
    RemoveFiles(Vec<String>),
    /// Unmask before writing.
    Unmask(Vec<UnitName>),
    /// Write files.
    WriteFiles(Vec<DesiredFile>),
    /// One daemon-reload; only when a loaded unit's files changed.
    Reload,
    /// Enable units.
    Enable(Vec<UnitName>),
    /// Mask units.
    Mask(Vec<UnitName>),
    /// Run all jobs at once; systemd orders them.
    Activate(Vec<UnitJob>),
    /// Compare with the host's run class; failures are the item's own.
    Verify(Vec<(UnitName, Expect)>),
    /// A new SSH connection must work.
    ProveChannel,
    /// Write the manifest; last effect in the guest.
    Record(Manifest),
    /// Remove the operation record, give the lock back.
    Unlock,
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
