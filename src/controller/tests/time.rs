//! The time of a world: goes on with tokio's clock while a process runs, stands still in between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::controller::ports::Clock;

/// A clock that all parts of a world share.
#[derive(Clone)]
pub struct Time {
    inner: Arc<Mutex<(Timestamp, Option<Instant>)>>,
}

impl Time {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            inner: Arc::new(Mutex::new((now, None))),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut (Timestamp, Option<Instant>)) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another clock that stands at the same time.
    pub fn fork(&self) -> Self {
        Self::new(self.now())
    }

    /// Goes on from here, with the clock of the runtime that this is called in.
    pub fn start(&self) {
        self.with(|(_, since)| *since = Some(Instant::now()));
    }

    /// Stands still. Called in the runtime that started it.
    pub fn stop(&self) {
        let now = self.now();
        self.with(|inner| *inner = (now, None));
    }

    /// Passes while no process runs.
    pub fn pass(&self, time: Duration) {
        let time = SignedDuration::try_from(time).unwrap();
        self.with(|(base, _)| *base += time);
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        self.with(|(base, since)| {
            let passed = since.map_or(Duration::ZERO, |since| since.elapsed());
            *base + SignedDuration::try_from(passed).unwrap()
        })
    }
}
