//! How long to wait before an object is tried again: per object, by UID.
//!
//! Errors: 1 s doubling to 5 min with up to 10 % of jitter, forgotten on success and when the spec
//! changes. Success: the resync period ±10 %, so that many twins do not come due at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::utils::Backoff;

/// The first wait.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(300);
/// How often an object without trouble is looked at.
pub const RESYNC: Duration = Duration::from_secs(600);

/// Pauses after a failed watch: 0.2 s doubling to 2 s. A Controller has one series for all of its watches and hears
/// none of them meanwhile: with kube's own, which grows to 30 s, five that fail together in an outage leave it deaf for
/// minutes afterwards.
#[derive(Debug, Default)]
pub struct Watches {
    in_a_row: u32,
}

impl Iterator for Watches {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = doubled(Duration::from_millis(200), self.in_a_row, Duration::from_secs(2));
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(stretched(wait, rand::random_range(0..=100)))
    }
}

impl Backoff for Watches {
    fn reset(&mut self) {
        self.in_a_row = 0;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    generation: Option<i64>,
    in_a_row: u32,
}

/// Failures in a row, per object.
#[derive(Debug, Default)]
pub struct Backoffs {
    by_uid: Mutex<HashMap<String, Failures>>,
}

impl Backoffs {
    /// Counts a failure and answers how long to wait.
    pub fn failed(&self, uid: &str, generation: Option<i64>) -> Duration {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = by_uid.entry(uid.to_owned()).or_default();
        if failures.generation != generation {
            *failures = Failures {
                generation,
                in_a_row: 0,
            };
        }
        let wait = delay(failures.in_a_row);
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        stretched(wait, rand::random_range(0..=100))
    }

    /// How often an object has failed in a row.
    pub fn in_a_row(&self, uid: &str) -> u32 {
        let by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        by_uid.get(uid).map_or(0, |failures| failures.in_a_row)
    }

    /// Forgets the failures of an object: it succeeded, or is gone.
    pub fn forget(&self, uid: &str) {
        self.by_uid
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

/// The resync period with ±10 % of jitter.
pub fn resync() -> Duration {
    stretched(RESYNC * 9 / 10, rand::random_range(0..=222))
}

/// The wait after `in_a_row` failures, without jitter.
fn delay(in_a_row: u32) -> Duration {
    doubled(FIRST, in_a_row, LONGEST)
}

/// `first`, doubled so often, at most `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first
        .checked_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
        .map_or(longest, |d| d.min(longest))
}

/// `wait` made longer by `permille` thousandths.
fn stretched(wait: Duration, permille: u32) -> Duration {
    wait + wait * permille / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        let waits: Vec<u64> = (0..11).map(|n| delay(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn a_changed_spec_and_a_success_begin_anew() {
        let backoffs = Backoffs::default();
        for _ in 0..6 {
            backoffs.failed("a", Some(1));
        }
        assert!(backoffs.failed("a", Some(1)) >= Duration::from_secs(64));
        assert!(backoffs.failed("a", Some(2)) < Duration::from_secs(2));
        backoffs.failed("a", Some(2));
        backoffs.forget("a");
        assert!(backoffs.failed("a", Some(2)) < Duration::from_secs(2));
    }

    #[test]
    fn one_object_in_trouble_does_not_slow_another() {
        let backoffs = Backoffs::default();
        for _ in 0..9 {
            backoffs.failed("a", None);
        }
        assert!(backoffs.failed("b", None) < Duration::from_secs(2));
    }

    #[test]
    fn resync_stays_within_a_tenth_of_its_period() {
        for _ in 0..100 {
            let wait = resync();
            assert!(wait >= RESYNC * 9 / 10 && wait <= RESYNC * 11 / 10, "{wait:?}");
        }
    }

    #[test]
    fn a_watch_is_tried_again_within_seconds_however_long_the_outage() {
        let mut watches = Watches::default();
        let waits: Vec<Duration> = watches.by_ref().take(50).collect();
        assert!(
            waits.iter().all(|wait| *wait < Duration::from_millis(2300)),
            "{waits:?}"
        );
        assert!(waits.last() > Some(&Duration::from_millis(1900)));
        watches.reset();
        assert!(watches.next() < Some(Duration::from_millis(300)));
    }
}
