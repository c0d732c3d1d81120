//! Sees from outside what a collector cannot say itself: that it hangs in the kernel, or spins without ever letting
//! others run on its thread.
//!
//! No thread can be ended from outside without risk to all others. Such a collector is given up: its section becomes
//! Unavailable, its thread gets the lowest priority, the others go on, and it is taken back when it comes back. One
//! that still burns a core after `PATIENCE` cannot be healed within this process, which then ends, so that systemd
//! or the kubelet starts it anew, with their own growing pauses. One that hangs costs nothing, and a process that
//! hangs in the kernel cannot end: it is left.

use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

use super::CollectError;
use super::board::Board;
use super::meter::{Meter, process_cpu};
use super::thread::GRACE;

/// Between two looks: each wakes the process, and no budget is shorter than two of them.
const TICK: Duration = Duration::from_secs(10);
/// How long one that spins may go on.
const PATIENCE: Duration = Duration::from_secs(600);
/// The lowest priority (setpriority(2)).
const LOWEST: i32 = 19;

/// A collector has been spinning for too long.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "collector {collector} has used a CPU without end for {} s; a new process is the only way to stop it",
    busy.as_secs()
)]
pub struct Spinning {
    /// Its name.
    pub collector: &'static str,
    /// Time on a CPU since its last sign of life.
    pub busy: Duration,
}

/// What is known of one collector.
struct Watched {
    meter: Meter,
    steps: u64,
    /// Its last sign of life.
    since: Instant,
    cpu: Duration,
    /// Time on a CPU without a rest since then.
    busy: Duration,
    given_up: bool,
}

/// The watchdog of all collectors.
pub struct Watchdog {
    board: Board,
    watched: Vec<Watched>,
    at: Instant,
    process_cpu: Duration,
}

impl Watchdog {
    /// Watches `meters`; what it finds goes to `board`.
    pub fn new(meters: &[Meter], board: Board) -> Self {
        let watched = |meter: &Meter| Watched {
            meter: meter.clone(),
            steps: 0,
            since: Instant::now(),
            cpu: Duration::ZERO,
            busy: Duration::ZERO,
            given_up: false,
        };
        Self {
            board,
            watched: meters.iter().map(watched).collect(),
            at: Instant::now(),
            process_cpu: process_cpu(),
        }
    }

    /// Looks every few seconds; returns when the process must end.
    pub async fn run(mut self) -> Spinning {
        loop {
            tokio::time::sleep(TICK).await;
            if let Err(spinning) = self.check(PATIENCE) {
                return spinning;
            }
        }
    }

    /// One look. Costs one system call while nothing in this process is busy.
    ///
    /// # Errors
    /// A collector has been spinning for longer than `patience`.
    pub fn check(&mut self, patience: Duration) -> Result<(), Spinning> {
        let (now, process) = (Instant::now(), process_cpu());
        let half = now.duration_since(self.at) / 2;
        let is_busy = process.saturating_sub(self.process_cpu) >= half;
        (self.at, self.process_cpu) = (now, process);
        for watched in &mut self.watched {
            watched.look(now, is_busy.then_some(half));
            watched.judge(now, &self.board);
            if watched.given_up && watched.busy > patience {
                return Err(Spinning {
                    collector: watched.meter.name,
                    busy: watched.busy,
                });
            }
        }
        Ok(())
    }
}

impl Watched {
    /// Takes in what the thread did; `half` of the time since the last look, when the process was busy that long.
    fn look(&mut self, now: Instant, half: Option<Duration>) {
        let steps = self.meter.steps();
        if steps != self.steps {
            if self.given_up {
                tracing::info!(collector = self.meter.name, "came back");
            }
            (self.steps, self.since, self.given_up) = (steps, now, false);
            (self.cpu, self.busy) = (self.meter.thread_cpu().unwrap_or_default(), Duration::ZERO);
            return;
        }
        let Some(half) = half else {
            self.busy = Duration::ZERO;
            return;
        };
        let cpu = self.meter.thread_cpu().unwrap_or_default();
        let used = cpu.saturating_sub(self.cpu);
        self.cpu = cpu;
        self.busy = if used >= half {
            self.busy + used
        } else {
            Duration::ZERO
        };
    }

    fn judge(&mut self, now: Instant, board: &Board) {
        let budget = self.meter.budget;
        let hangs = self
            .meter
            .looking_since()
            .is_some_and(|began| now.saturating_duration_since(began) > budget.wall + GRACE);
        let spins = self.busy > budget.cpu;
        if self.given_up || !(hangs || spins) {
            return;
        }
        self.given_up = true;
        self.meter.stuck();
        let error = CollectError::Stuck {
            silent: now.saturating_duration_since(self.since),
            cpu: self.busy,
        };
        tracing::warn!(collector = self.meter.name, %error, "gave a collector up");
        board.post(self.meter.name, self.meter.section(), Err(error));
        // Lowering needs no right. The thread keeps it: raising would need one.
        if let Err(error) = setpriority_process(self.meter.thread(), LOWEST) {
            tracing::warn!(collector = self.meter.name, %error, "failed to lower the priority of its thread");
        }
    }
}
