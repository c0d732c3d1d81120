//! Performs one step after the other on a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::Reason;
use safetytwin_crds::names::UnitName;

use super::apply::{ApplyInput, ApplyReport, Counts};
use super::{ExecuteError, Ports, verify};
use crate::facts::{JobOutcome, UnitFacts};
use crate::guest::{Guest, JobKind, OperationRecord};
use crate::plan::{Step, UnitJob};
use crate::vm::PointTaken;

/// How often a new connection is tried before the channel counts as lost.
const PROOFS: u32 = 3;

/// How a step ended.
pub(super) enum Ended {
    /// It is done.
    Done,
    /// These units failed; the others go on.
    ItemsFailed(Vec<(UnitName, Reason, String)>),
    /// The twin cannot stay as it is.
    Unbearable(String),
}

/// One run of a plan.
pub(super) struct Performance<'a> {
    ports: &'a Ports<'a>,
    guest: Arc<dyn Guest>,
    input: &'a ApplyInput<'a>,
    record: OperationRecord,
    point: Option<PointTaken>,
    steps: Vec<(&'static str, u64)>,
    reloads: u64,
}

impl<'a> Performance<'a> {
    pub(super) fn new(
        ports: &'a Ports<'a>,
        guest: Arc<dyn Guest>,
        input: &'a ApplyInput<'a>,
        record: OperationRecord,
    ) -> Self {
        Self {
            ports,
            guest,
            input,
            record,
            point: None,
            steps: Vec::new(),
            reloads: 0,
        }
    }

    pub(super) fn restores_on_failure(&self) -> bool {
        self.input.restore_on_failure
    }

    pub(super) fn report(self, counts: Counts) -> ApplyReport {
        ApplyReport {
            point: self.point,
            counts,
            reloads: self.reloads,
            traffic: self.guest.traffic(),
            steps: self.steps,
            ..ApplyReport::default()
        }
    }

    /// Performs a step and notes its time.
    pub(super) async fn perform(&mut self, step: &Step) -> Result<Ended, ExecuteError> {
        let began = Instant::now();
        let ended = self.effect(step).await;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(step = name(step), milliseconds, "step ended");
        self.steps.push((name(step), milliseconds));
        ended
    }

    async fn effect(&mut self, step: &Step) -> Result<Ended, ExecuteError> {
        let guest = Arc::clone(&self.guest);
        let outcomes = match step {
            Step::TakePoint => {
                self.take_point().await?;
                Vec::new()
            }
            Step::Lock => {
                guest.lock(self.input.ids.epoch, self.input.ids.operation).await?;
                guest.write_operation(Some(&self.record)).await?;
                Vec::new()
            }
            Step::MakeAccounts(accounts) => {
                guest.make_accounts(accounts).await?;
                Vec::new()
            }
            Step::StopRemoved(units) => {
                let jobs: Vec<_> = units.iter().map(|unit| (JobKind::Stop, unit.clone())).collect();
                guest.run_jobs(&jobs).await?
            }
            Step::Disable(units) => guest.disable(units).await?,
            Step::RemoveFiles(paths) => {
                guest.remove_files(paths).await?;
                Vec::new()
            }
            Step::Unmask(units) => guest.unmask(units).await?,
            Step::WriteFiles(files) => {
                guest.write_files(files).await?;
                Vec::new()
            }
            Step::Reload => {
                self.reload().await?;
                Vec::new()
            }
            Step::Enable(units) => guest.enable(units).await?,
            Step::Mask(units) => guest.mask(units).await?,
            Step::Activate(jobs) => self.activate(jobs).await?,
            Step::Verify(expected) => return verify::verify(guest.as_ref(), expected).await,
            Step::ProveChannel => return self.prove().await,
            Step::Record(manifest) => {
                guest.write_manifest(manifest).await?;
                Vec::new()
            }
            Step::Unlock => {
                guest.write_operation(None).await?;
                guest.unlock(self.input.ids.epoch).await?;
                Vec::new()
            }
        };
        Ok(failures(step, outcomes))
    }

    async fn take_point(&mut self) -> Result<(), ExecuteError> {
        self.ports.journal.guard().await?;
        let taken = self.ports.vm.take_point(self.input.point).await?;
        self.ports.journal.point_taken(&taken).await?;
        self.point = Some(taken);
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), ExecuteError> {
        self.guest.reload().await?;
        self.reloads += 1;
        self.record.reload_owed = false;
        self.guest.write_operation(Some(&self.record)).await?;
        Ok(())
    }

