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
pub mod objects;
pub mod point;

use kube::ResourceExt as _;
use safetytwin_crds::DigitalTwin;
use safetytwin_crds::digitaltwin::{Operation, OperationKind};

use super::context::Context;
use super::error::Error;
use super::ledger::Ledger;
use super::twin::home::{Home, short, uid_of};
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

/// Name of the revision and of the automatic point of an operation: `<twin>-r<number>-<short uid>`.
pub fn name_of(twin: &DigitalTwin, number: i64) -> Result<String, Error> {
    Ok(format!(
        "{}-r{number:04}-{}",
        twin.name_any(),
        short(&uid_of(twin)?).get(..4).unwrap_or("0000")
    ))
}

/// Name of an operation's point on the hypervisor: as [`name_of`], in `[a-z0-9-]`.
pub fn point_name(twin: &DigitalTwin, number: i64) -> Result<String, Error> {
    Ok(name_of(twin, number)?
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .collect())
}

/// Number in a point's name; `None` for names that are not ours.
pub fn number_in(point: &str) -> Option<i64> {
    let (rest, _uid) = point.rsplit_once('-')?;
    rest.rsplit_once("-r")?.1.parse().ok()
}

/// The next operation number: above everything that ever carried one, so that no name is used twice.
pub fn next_number(last: i64, facts: &VmFacts, manifest: i64) -> i64 {
    let points = facts.points.iter().filter_map(|p| number_in(&p.name));
    points.chain([last, manifest]).max().unwrap_or(0) + 1
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

    /// Records an operation before its first effect.
    pub async fn begin(&self, operation: Operation) -> Result<(), Error> {
        self.ledger
            .update(|status| {
                status.last_operation = operation.number;
                status.operation = Some(operation);
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

#[cfg(test)]
mod tests {
    use safetytwin_crds::twinsnapshot::TakenMode;

    use super::*;
    use crate::vm::Point;

    fn facts(points: &[&str]) -> VmFacts {
        let point = |name: &&str| Point {
            name: (*name).into(),
            parent: None,
            current: false,
            mode: TakenMode::Full,
        };
        VmFacts {
            running: true,
            incarnation: String::new(),
            memory_bytes: 0,
            epoch: 0,
            free_bytes: 0,
            isolated: true,
            addresses: Vec::new(),
            points: points.iter().map(point).collect(),
        }
    }

    #[test]
    fn a_number_is_above_status_points_and_manifest() {
        let facts = facts(&["web-01-r0016-9c1e", "taken-by-hand"]);
        assert_eq!(next_number(3, &facts, 2), 17);
        assert_eq!(next_number(20, &facts, 2), 21);
        assert_eq!(next_number(0, &self::facts(&[]), 0), 1);
    }

    #[test]
    fn a_point_name_gives_its_number_back_and_has_no_dots() {
        let twin: DigitalTwin = serde_json::from_value(serde_json::json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": "web.r1", "namespace": "ops", "uid": "9c1e2f00-1111-4222-8333-444455556666"},
            "spec": {"hostRef": {"name": "h"}, "className": "lab"},
        }))
        .unwrap();
        let name = point_name(&twin, 16).unwrap();
        assert_eq!(name, "web-r1-r0016-9c1e");
        assert_eq!(number_in(&name), Some(16));
        assert_eq!(number_in("by-hand"), None);
    }
}
