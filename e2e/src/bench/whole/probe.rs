//! Looks at machines from outside, by TCP from the lab's network: a service is there when its port takes a
//! connection, and a guest runs while its kernel refuses connections to a closed one.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab::Lab;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// Between two heartbeats; with the answer's way, a gap is seen to about 3 ms.
const BEAT: Duration = Duration::from_millis(2);
/// Longest time for one connection: a stopped guest answers when it goes on.
const CONNECT: Duration = Duration::from_secs(5);
/// Nothing listens here (discard).
const CLOSED: u16 = 9;

/// Waits until all ports take connections; answers when the last one did.
///
/// # Errors
/// Some do not within `limit`.
pub(super) fn answers(lab: &Lab, ports: &[SocketAddr], limit: Duration) -> Result<Instant> {
    lab.in_network(|| {
        let deadline = Instant::now() + limit;
        let mut left = ports.to_vec();
        loop {
            left.retain(|port| TcpStream::connect_timeout(port, CONNECT).is_err());
            if left.is_empty() {
                return Ok(Instant::now());
            }
            if Instant::now() >= deadline {
                bail!("nothing answers at {left:?} after {} s", limit.as_secs());
            }
            std::thread::sleep(LOOK);
        }
    })
}

/// The longest time without a heartbeat of the guest while `work` runs.
///
/// # Errors
/// `work` fails, or the guest never answers.
pub(super) fn longest_gap<T>(
    lab: &Lab,
    address: IpAddr,
    work: impl FnOnce() -> Result<T>,
) -> Result<(Duration, T)> {
    let over = AtomicBool::new(false);
    let guest = SocketAddr::new(address, CLOSED);
    std::thread::scope(|scope| {
        let beats = scope.spawn(|| lab.in_network(|| Ok(beats(&guest, &over))));
        std::thread::sleep(Duration::from_millis(300));
        let worked = work();
        std::thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        let beats = beats
            .join()
            .map_err(|_| anyhow::anyhow!("the heartbeat panicked"))??;
        let longest = gap(&beats).with_context(|| format!("{address} gave no heartbeat"))?;
        Ok((longest, worked?))
    })
}

/// Moments at which the guest's kernel answered.
fn beats(guest: &SocketAddr, over: &AtomicBool) -> Vec<Instant> {
    let mut beats = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let answer = TcpStream::connect_timeout(guest, CONNECT);
        let refused = answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if refused {
            beats.push(Instant::now());
        }
        std::thread::sleep(BEAT);
    }
    beats
}

fn gap(beats: &[Instant]) -> Option<Duration> {
    let pairs = beats.iter().zip(beats.iter().skip(1));
    pairs.map(|(one, next)| next.duration_since(*one)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_time_between_two_beats() {
        let start = Instant::now();
        let beats = [0, 3, 45, 48].map(|ms| start + Duration::from_millis(ms));
        assert_eq!(gap(&beats), Some(Duration::from_millis(42)));
        assert_eq!(gap(&beats[..1]), None);
    }

    #[test]
    fn a_machine_that_runs_beats_and_one_that_is_over_stops() {
        let over = AtomicBool::new(false);
        let guest = SocketAddr::from(([127, 0, 0, 1], CLOSED));
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| beats(&guest, &over));
            std::thread::sleep(Duration::from_millis(100));
            over.store(true, Ordering::Relaxed);
            assert!(seen.join().unwrap().len() > 5);
        });
    }
}
