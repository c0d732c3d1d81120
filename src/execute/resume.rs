//! What a guest remembers of an operation that was cut short: its record, and what is still true of it.

use super::ExecuteError;
use crate::facts::UnitFacts;
use crate::guest::{Guest, OperationRecord};
use crate::plan::steps::{OperationIds, Resumed};
use crate::plan::{Step, StepPlan, UnitJob};

/// The record of an earlier attempt, if there was one, and the guest's present boot.
pub(super) struct Past {
    record: Option<OperationRecord>,
    boot_id: String,
}

/// Asks the guest for the record of this operation.
///
/// # Errors
/// The connection is lost.
pub(super) async fn look(guest: &dyn Guest, operation: i64) -> Result<Past, ExecuteError> {
    let (record, boot_id) = futures::try_join!(guest.operation(), guest.boot_id())?;
    Ok(Past {
        record: record.filter(|record| record.number == operation),
        boot_id,
    })
}

/// Ends an operation whose manifest is written already: the record goes, and the lock with it, which an
/// earlier epoch may still hold.
///
/// # Errors
/// The connection is lost, or a higher epoch holds the guest.
pub(super) async fn release(guest: &dyn Guest, ids: &OperationIds) -> Result<(), ExecuteError> {
    guest.lock(ids.epoch, ids.operation).await?;
    guest.write_operation(None).await?;
    Ok(guest.unlock(ids.epoch).await?)
}

impl Past {
    fn rebooted(&self, record: &OperationRecord) -> bool {
        record.boot_id != self.boot_id
    }

    /// For the plan.
    pub(super) fn resumed(&self) -> Option<Resumed> {
        self.record.as_ref().map(|record| Resumed {
            invocations: record.invocations.clone(),
            reload_owed: record.reload_owed,
            enabled: record.enabled.clone(),
            rebooted: self.rebooted(record),
            without_point: record.without_point,
        })
    }

    /// The record to write with the lock: the earlier one, else what a redo will have to know of now.
    pub(super) fn record(self, ids: &OperationIds, plan: &StepPlan, units: &[UnitFacts]) -> OperationRecord {
        let enabled = match self.record {
            Some(record) if record.boot_id == self.boot_id => {
                return OperationRecord {
                    epoch: ids.epoch,
                    ..record
                };
            }
            Some(record) => record.enabled,
            None => units
                .iter()
                .filter(|unit| unit.file_state.starts_with("enabled"))
                .map(|unit| unit.name.to_string())
                .collect(),
        };
        let jobs = plan.steps.iter().filter_map(|step| match step {
            Step::Activate(jobs) => Some(jobs),
            _ => None,
        });
        let started = jobs.flatten().filter_map(|job| match job {
            UnitJob::Restart { unit, before } => Some((unit.to_string(), before.clone())),
            UnitJob::Start(unit) => {
                let facts = units.iter().find(|facts| facts.name == *unit);
                let before = facts.map(|facts| facts.invocation.clone());
                Some((unit.to_string(), before.unwrap_or_default()))
            }
            UnitJob::Stop(_) => None,
        });
        OperationRecord {
            number: ids.operation,
            epoch: ids.epoch,
            invocations: started.collect(),
            reload_owed: plan.steps.contains(&Step::Reload),
            sealed: false,
            boot_id: self.boot_id,
            enabled,
            without_point: plan.without_point,
        }
    }
}
