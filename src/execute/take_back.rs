//! Takes a whole twin back to the point before an operation, and sets the changed items aside.

use std::time::Duration;

use safetytwin_crds::manifest::Manifest;

use super::apply::ApplyInput;
use super::{ExecuteError, Ports, connect, manifest_of};
use crate::facts::Preflight;
use crate::guest::GuestError;
use crate::plan::diff;
use crate::plan::steps::{StepInput, quarantine};

/// How long a guest may take to answer after it was taken back: a Disk point boots.
const BOOT: Duration = Duration::from_secs(120);

/// Whether nothing can be said to the guest any more.
pub(super) fn is_lost(error: &ExecuteError) -> bool {
    matches!(
        error,
        ExecuteError::Guest(GuestError::Unreachable { .. } | GuestError::Lost { .. })
    )
}

/// Reverts to the operation's own point. The manifest that comes back is the one before; with the
/// changed items set aside in it, the operation is finished.
///
/// # Errors
/// It could not be finished; the operation is tried again from its record.
pub(super) async fn take_back(
    input: &ApplyInput<'_>,
    ports: &Ports<'_>,
    message: &str,
) -> Result<Manifest, ExecuteError> {
    ports.door.hang_up().await;
    ports.journal.guard().await?;
    ports.vm.revert(&input.point.name, input.ids.epoch).await?;
    let has_clock = ports.vm.set_clock().await?;
    let guest = connect(ports, BOOT).await?;
    guest.lock(input.ids.epoch, input.ids.operation).await?;
    let now = ports.journal.now();
    if !has_clock {
        guest.set_clock(now).await?;
    }
    let before = manifest_of(guest.as_ref(), &input.ids.twin_uid, input.ids.epoch).await?;
    let changes = diff::recorded(input.content, &before, input.re_render, now);
    let plan = StepInput {
        changes: &changes,
        content: input.content,
        manifest: &before,
        preflight: &Preflight::default(),
        units: &[],
        resumed: None,
        ids: input.ids,
        re_render: input.re_render,
        now,
    };
    let manifest = quarantine(&plan, message);
    guest.write_manifest(&manifest).await?;
    guest.write_operation(None).await?;
    guest.unlock(input.ids.epoch).await?;
    Ok(manifest)
}
