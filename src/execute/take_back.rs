//! Takes a whole twin back to the point before an operation, and sets the changed items aside.
//!
//! What cuts a guest off may have been enabled by an earlier operation already: then a Disk point boots into the
//! same silence, and the point before it is tried, and so on. Units that are set aside do not start at a boot.

use std::sync::Arc;
use std::time::Duration;

use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::UnitName;

use super::apply::ApplyInput;
use super::{ExecuteError, Ports, connect, manifest_of};
use crate::facts::Preflight;
use crate::facts::lineage;
use crate::guest::{Guest, GuestError};
use crate::plan::steps::{StepInput, quarantine};
use crate::plan::{Changes, diff};
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

/// Reverts to the operation's own point; an operation that took none goes back to the newest; where the guest does
/// not answer there either, to the one before. With the changed items set aside in the manifest that comes back, the
/// operation is finished. `seen` is the manifest before the operation, where it is known.
///
/// # Errors
/// It could not be finished; the operation is tried again from its record.
pub(super) async fn take_back(
    input: &ApplyInput<'_>,
    ports: &Ports<'_>,
    message: &str,
    seen: Option<&Manifest>,
) -> Result<Manifest, ExecuteError> {
    let (guest, target, has_clock) = reachable(input, ports).await?;
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
    guest.disable(&set_aside(&changes, before)).await?;
    guest.write_manifest(&manifest).await?;
    guest.write_operation(None).await?;
    guest.unlock(input.ids.epoch).await?;
    Ok(manifest)
}

/// Units that are in the guest already and enabled by us, of items that are set aside: enabled again when their item
/// is applied.
fn set_aside(changes: &Changes, before: &Manifest) -> Vec<UnitName> {
    let placed = changes.changed.iter().filter_map(|item| before.item(&item.id));
    let ours = placed.filter(|item| item.enabled_by_us && !item.vendor);
    ours.map(|item| item.unit.clone()).collect()
}

/// Reverts to the newest point of [`targets`] that can be loaded and at which the guest answers. Answers with it, and
/// whether the hypervisor has set the guest's clock.
async fn reachable(
    input: &ApplyInput<'_>,
    ports: &Ports<'_>,
) -> Result<(Arc<dyn Guest>, String, bool), ExecuteError> {
    let mut silent = None;
    for target in targets(input, ports).await? {
        ports.door.hang_up().await;
        ports.journal.guard().await?;
        match ports.vm.revert(&target, input.ids.epoch).await {
            Ok(()) => {}
            Err(error @ VmError::NotReverted { .. }) => {
                tracing::warn!(point = target, %error, "this point cannot be gone back to");
                silent = Some(error.into());
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let has_clock = ports.vm.set_clock().await?;
        match connect(ports, BOOT).await {
            Ok(guest) => return Ok((guest, target, has_clock)),
            Err(error) if is_lost(&error) => {
                tracing::warn!(point = target, %error, "the guest does not answer at this point either");
                silent = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(silent.unwrap_or_else(|| {
        VmError::Missing {
            what: "point",
            name: input.point.name.clone(),
            hint: "the twin cannot be taken back: repair it by hand, or delete it".into(),
        }
        .into()
    }))
}

/// The points to go back to, in turn: the operation's own, or the current one after an interrupted revert and of an
/// operation that took none; then those that it was built on.
async fn targets(input: &ApplyInput<'_>, ports: &Ports<'_>) -> Result<Vec<String>, ExecuteError> {
    let facts = ports.vm.observe().await?;
    let points = facts.map(|facts| facts.points).unwrap_or_default();
    let named = |name: &str| points.iter().find(|point| point.name == name);
    let first = named(&input.point.name).or_else(|| points.iter().find(|point| point.current));
    let before = first.map(|point| lineage::ancestors(&points, point));
    let names = first.map(|point| point.name.as_str()).into_iter();
    Ok(names
        .chain(before.into_iter().flatten())
        .map(str::to_owned)
        .collect())
}