    /// Queues all jobs at once. What was started since the record was sealed (another InvocationID) is not
    /// started again.
    async fn activate(&mut self, jobs: &[UnitJob]) -> Result<Vec<JobOutcome>, ExecuteError> {
        let starts: Vec<UnitName> = jobs
            .iter()
            .filter_map(|job| match job {
                UnitJob::Start(unit) | UnitJob::Restart { unit, .. } => Some(unit.clone()),
                UnitJob::Stop(_) => None,
            })
            .collect();
        let facts = if starts.is_empty() {
            Vec::new()
        } else {
            self.guest.units(&starts).await?
        };
        if !self.record.sealed {
            self.seal(&facts).await?;
        }
        let started = |unit: &UnitName| {
            let fact = facts.iter().find(|fact| fact.name == *unit);
            let before = self.record.invocations.get(unit.as_str());
            fact.is_some_and(|fact| !fact.invocation.is_empty() && Some(&fact.invocation) != before)
        };
        let queued: Vec<(JobKind, UnitName)> = jobs
            .iter()
            .filter_map(|job| match job {
                UnitJob::Stop(unit) => Some((JobKind::Stop, unit.clone())),
                UnitJob::Start(unit) | UnitJob::Restart { unit, .. } if started(unit) => None,
                UnitJob::Start(unit) => Some((JobKind::Start, unit.clone())),
                UnitJob::Restart { unit, .. } => Some((JobKind::Restart, unit.clone())),
            })
            .collect();
        let clear: Vec<UnitName> = queued
            .iter()
            .filter(|(kind, _)| *kind != JobKind::Stop)
            .map(|(_, unit)| unit.clone())
            .collect();
        self.guest.reset_failed(&clear).await?;
        Ok(self.guest.run_jobs(&queued).await?)
    }

    /// Writes down the InvocationIDs of after the reload: a unit that restarts by itself from here on runs
    /// the new definition, one that did so before is still to be restarted.
    async fn seal(&mut self, facts: &[UnitFacts]) -> Result<(), ExecuteError> {
        self.record.invocations = facts
            .iter()
            .map(|fact| (fact.name.to_string(), fact.invocation.clone()))
            .collect();
        self.record.sealed = true;
        self.guest.write_operation(Some(&self.record)).await?;
        Ok(())
    }

    /// A new connection must work. One failure may be chance; several in a row are a lost channel.
    pub(super) async fn prove(&self) -> Result<Ended, ExecuteError> {
        let mut last = String::new();
        for attempt in 1..=PROOFS {
            match self.ports.door.prove(self.ports.address).await {
                Ok(()) => return Ok(Ended::Done),
                Err(error) => last = error.to_string(),
            }
            if attempt < PROOFS {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        Ok(Ended::Unbearable(format!(
            "no new connection to the guest works after the change: {last}"
        )))
    }
}

/// Failed outcomes as item failures. Stopping what is to go may fail without harm: its files go anyway.
fn failures(step: &Step, outcomes: Vec<JobOutcome>) -> Ended {
    let reason = match step {
        Step::StopRemoved(_) | Step::Disable(_) => return Ended::Done,
        Step::Activate(_) => Reason::FailedToStart,
        _ => Reason::FailedToApply,
    };
    let failed = outcomes
        .into_iter()
        .filter_map(|o| o.failure.map(|message| (o.unit, reason, message)));
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() {
        Ended::Done
    } else {
        Ended::ItemsFailed(failed)
    }
}

/// Name of a step, for logs and metrics.
fn name(step: &Step) -> &'static str {
    match step {
        Step::TakePoint => "take-point",
        Step::Lock => "lock",
        Step::MakeAccounts(_) => "make-accounts",
        Step::StopRemoved(_) => "stop-removed",
        Step::Disable(_) => "disable",
        Step::RemoveFiles(_) => "remove-files",
        Step::Unmask(_) => "unmask",
        Step::WriteFiles(_) => "write-files",
        Step::Reload => "reload",
        Step::Enable(_) => "enable",
        Step::Mask(_) => "mask",
        Step::Activate(_) => "activate",
        Step::Verify(_) => "verify",
        Step::ProveChannel => "prove-channel",
        Step::Record(_) => "record",
        Step::Unlock => "unlock",
    }
}
