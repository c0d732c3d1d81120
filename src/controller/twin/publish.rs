//! The end of a reconcile: conditions, events on transitions, and when to look again.

use std::time::Duration;

use kube::runtime::controller::Action;
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::{ConditionStatus, Conditions as _, DigitalTwinStatus};

use super::conditions::{Findings, Stop, set_conditions};
use super::permit::{RECHECK, Refusal};
use crate::controller::backoff;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::ledger::Ledger;
use crate::guest::GuestError;
use crate::plan::status::is_failure;

/// How soon a new VM is asked again whether it answers.
const BOOT_RECHECK: Duration = Duration::from_secs(2);

/// When a twin is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: something was finished, the rest is planned anew.
    Again,
    /// After this long.
    After(Duration),
    /// At the resync period, or when something changes.
    Resync,
}

impl Next {
    /// A refusal goes into the findings and is looked at again now and then.
    pub fn refused(refusal: Refusal, findings: &mut Findings) -> Self {
        findings.stop = Some(Stop {
            stalled: refusal.stalled,
            ..Stop::new(refusal.reason, refusal.message)
        });
        Self::After(RECHECK)
    }
}

/// Writes what a reconcile found and answers when to look again.
pub async fn publish(
    ctx: &Context,
    ledger: &Ledger,
    mut findings: Findings,
    outcome: Result<Next, Error>,
) -> Result<Action, Error> {
    let outcome = still_booting(&ledger.status().await, outcome, &mut findings);
    match &outcome {
        Err(error) if error.is_conflict() || matches!(error, Error::Stopped(_)) => {
            return outcome.map(action);
        }
        Err(error) => note_error(error, &mut findings),
        Ok(_) => {}
    }
    let before = ready_of(&ledger.status().await);
    let generation = ledger.twin().await.metadata.generation;
    let now = ctx.clock.now();
    ledger
        .update(|status| {
            let failed = status
                .not_replicated
                .iter()
                .filter(|n| is_failure(n.reason))
                .count();
            status.observed_generation = generation;
            set_conditions(status, &findings, failed, generation, now);
        })
        .await?;
    let after = ready_of(&ledger.status().await);
    announce(ctx, ledger, before, after).await;
    outcome.map(action)
}

/// A new VM that does not answer yet boots: that is no failure, and it is asked again soon.
fn still_booting(
    status: &DigitalTwinStatus,
    outcome: Result<Next, Error>,
    findings: &mut Findings,
) -> Result<Next, Error> {
    match outcome {
        Err(Error::Guest(GuestError::Unreachable { message, .. } | GuestError::Lost { message, .. }))
            if status.applied.is_none() && status.operation.is_none() =>
        {
            findings.guest_reachable = Some(Verdict::unknown("Booting", message));
            findings.stop = Some(Stop::new("Booting", "the new VM does not answer yet"));
            Ok(Next::After(BOOT_RECHECK))
        }
        outcome => outcome,
    }
}

fn action(next: Next) -> Action {
    Action::requeue(match next {
        Next::Again => Duration::from_millis(1),
        Next::After(wait) => wait,
        Next::Resync => backoff::resync(),
    })
}

fn note_error(error: &Error, findings: &mut Findings) {
    if let Error::Guest(guest) = error {
        let reachable = matches!(
            guest,
            GuestError::Failed { .. } | GuestError::NewerManifest { .. }
        );
        if !reachable {
            findings.guest_reachable = Some(Verdict::no(guest.reason(), guest.to_string()));
        }
    }
    findings.stop = Some(Stop {
        stalled: !error.is_transient(),
        ..Stop::new(error.reason(), error.to_string())
    });
}

type Ready = Option<(ConditionStatus, String, String)>;

fn ready_of(status: &DigitalTwinStatus) -> Ready {
    let ready = status.conditions.find(types::READY)?;
    Some((ready.status, ready.reason.clone(), ready.message.clone()))
}

/// One event when Ready changes its status or its reason.
async fn announce(ctx: &Context, ledger: &Ledger, before: Ready, after: Ready) {
    let Some((status, reason, message)) = after else {
        return;
    };
    if before.is_some_and(|(s, r, _)| s == status && r == reason) {
        return;
    }
    let twin = ledger.twin().await;
    match status {
        ConditionStatus::False => ctx.events.warning(&twin, &reason, &message).await,
        ConditionStatus::True => {
            ctx.events
                .normal(&twin, &reason, "the twin follows its host")
                .await
        }
        ConditionStatus::Unknown => {}
    }
}
