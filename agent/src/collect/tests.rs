//! Collectors that hang, spin, panic, wake without end and return a million items, each beside one that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::hoststate::Load;
use safetytwin_crds::item::{ProcessItem, Text};
use safetytwin_crds::section::{SectionName, SectionState};

use super::board::{Board, Report};
use super::meter::{BreakerState, Meter, own_cpu};
use super::size::Sizes;
use super::watchdog::Watchdog;
use super::{Budget, CollectError, Collected, Collector, Content, Scope, runner, thread};

/// What a look does; it ends when the flag is set.
type Behaviour = fn(&AtomicBool) -> Option<Content>;

struct Bad {
    look: Behaviour,
    release: Arc<AtomicBool>,
}

fn bad(look: Behaviour) -> (Box<dyn Collector>, Arc<AtomicBool>) {
    let release = Arc::new(AtomicBool::new(false));
    let own = release.clone();
    (Box::new(Bad { look, release: own }), release)
}

#[async_trait]
impl Collector for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }
    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Processes)
    }
    fn budget(&self) -> Budget {
        Budget {
            wall: Duration::from_secs(2),
            cpu: Duration::from_millis(200),
            ..Budget::default()
        }
    }
    fn audit_interval(&self) -> Duration {
        Duration::from_millis(10)
    }
    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        match (self.look)(&self.release) {
            Some(content) => Ok(Collected::whole(content)),
            None => std::future::pending().await,
        }
    }
}

/// One that works, and counts.
struct Good(Arc<AtomicU64>);

#[async_trait]
impl Collector for Good {
    fn name(&self) -> &'static str {
        "good"
    }
    fn section(&self) -> Option<SectionName> {
        None
    }
    fn audit_interval(&self) -> Duration {
        Duration::from_millis(10)
    }
    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Collected::whole(Content::Load(Load::default())))
    }
}

struct Scene {
    board: Board,
    bad: Meter,
    watchdog: Watchdog,
    good_looks: Arc<AtomicU64>,
}

fn scene(bad: Box<dyn Collector>) -> Scene {
    let board = Board::default();
    let good_looks = Arc::new(AtomicU64::new(0));
    let good = thread::start(Box::new(Good(good_looks.clone())), board.clone()).unwrap();
    let bad = thread::start(bad, board.clone()).unwrap();
    Scene {
        watchdog: Watchdog::new(&[good, bad.clone()], board.clone()),
        board,
        bad,
        good_looks,
    }
}

impl Scene {
    /// Waits for a report of the bad one.
    fn wait(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        loop {
            std::thread::sleep(Duration::from_millis(20));
            self.watchdog.check(Duration::MAX).unwrap();
            if let Some(report) = self.board.reports().get("bad").filter(|r| wanted(r)) {
                return report.clone();
            }
        }
    }

    /// The other one goes on looking.
    fn the_good_one_goes_on(&self) {
        let before = self.good_looks.load(Ordering::Relaxed);
        while self.good_looks.load(Ordering::Relaxed) < before + 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.board.reports()["good"].state, SectionState::Complete);
    }
}

fn spin(release: &AtomicBool) -> Option<Content> {
    while !release.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    Some(Content::Processes(vec![]))
}

/// As in a read from a file system that does not answer.
fn hang(release: &AtomicBool) -> Option<Content> {
    while !release.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(Content::Processes(vec![]))
}

fn million(_: &AtomicBool) -> Option<Content> {
    let item = ProcessItem {
        key: "key".into(),
        argv: vec![Text(b"argv".to_vec())],
        ..serde_json::from_str(
            r#"{"key":"","comm":"","argv":[],"user":{"name":"root"},"group":{"name":"root"},"ordinal":0}"#,
        )
        .unwrap()
    };
    Some(Content::Processes(
        std::iter::repeat_n(Arc::new(item), 1_000_000).collect(),
    ))
}

#[test]
fn one_that_spins_is_given_up_and_taken_back_and_the_others_go_on() {
    let (collector, release) = bad(spin);
    let mut scene = scene(collector);
    let report = scene.wait(|r| r.state == SectionState::Unavailable);
    let message = report.message.unwrap();
    assert!(message.starts_with("given up until it comes back"), "{message}");
    assert_eq!(scene.bad.sums().breaker, BreakerState::Stuck);
    let thread = scene.bad.thread();
    assert_eq!(rustix::process::getpriority_process(thread).unwrap(), 19);
    scene.the_good_one_goes_on();
    release.store(true, Ordering::Relaxed);
    scene.wait(|r| r.state == SectionState::Complete);
    assert_eq!(scene.bad.sums().breaker, BreakerState::Closed);
}

