//! Conditions as the Kubernetes API conventions define them, their types and reasons.
//!
//! A condition's `lastTransitionTime` changes only with its `status`
//! (api-conventions.md, "Typical status properties").

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Truth of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

/// One aspect of an object's state (`metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect, in PascalCase.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// The generation of the spec that this was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, RFC 3339.
    #[schemars(length(max = 40))]
    pub last_transition_time: String,
    /// A PascalCase word for machines.
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,
    /// A sentence for people: what, why, and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Types of conditions.
pub mod types {
    /// The twin follows its host and everything that can run does; computed last, from the others.
    pub const READY: &str = "Ready";
    /// The host's agent beats.
    pub const HOST_FRESH: &str = "HostFresh";
    /// The guest answers on its pinned SSH key.
    pub const GUEST_REACHABLE: &str = "GuestReachable";
    /// The twin reaches nothing outside its lab network.
    pub const ISOLATED: &str = "Isolated";
    /// Only a user can make progress possible; present only while true.
    pub const STALLED: &str = "Stalled";
    /// HostState: a beat arrived in time.
    pub const FRESH: &str = "Fresh";
    /// TwinRestore: the revert is done.
    pub const RESTORED: &str = "Restored";
    /// TwinRevision: its content is what the guest's manifest says.
    pub const APPLIED: &str = "Applied";
}

/// What a writer wants a condition to be; [`Conditions::set`] keeps the transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// A PascalCase word.
    pub reason: String,
    /// A sentence; cut to 1,024 bytes, control characters escaped.
    pub message: String,
}

impl Verdict {
    /// The condition holds.
    pub fn yes(reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::True,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// The condition does not hold.
    pub fn no(reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::False,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Nothing is known yet.
    pub fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::Unknown,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// Reading and writing of a condition list.
pub trait Conditions {
    /// The condition of this type.
    fn find(&self, type_: &str) -> Option<&Condition>;
    /// Writes a condition, keeping its transition time when its status stays.
    /// Answers whether anything but times changed.
    fn set(&mut self, type_: &str, verdict: Verdict, generation: Option<i64>, now: Timestamp) -> bool;
    /// Removes the condition of this type; answers whether there was one.
    fn clear(&mut self, type_: &str) -> bool;
    /// Whether the condition of this type is True.
    fn is_true(&self, type_: &str) -> bool {
        self.find(type_)
            .is_some_and(|c| c.status == ConditionStatus::True)
    }
}

impl Conditions for Vec<Condition> {
    fn find(&self, type_: &str) -> Option<&Condition> {
        self.iter().find(|c| c.type_ == type_)
    }

    fn set(&mut self, type_: &str, verdict: Verdict, generation: Option<i64>, now: Timestamp) -> bool {
        let message = crate::names::printable(&verdict.message, 1024);
        let fresh = Condition {
            type_: type_.into(),
            status: verdict.status,
            observed_generation: generation,
            last_transition_time: format!("{now:.0}"),
            reason: verdict.reason,
            message,
        };
        match self.iter_mut().find(|c| c.type_ == type_) {
            None => {
                self.push(fresh);
                true
            }
            Some(old) => {
                let kept = if old.status == fresh.status {
                    old.last_transition_time.clone()
                } else {
                    fresh.last_transition_time.clone()
                };
                let fresh = Condition {
                    last_transition_time: kept,
                    ..fresh
                };
                let changed = *old != fresh;
                *old = fresh;
                changed
            }
        }
    }

    fn clear(&mut self, type_: &str) -> bool {
        let before = self.len();
        self.retain(|c| c.type_ != type_);
        self.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut list = Vec::new();
        assert!(list.set("Ready", Verdict::no("Waiting", "a"), Some(1), at(10)));
        assert!(list.set("Ready", Verdict::no("Waiting", "b"), Some(1), at(20)));
        assert_eq!(list[0].last_transition_time, "1970-01-01T00:00:10Z");
        assert!(list.set("Ready", Verdict::yes("Following", ""), Some(1), at(30)));
        assert_eq!(list[0].last_transition_time, "1970-01-01T00:00:30Z");
    }

    #[test]
    fn writing_the_same_verdict_again_changes_nothing() {
        let mut list = Vec::new();
        list.set("Ready", Verdict::yes("Following", "x"), Some(1), at(10));
        assert!(!list.set("Ready", Verdict::yes("Following", "x"), Some(1), at(99)));
    }
}
