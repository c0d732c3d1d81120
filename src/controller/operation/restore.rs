//! The operation Restore: takes a twin back to a point.

use super::Job;
use crate::controller::error::Error;
use safetytwin_crds::digitaltwin::Operation;

/// Finishes a restore that was begun.
pub async fn resume(_job: &Job<'_>, _operation: &Operation) -> Result<(), Error> {
    Ok(())
}
