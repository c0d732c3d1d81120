//! Takes a whole twin back to the point before an operation, and sets the changed items aside.

use std::time::Duration;

use safetytwin_crds::manifest::Manifest;

use super::apply::ApplyInput;
use super::{ExecuteError, Ports, connect, manifest_of};
use crate::facts::Preflight;
use crate::guest::GuestError;
use crate::plan::diff;
use crate::plan::steps::{StepInput, quarantine};
use crate::vm::VmError;

/// How long a guest may take to answer after it was taken back: a Disk point boots.
const BOOT: Duration = Duration::from_secs(120);

/// Whether nothing can be said to the guest any more.
pub(super) fn is_lost(error: &ExecuteError) -> bool {
    matches!(
        error,
        ExecuteError::Guest(GuestError::Unreachable { .. } | GuestError::Lost { .. })
    )
}

/// Reverts to the operation's own point; an operation that took none goes back to the newest. With the changed
/// items set aside in the manifest that comes back, the operation is finished. `seen` is the manifest before the
/// operation, where it is known.
///
/// # Errors
/// It could not be finished; the operation is tried again from its record.
pub(super) async fn take_back(
    input: &ApplyInput<'_>,
    ports: &Ports<'_>,
    message: &str,
    seen: Option<&Manifest>,
) -> Result<Manifest, ExecuteError> {
    ports.door.hang_up().await;
    ports.journal.guard().await?;
    let target = target(input, ports).await?;
    ports.vm.revert(&target, input.ids.epoch).await?;
    let has_clock = ports.vm.set_clock().await?;
    let guest = connect(ports, BOOT).await?;
    guest.lock(input.ids.epoch, input.ids.operation).await?;
    let now = ports.journal.now();
    if !has_clock {
        guest.set_clock(now).await?;
    }
    let reverted = manifest_of(guest.as_ref(), &input.ids.twin_uid, input.ids.epoch).await?;
    // Taken back to the same point before: that manifest is of the same state, and knows what failed so far.
    let is_same = |m: &&Manifest| m.taken_back.as_ref().is_some_and(|t| t.point == target);
    let before = seen.filter(is_same).unwrap_or(&reverted);
    let changes = diff::recorded(input.content, before, input.re_render, now);
    let plan = StepInput {
        changes: &changes,
        content: input.content,
        manifest: before,
        preflight: &Preflight::default(),
        units: &[],
        resumed: None,
        ids: input.ids,
        re_render: input.re_render,
        now,
    };
    let manifest = quarantine(&plan, &target, message);
    guest.write_manifest(&manifest).await?;
    guest.write_operation(None).await?;
    guest.unlock(input.ids.epoch).await?;
    Ok(manifest)
}

/// The point to go back to. After an interrupted revert it is the current one, too.
async fn target(input: &ApplyInput<'_>, ports: &Ports<'_>) -> Result<String, ExecuteError> {
    let own = &input.point.name;
    let points = ports
        .vm
        .observe()
        .await?
        .map(|facts| facts.points)
        .unwrap_or_default();
    let found = points
        .iter()
        .find(|point| point.name == *own)
        .or_else(|| points.iter().find(|point| point.current));
    found.map(|point| point.name.clone()).ok_or_else(|| {
        VmError::Missing {
            what: "point",
            name: own.clone(),
            hint: "the twin cannot be taken back: repair it by hand, or delete it".into(),
        }
        .into()
    })
}
