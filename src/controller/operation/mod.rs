//! Operations on a twin: apply, point, restore.
//!
//! ```text
//! number ─▶ TwinRevision (content) ─▶ status.operation ─▶ effects ─▶ status (operation removed)
//! ```
//! Everything before `status.operation` is inert: a revision or a number that nothing refers to is
//! adopted or replaced by the next attempt. Everything after it is finished or rolled back first,
//! also by another process, before anything is planned anew. All run under the twin's lock.

pub mod apply;
pub mod history;
pub mod journal;
pub mod objects;
pub mod point;
pub mod prune;
pub mod restore;

use std::time::Duration;

use kube::ResourceExt as _;
use safetytwin_crds::digitaltwin::{Operation, OperationKind};
use safetytwin_crds::{DigitalTwin, DigitalTwinStatus};

use super::context::Context;
use super::error::Error;
use super::ledger::Ledger;
use super::twin::home::{Home, uid_of};
use crate::plan::number::{self, KnownNumbers};
use crate::vm::VmFacts;

/// What an operation is worked with.
pub struct Job<'a> {
    /// Shared state.
    pub ctx: &'a Context,
    /// The twin's status.
    pub ledger: &'a Ledger,
    /// Where the twin lives.
    pub home: &'a Home,
    /// The VM as observed before.
    pub facts: &'a VmFacts,
}

/// Name of an operation's revision and of its TwinSnapshot.
pub fn name_of(twin: &DigitalTwin, number: i64) -> Result<String, Error> {
    Ok(number::name(&twin.name_any(), number, &uid_of(twin)?))
}

/// Name of an operation's point on the hypervisor: as [`name_of`], in `[a-z0-9-]`.
pub fn point_name(twin: &DigitalTwin, number: i64) -> Result<String, Error> {
    Ok(number::name(&dotless(&twin.name_any()), number, &uid_of(twin)?))
}

/// A name of an object as the hypervisor takes it.
fn dotless(name: &str) -> String {
    name.replace('.', "-")
}

impl Job<'_> {
    /// Claims the twin for this process: an epoch above all that ever acted, written to status
    /// first, then into the domain. Once per process and twin.
    pub async fn claim(&self, guest_epoch: i64) -> Result<i64, Error> {
        let twin = self.ledger.twin().await;
        let uid = uid_of(&twin)?;
        let known = self.ledger.status().await.epoch;
        let highest = known.max(guest_epoch).max(self.facts.epoch);
        if self.ctx.memory.epoch_of(&uid) == Some(highest) && highest == known {
            return Ok(highest);
        }
        let epoch = highest + 1;
        self.ledger.update(|status| status.epoch = epoch).await?;
        self.ledger.guard().await?;
        self.home.vm.claim(epoch).await?;
        self.ctx.memory.set_epoch(&uid, epoch);
        Ok(epoch)
    }

    /// Counts an operation that has ended; answers how long it took, since it was recorded.
    pub fn counted(&self, operation: &Operation, kind: &'static str, result: &'static str) -> Duration {
        let now = self.ctx.clock.now();
        let begun = operation.started_time.parse().unwrap_or(now);
        let took = Duration::try_from(now.duration_since(begun)).unwrap_or_default();
        self.ctx.metrics.operated(kind, result, took);
        took
    }

    /// The next operation's number: above everything that ever carried one.
    pub async fn next_number(&self, manifest: i64) -> Result<i64, Error> {
        let twin = self.ledger.twin().await;
        let name = dotless(&twin.name_any());
        let names: Vec<String> = self.facts.points.iter().map(|p| p.name.clone()).collect();
        let known = KnownNumbers {
            last_operation: twin.status.as_ref().map_or(0, |s| s.last_operation),
            manifest,
            names: &names,
        };
        Ok(number::next(&name, &uid_of(&twin)?, &known))
    }

    /// Records an operation before its first effect, with what else becomes true at that moment.
    pub async fn begin(
        &self,
        operation: Operation,
        also: impl FnOnce(&mut DigitalTwinStatus) + Send,
    ) -> Result<(), Error> {
        self.ledger
            .update(|status| {
                status.last_operation = operation.number;
                status.operation = Some(operation);
                also(status);
            })
            .await
    }
}

/// Lower-case kind of an operation, for metrics.
pub fn label(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Apply => "apply",
        OperationKind::Restore => "restore",
        OperationKind::Point => "point",
    }
}
