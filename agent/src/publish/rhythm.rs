//! When a host beats, and which of its beats writes a head although nothing but the load has changed.
//!
//! ```text
//! beats  ·  ·  ●  ·  ·  ●     every 10 s; ● a heartbeat, here every third
//! change  ↑  writes at once, between beats, and moves none of them
//! ```

use std::time::Duration;

use safetytwin_crds::digest::Digest;
use tokio::time::Instant;

/// Why there may be something to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A collector found something new.
    Change,
    /// The time of a beat: what does not ring may have changed.
    Beat,
    /// A beat whose head is written in any case: it says that the host lives, and how loaded it is.
    Heartbeat,
}

/// The grid of one host's beats.
#[derive(Debug)]
pub struct Rhythm {
    interval: Duration,
    beats_per_head: u32,
    next: Instant,
    /// Beats before the next heartbeat.
    quiet: u32,
}

impl Rhythm {
    /// Beats from now on, one of `beats_per_head` a heartbeat. Hosts that start at once have their heartbeats spread
    /// over the time between two.
    pub fn new(host: &str, interval: Duration, beats_per_head: u32) -> Self {
        let beats_per_head = beats_per_head.max(1);
        let phase = interval.mul_f64(share(host) * f64::from(beats_per_head));
        let mut rhythm = Self {
            interval,
            beats_per_head,
            next: Instant::now() + phase,
            quiet: 0,
        };
        while rhythm.next.duration_since(Instant::now()) > interval {
            rhythm.next -= interval;
            rhythm.quiet += 1;
        }
        rhythm
    }

    /// The next beat, and what it is. Those that have passed are left out.
    pub fn upcoming(&mut self) -> (Instant, Occasion) {
        let now = Instant::now();
        while self.next <= now {
            self.quiet = self.quiet.checked_sub(1).unwrap_or(self.beats_per_head - 1);
            self.next += self.interval;
        }
        let occasion = if self.quiet == 0 {
            Occasion::Heartbeat
        } else {
            Occasion::Beat
        };
        (self.next, occasion)
    }
}

/// A number of [0, 1] that is the host's own.
fn share(host: &str) -> f64 {
    let digest = Digest::of(host.as_bytes()).to_string();
    let number = digest
        .get(..8)
        .and_then(|d| u32::from_str_radix(d, 16).ok())
        .unwrap_or(0);
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// Time from now to the first heartbeats, and to the beats before the first.
    async fn heard(host: &str, beats_per_head: u32) -> (Vec<Duration>, Vec<Duration>) {
        let (start, mut rhythm) = (Instant::now(), Rhythm::new(host, INTERVAL, beats_per_head));
        let (mut heartbeats, mut beats) = (Vec::new(), Vec::new());
        while heartbeats.len() < 3 {
            let (beat, what) = rhythm.upcoming();
            tokio::time::sleep_until(beat).await;
            match what {
                Occasion::Heartbeat => heartbeats.push(beat - start),
                _ if heartbeats.is_empty() => beats.push(beat - start),
                _ => {}
            }
        }
        (heartbeats, beats)
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_beat_at_their_own_time_within_the_interval() {
        let (a, b) = (heard("a", 1).await.0, heard("b", 1).await.0);
        assert!(
            a[0] <= INTERVAL && b[0] <= INTERVAL && a[0] != b[0],
            "{a:?} {b:?}"
        );
        assert_eq!((a[1] - a[0], a[2] - a[1]), (INTERVAL, INTERVAL));
        assert_eq!(a[0], heard("a", 1).await.0[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_beat_of_six_is_a_heartbeat_and_those_of_a_fleet_are_spread() {
        let mut first = Vec::new();
        for host in 0..20 {
            let (heartbeats, beats) = heard(&format!("host-{host}"), 6).await;
            assert_eq!(heartbeats[1] - heartbeats[0], 6 * INTERVAL);
            assert!(beats.iter().all(|beat| *beat < heartbeats[0]) && heartbeats[0] <= 6 * INTERVAL);
            assert!(
                beats.windows(2).all(|two| two[1] - two[0] == INTERVAL),
                "{beats:?}"
            );
            first.push(beats.len());
        }
        first.sort_unstable();
        first.dedup();
        assert_eq!(first, [0, 1, 2, 3, 4, 5]);
    }
}
