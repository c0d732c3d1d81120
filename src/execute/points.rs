//! Takes and removes points outside an apply.

use super::{ExecuteError, Journal};
use crate::vm::{PointRequest, PointTaken, TwinVm};

/// Takes a point, or finds the one of this name.
///
/// # Errors
/// The VM refuses or this process must not act.
pub async fn take(
    vm: &dyn TwinVm,
    journal: &dyn Journal,
    point: &PointRequest,
) -> Result<PointTaken, ExecuteError> {
    journal.guard().await?;
    Ok(vm.take_point(point).await?)
}

/// Removes points one after the other; missing ones are success.
///
/// # Errors
/// The VM refuses or this process must not act; points before it are gone.
pub async fn remove(vm: &dyn TwinVm, journal: &dyn Journal, names: &[String]) -> Result<(), ExecuteError> {
    for name in names {
        journal.guard().await?;
        vm.delete_point(name).await?;
    }
    Ok(())
}
