//! The end of a reconcile: conditions, events on transitions, and when to look again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
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
/// How long the first boot may take; emulated machines need minutes.
const BOOT_LIMIT: SignedDuration = SignedDuration::from_mins(15);
const BOOTING: &str = "Booting";
const DOES_NOT_BOOT: &str = "GuestDoesNotBoot";

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
    let outcome = still_booting(&ledger.status().await, outcome, &mut findings, ctx.clock.now());
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

/// A new VM that does not answer yet boots: that is no failure, and it is asked again soon. One that
/// never answered for long is a failure of its own: its image may not boot.
fn still_booting(
    status: &DigitalTwinStatus,
    outcome: Result<Next, Error>,
    findings: &mut Findings,
    now: Timestamp,
) -> Result<Next, Error> {
    let new = status.applied.is_none() && status.operation.is_none();
    let message = match outcome {
        Err(Error::Guest(GuestError::Unreachable { message, .. } | GuestError::Lost { message, .. }))
            if new =>
        {
            message
        }
        outcome => return outcome,
    };
    if is_given_up(status, now) {
        let domain = status.vm.as_ref().map_or("", |vm| &vm.domain_name);
        let text = format!(
            "the new VM never answered ({message}): look at the console of domain {domain}, and whether the class's image boots, runs cloud-init and starts sshd"
        );
        findings.guest_reachable = Some(Verdict::no(DOES_NOT_BOOT, text.clone()));
        return Err(Error::NotYet {
            reason: DOES_NOT_BOOT,
            message: text,
        });
    }
    findings.guest_reachable = Some(Verdict::unknown(BOOTING, message));
    findings.stop = Some(Stop::new(BOOTING, "the new VM does not answer yet"));
    Ok(Next::After(BOOT_RECHECK))
}

/// Whether a new VM has been silent for longer than any boot takes.
fn is_given_up(status: &DigitalTwinStatus, now: Timestamp) -> bool {
    let Some(reachable) = status.conditions.find(types::GUEST_REACHABLE) else {
        return false;
    };
    let since = reachable.last_transition_time.parse().unwrap_or(now);
    match reachable.reason.as_str() {
        DOES_NOT_BOOT => true,
        BOOTING => now.duration_since(since) > BOOT_LIMIT,
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Result<Next, Error> {
        Err(Error::Guest(GuestError::Unreachable {
            address: "10.78.0.10".into(),
            message: "no route to host".into(),
        }))
    }

    /// Looks at a new VM that does not answer, at these minutes; answers GuestReachable's reasons.
    fn reasons_at(minutes: &[i64]) -> Vec<String> {
        let mut status = DigitalTwinStatus::default();
        let look = |minute: &i64| {
            let now = Timestamp::from_second(minute * 60).unwrap();
            let mut findings = Findings::default();
            if let Err(error) = still_booting(&status, silent(), &mut findings, now) {
                assert!(error.is_transient(), "{error}");
                note_error(&error, &mut findings);
            }
            set_conditions(&mut status, &findings, 0, Some(1), now);
            status
                .conditions
                .find(types::GUEST_REACHABLE)
                .unwrap()
                .reason
                .clone()
        };
        minutes.iter().map(look).collect()
    }

    #[test]
    fn a_new_vm_boots_for_a_while_and_then_counts_as_one_that_does_not() {
        let reasons = reasons_at(&[0, 5, 14, 16, 30]);
        assert_eq!(reasons, [BOOTING, BOOTING, BOOTING, DOES_NOT_BOOT, DOES_NOT_BOOT]);
    }
}
