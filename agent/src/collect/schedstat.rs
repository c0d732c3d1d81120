//! How long, and how often, a thread has run (Documentation/scheduler/sched-stats.rst): the cheapest file of a process,
//! and the only one that tells that it has done nothing since.

use std::num::NonZeroU64;
use std::time::Duration;

/// What `schedstat` says of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedStat {
    /// Time on a CPU.
    pub ran: Duration,
    /// How often it was given one.
    pub times: u64,
}

impl SchedStat {
    /// None where the kernel does not count, and writes zeros.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split_ascii_whitespace();
        let ran = Duration::from_nanos(words.next()?.parse().ok()?);
        let times = words.nth(1)?.parse().ok()?;
        (times > 0).then_some(Self { ran, times })
    }

    /// A number that stands still while the thread does nothing. Both are in it: a short run may add no time where the
    /// clock is coarse, and one that goes on adds no turn.
    pub fn mark(self) -> Option<NonZeroU64> {
        let ran = u64::try_from(self.ran.as_nanos()).unwrap_or(u64::MAX);
        // In the bits that neither reaches soon.
        NonZeroU64::new(ran.rotate_left(20) ^ self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(text: &str) -> Option<NonZeroU64> {
        SchedStat::parse(text.as_bytes())?.mark()
    }

    #[test]
    fn a_thread_that_ran_longer_or_once_more_has_another_mark_and_waiting_is_no_running() {
        let before = mark("256589202 36897762 996\n");
        assert!(before.is_some());
        assert_eq!(mark("256589202 99999999 996\n"), before);
        assert_ne!(mark("256589203 36897762 996\n"), before);
        assert_ne!(mark("256589202 36897762 997\n"), before);
        let own = std::fs::read("/proc/self/schedstat").unwrap();
        assert!(SchedStat::parse(&own).is_some_and(|stat| stat.ran < Duration::from_secs(3600)));
    }

    #[test]
    fn what_a_kernel_writes_that_does_not_count_is_no_mark() {
        for text in [
            "0 0 0\n",
            "",
            "5",
            "5 5",
            "-1 0 1",
            "18446744073709551616 0 1",
            "a b c",
        ] {
            assert_eq!(mark(text), None, "{text}");
        }
    }
}
