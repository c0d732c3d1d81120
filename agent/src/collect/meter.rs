//! What a collector costs: written by its thread, read by the watchdog and by whoever asks for metrics.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{Pid, gettid};
use rustix::time::{ClockId, clock_gettime};
use safetytwin_crds::section::SectionName;

use super::schedstat::SchedStat;
use super::{Budget, Collector};
use crate::hostroot::read_single;

/// What one look cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time.
    pub wall: Duration,
    /// Time on a CPU.
    pub cpu: Duration,
    /// JSON of what was found.
    pub bytes: usize,
}

/// Whether a collector's source is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// It is.
    #[default]
    Closed,
    /// It failed and is left alone for a while.
    Open,
    /// It does not come back from a look.
    Stuck,
}

/// The sums of all looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Looks that ended.
    pub looks: u64,
    /// Looks that gave nothing.
    pub failures: u64,
    /// Time of all looks.
    pub wall: Duration,
    /// Time on a CPU of all looks.
    pub cpu: Duration,
    /// Bytes of the last look that gave something.
    pub bytes: usize,
    /// Whether it looks on.
    pub breaker: BreakerState,
}

#[derive(Default)]
struct Shared {
    /// Thread id; 0 before it runs.
    thread: AtomicI32,
    /// Grows whenever the collector's loop goes on.
    steps: AtomicU64,
    section: Mutex<Option<SectionName>>,
    looking: Mutex<Option<Instant>>,
    sums: Mutex<Sums>,
}

/// The meter of one collector. Cloning shares it.
#[derive(Clone)]
pub struct Meter {
    /// The collector's name.
    pub name: &'static str,
    /// What one look may cost.
    pub budget: Budget,
    shared: Arc<Shared>,
}

impl Meter {
    /// Of a collector that has not run yet.
    pub fn new(collector: &dyn Collector) -> Self {
        Self {
            name: collector.name(),
            budget: collector.budget(),
            shared: Arc::new(Shared {
                section: Mutex::new(collector.section()),
                ..Shared::default()
            }),
        }
    }

    /// The section that it feeds; some know only after a look.
    pub fn section(&self) -> Option<SectionName> {
        *self.shared.section.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It feeds this section from now on.
    pub fn feeds(&self, section: Option<SectionName>) {
        *self.shared.section.lock().unwrap_or_else(PoisonError::into_inner) = section;
    }

    /// The calling thread is the collector's.
    pub fn runs_here(&self) {
        self.shared
            .thread
            .store(gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// A look begins.
    pub fn begin(&self) {
        self.step(Some(Instant::now()));
    }

    /// A look ended; `failed` when it gave nothing.
    pub fn end(&self, cost: Cost, failed: bool) {
        self.step(None);
        let mut sums = self.shared.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.looks += 1;
        sums.failures += u64::from(failed);
        sums.wall += cost.wall;
        sums.cpu += cost.cpu;
        if failed {
            sums.breaker = BreakerState::Open;
        } else {
            sums.bytes = cost.bytes;
            sums.breaker = BreakerState::Closed;
        }
    }

    fn step(&self, looking: Option<Instant>) {
        self.shared.steps.fetch_add(1, Ordering::Relaxed);
        *self.shared.looking.lock().unwrap_or_else(PoisonError::into_inner) = looking;
    }

    /// The collector does not come back from its look.
    pub fn stuck(&self) {
        let mut sums = self.shared.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.breaker = BreakerState::Stuck;
    }

    /// How often the collector's loop went on.
    pub fn steps(&self) -> u64 {
        self.shared.steps.load(Ordering::Relaxed)
    }

    /// When the look in progress began.
    pub fn looking_since(&self) -> Option<Instant> {
        *self.shared.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sums until now.
    pub fn sums(&self) -> Sums {
        *self.shared.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collector's thread.
    pub fn thread(&self) -> Option<Pid> {
        Pid::from_raw(self.shared.thread.load(Ordering::Relaxed))
    }

    /// Time on a CPU of the collector's thread, seen from outside; none where the kernel does not count it.
    pub fn thread_cpu(&self) -> Option<Duration> {
        let path = format!("/proc/self/task/{}/schedstat", self.thread()?.as_raw_nonzero());
        Some(SchedStat::parse(&read_single(path.as_ref(), 256).ok()?)?.ran)
    }
}

/// Time on a CPU of the calling thread.
pub fn own_cpu() -> Duration {
    duration(ClockId::ThreadCPUTime)
}

/// Time on a CPU of all threads of this process.
pub fn process_cpu() -> Duration {
    duration(ClockId::ProcessCPUTime)
}

fn duration(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
