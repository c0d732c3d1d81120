//! Numbers that move all the time, held still while they are near what was said last: what is
//! published is within 4 % of the truth, and an idle host says the same again.

use std::collections::HashMap;

/// What was said last, by key. A key that is not asked for in a round is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Steady {
    last: HashMap<String, u64>,
    round: HashMap<String, u64>,
}

/// The number to say where `last` was said and it is `now` in truth.
pub fn held(last: Option<u64>, now: u64) -> u64 {
    last.filter(|last| last.abs_diff(now) <= now / 25).unwrap_or(now)
}

impl Steady {
    /// The number to say for `key`, which is `now` in truth.
    pub fn hold(&mut self, key: impl Into<String>, now: u64) -> u64 {
        let key = key.into();
        let said = held(self.last.get(&key).copied(), now);
        self.round.insert(key, said);
        said
    }

    /// Ends a round of questions.
    pub fn end(&mut self) {
        self.last = std::mem::take(&mut self.round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_still_until_it_is_four_percent_away_and_is_never_further() {
        let mut steady = Steady::default();
        let mut said = Vec::new();
        for now in [1000, 1020, 1041, 1043, 1000, 0, 3, u64::MAX] {
            let number = steady.hold("a", now);
            assert!(number.abs_diff(now) <= now / 25, "{number} for {now}");
            said.push(number);
            steady.end();
        }
        assert_eq!(said, [1000, 1000, 1000, 1043, 1000, 0, 3, u64::MAX]);
    }

    #[test]
    fn what_is_not_asked_for_any_more_is_forgotten() {
        let mut steady = Steady::default();
        steady.hold("gone", 100);
        steady.end();
        steady.end();
        assert_eq!(steady.hold("gone", 101), 101);
    }
}
