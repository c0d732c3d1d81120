//! Circuit breaker of a collector: pauses that grow while a source keeps failing.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Counts failures in a row. Pauses are 1 s doubling to 5 min.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    failures: u32,
}

impl Breaker {
    /// Notes how an attempt ended.
    pub fn note(&mut self, ok: bool) {
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
    }

    /// How long to leave the source alone; none while it works.
    pub fn pause(&self) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?;
        let factor = 2u32.saturating_pow(doublings.min(16));
        Some(FIRST.saturating_mul(factor).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_a_success_ends_them() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.pause(), None);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            breaker.note(false);
            pauses.extend(breaker.pause().map(|p| p.as_secs()));
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert_eq!(pauses.last(), Some(&300));
        breaker.note(true);
        assert_eq!(breaker.pause(), None);
    }
}
