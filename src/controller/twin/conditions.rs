//! PURE: what a reconcile found → conditions. Ready is computed last and borrows reason and message
//! of the first thing that is not as it should be.

use jiff::Timestamp;
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::{ConditionStatus, Conditions as _, DigitalTwinStatus};

/// What a reconcile found. `None`: not looked at, the condition stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Whether the host beats.
    pub host_fresh: Option<Verdict>,
    /// Whether the guest answers.
    pub guest_reachable: Option<Verdict>,
    /// Whether the network leads nowhere.
    pub isolated: Option<Verdict>,
    /// Why nothing is done, or not everything: refusal, hold, wait, error.
    pub stop: Option<Stop>,
}

/// Why nothing is done, or not everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// PascalCase reason.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Only a user can make progress possible.
    pub stalled: bool,
    /// The twin is as it should be nevertheless (a removal waits for a second observation).
    pub harmless: bool,
}

impl Stop {
    /// A stop that heals by itself.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            stalled: false,
            harmless: false,
        }
    }
}

/// Writes all conditions of a twin. The number of items that do not run as they should is taken from
/// `status.notReplicated` by the caller.
pub fn set_conditions(
    status: &mut DigitalTwinStatus,
    findings: &Findings,
    failed_items: usize,
    generation: Option<i64>,
    now: Timestamp,
) {
    let list = &mut status.conditions;
    let found = [
        (types::HOST_FRESH, &findings.host_fresh),
        (types::GUEST_REACHABLE, &findings.guest_reachable),
        (types::ISOLATED, &findings.isolated),
    ];
    for (type_, verdict) in found {
        let verdict = match verdict {
            Some(verdict) => verdict.clone(),
            None if list.find(type_).is_none() => Verdict::unknown("NotObserved", ""),
            None => continue,
        };
        list.set(type_, verdict, generation, now);
    }
    match findings.stop.as_ref().filter(|s| s.stalled) {
        Some(stop) => {
            let verdict = Verdict::yes(&stop.reason, stop.message.clone());
            list.set(types::STALLED, verdict, generation, now);
        }
        None => {
            safetytwin_crds::Conditions::clear(list, types::STALLED);
        }
    }
    let ready = ready(status, findings, failed_items);
    status.conditions.set(types::READY, ready, generation, now);
}

fn ready(status: &DigitalTwinStatus, findings: &Findings, failed_items: usize) -> Verdict {
    if let Some(stop) = findings.stop.as_ref().filter(|s| !s.harmless) {
        return Verdict::no(&stop.reason, stop.message.clone());
    }
    for type_ in [types::ISOLATED, types::HOST_FRESH, types::GUEST_REACHABLE] {
        let bad = status
            .conditions
            .find(type_)
            .filter(|c| c.status == ConditionStatus::False);
        if let Some(condition) = bad {
            return Verdict::no(&condition.reason, condition.message.clone());
        }
    }
    if status.applied.is_none() {
        return Verdict::unknown("Pending", "nothing is applied yet");
    }
    if failed_items > 0 {
        let items = match failed_items {
            1 => "1 item does".to_owned(),
            many => format!("{many} items do"),
        };
        let message = format!("{items} not run in the twin: see status.notReplicated");
        return Verdict::no("ItemsFailed", message);
    }
    let message = findings
        .stop
        .as_ref()
        .map_or(String::new(), |s| s.message.clone());
    Verdict::yes("Following", message)
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::digest::Digest;
    use safetytwin_crds::digitaltwin::Applied;

    use super::*;

    fn applied() -> DigitalTwinStatus {
        DigitalTwinStatus {
            applied: Some(Applied {
                revision: 1,
                root_digest: Digest::of(b""),
                generation: 1,
            }),
            ..DigitalTwinStatus::default()
        }
    }

    fn fine() -> Findings {
        Findings {
            host_fresh: Some(Verdict::yes("Beating", "")),
            guest_reachable: Some(Verdict::yes("Reachable", "")),
            isolated: Some(Verdict::yes("Isolated", "")),
            stop: None,
        }
    }

    fn reason_of(status: &DigitalTwinStatus) -> (ConditionStatus, &str) {
        let ready = status.conditions.find(types::READY).unwrap();
        (ready.status, ready.reason.as_str())
    }

    #[test]
    fn a_twin_whose_parts_are_fine_follows() {
        let mut status = applied();
        set_conditions(&mut status, &fine(), 0, Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(reason_of(&status), (ConditionStatus::True, "Following"));
    }

    #[test]
    fn ready_borrows_the_first_thing_that_fails() {
        let mut findings = fine();
        findings.host_fresh = Some(Verdict::no("HostStateStale", "silent"));
        findings.guest_reachable = Some(Verdict::no("GuestUnreachable", "no answer"));
        let mut status = applied();
        set_conditions(&mut status, &findings, 2, Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(reason_of(&status), (ConditionStatus::False, "HostStateStale"));
        findings.stop = Some(Stop::new("NotAllowed", "ask"));
        set_conditions(&mut status, &findings, 0, Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(reason_of(&status), (ConditionStatus::False, "NotAllowed"));
    }

    #[test]
    fn what_was_not_looked_at_keeps_its_condition() {
        let mut status = applied();
        set_conditions(&mut status, &fine(), 0, Some(1), Timestamp::UNIX_EPOCH);
        let before = status.clone();
        let later = Timestamp::from_second(99).unwrap();
        set_conditions(&mut status, &Findings::default(), 0, Some(1), later);
        assert_eq!(status, before);
    }

    #[test]
    fn stalled_is_there_only_while_a_user_must_act() {
        let mut status = applied();
        let mut findings = fine();
        findings.stop = Some(Stop {
            stalled: true,
            ..Stop::new("HostReplaced", "another machine")
        });
        set_conditions(&mut status, &findings, 0, Some(1), Timestamp::UNIX_EPOCH);
        assert!(status.conditions.is_true(types::STALLED));
        set_conditions(&mut status, &fine(), 0, Some(1), Timestamp::UNIX_EPOCH);
        assert!(status.conditions.find(types::STALLED).is_none());
    }

    #[test]
    fn failed_items_are_counted_and_a_wait_for_a_second_look_is_no_failure() {
        let mut status = applied();
        set_conditions(&mut status, &fine(), 2, Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(reason_of(&status), (ConditionStatus::False, "ItemsFailed"));
        let mut waiting = fine();
        waiting.stop = Some(Stop {
            harmless: true,
            ..Stop::new("SecondObservation", "1 removal waits for the next beat")
        });
        set_conditions(&mut status, &waiting, 0, Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(reason_of(&status), (ConditionStatus::True, "Following"));
    }
}