#[test]
fn one_that_spins_for_ever_ends_the_process_in_an_orderly_way() {
    let (collector, release) = bad(spin);
    let mut scene = scene(collector);
    let spinning = loop {
        std::thread::sleep(Duration::from_millis(20));
        if let Err(spinning) = scene.watchdog.check(Duration::from_millis(400)) {
            break spinning;
        }
    };
    assert_eq!(spinning.collector, "bad");
    // It was said first.
    assert_eq!(scene.board.reports()["bad"].state, SectionState::Unavailable);
    release.store(true, Ordering::Relaxed);
}

#[test]
fn one_that_hangs_in_the_kernel_is_given_up_but_never_ends_the_process() {
    let (collector, release) = bad(hang);
    let mut scene = scene(collector);
    let report = scene.wait(|r| r.state == SectionState::Unavailable);
    let message = report.message.unwrap();
    assert!(message.ends_with("0.0 s of them on a CPU"), "{message}");
    scene.the_good_one_goes_on();
    scene.watchdog.check(Duration::ZERO).unwrap();
    release.store(true, Ordering::Relaxed);
    scene.wait(|r| r.state == SectionState::Complete);
}

#[test]
fn a_million_items_are_cut_to_the_budget_and_the_rest_is_kept_nowhere() {
    let (collector, _) = bad(million);
    let mut scene = scene(collector);
    let report = scene.wait(|r| r.state == SectionState::Partial);
    let Some(Content::Processes(items)) = report.content.as_deref() else {
        panic!("{report:?}");
    };
    let message = format!(
        "{} of 1000000 items are left out: more than 2660 KiB",
        1_000_000 - items.len()
    );
    assert!((10_000..100_000).contains(&items.len()), "{}", items.len());
    assert_eq!(report.message, Some(message));
    scene.the_good_one_goes_on();
}

fn looked(collector: &mut dyn Collector) -> (Result<Collected, CollectError>, Meter) {
    let meter = Meter::new(collector);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (result, _) = runtime.block_on(runner::look(
        collector,
        Scope::Audit,
        &meter,
        &mut Sizes::default(),
    ));
    (result, meter)
}

#[test]
fn one_that_waits_without_end_or_panics_fails_alone_and_opens_its_breaker() {
    let (result, meter) = looked(bad(|_| None).0.as_mut());
    assert!(matches!(result, Err(CollectError::Slow(_))));
    let sums = meter.sums();
    assert_eq!(
        (sums.looks, sums.failures, sums.breaker),
        (1, 1, BreakerState::Open)
    );
    assert!(sums.wall >= Duration::from_secs(2));
    let (result, _) = looked(bad(|_| panic!("a defect")).0.as_mut());
    assert!(matches!(result, Err(CollectError::Panicked)));
}

#[test]
fn one_that_computes_too_long_is_told_what_it_used_of_its_budget() {
    let compute: Behaviour = |_| {
        let began = own_cpu();
        while own_cpu() - began < Duration::from_millis(250) {}
        Some(Content::Processes(vec![]))
    };
    let (result, meter) = looked(bad(compute).0.as_mut());
    let message = result.unwrap_err().to_string();
    assert!(
        message.starts_with("over its CPU budget: 0.") && message.ends_with("s of 0.2 s"),
        "{message}"
    );
    assert!(meter.sums().cpu >= Duration::from_millis(250));
    // It is cut off between two awaits, too.
    let compute: Behaviour = |_| {
        let began = own_cpu();
        while own_cpu() - began < Duration::from_millis(250) {}
        None
    };
    let (result, _) = looked(bad(compute).0.as_mut());
    assert!(matches!(result, Err(CollectError::Costly { .. })));
}

#[test]
fn what_a_look_cost_is_counted() {
    let (result, meter) = looked(bad(|_| Some(Content::Processes(vec![]))).0.as_mut());
    result.unwrap();
    let sums = meter.sums();
    assert_eq!((sums.looks, sums.failures), (1, 0));
    assert!(sums.bytes > 0 && sums.breaker == BreakerState::Closed);
}

#[test]
fn a_thread_s_time_on_a_cpu_is_the_same_from_inside_and_outside() {
    let meter = Meter::new(bad(|_| None).0.as_ref());
    assert_eq!(meter.thread_cpu(), None);
    meter.runs_here();
    while own_cpu() < Duration::from_millis(30) {}
    let (before, seen, after) = (own_cpu(), meter.thread_cpu().unwrap(), own_cpu());
    // The kernel brings the outer one up to date at its ticks.
    assert!(seen <= after && seen + Duration::from_millis(20) >= before);
}
