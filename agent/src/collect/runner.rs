//! Runs one collector for ever: events first, an audit at a long interval, within its budget,
//! with a growing pause while it fails.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::board::Board;
use super::breaker::Breaker;
use super::meter::{Cost, Meter, own_cpu};
use super::size::Sizes;
use super::{Budget, CollectError, Collected, Collector, Scope};

/// After a look that took this much of a CPU, the source is left alone three times as long: what changes without end
/// takes a quarter of a core at most.
const REST: u32 = 3;
/// Never longer, so that a change shows soon after an audit.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// One look within the collector's budget; a panic is an error of this collector. The calling thread is the
/// collector's: whatever runs on it meanwhile counts.
pub async fn look(
    collector: &mut dyn Collector,
    scope: Scope,
    meter: &Meter,
    sizes: &mut Sizes,
) -> (Result<Collected, CollectError>, Cost) {
    let budget = meter.budget;
    let (began, cpu) = (Instant::now(), own_cpu());
    let used = || own_cpu().saturating_sub(cpu);
    meter.begin();
    let mut work = pin!(AssertUnwindSafe(collector.collect(scope)).catch_unwind());
    // Between two awaits it is cut off here; between two polls nobody can: the watchdog says so then.
    let metered = poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(result.unwrap_or(Err(CollectError::Panicked))),
        Poll::Pending => match over(budget, used()) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        },
    });
    let result = timeout(budget.wall, metered).await;
    let mut cost = Cost {
        wall: began.elapsed(),
        cpu: used(),
        bytes: 0,
    };
    let slow = || CollectError::Slow(budget.wall);
    let result = result.unwrap_or_else(|_| Err(slow())).and_then(|collected| {
        if let Some(error) = over(budget, cost.cpu) {
            return Err(error);
        }
        if cost.wall > budget.wall {
            return Err(slow());
        }
        let (collected, bytes) = sizes.count(collected, budget.bytes)?;
        cost.bytes = bytes;
        Ok(collected)
    });
    meter.end(cost, result.is_err());
    (result, cost)
}

fn over(budget: Budget, used: Duration) -> Option<CollectError> {
    let limit = budget.cpu;
    (used > limit).then_some(CollectError::Costly { used, limit })
}

/// Runs for ever. Dropping it at any await is safe.
pub async fn run(mut collector: Box<dyn Collector>, board: Board, meter: Meter) {
    let name = collector.name();
    let mut breaker = Breaker::default();
    let mut scope = Scope::Audit;
    let mut sizes = Sizes::default();
    loop {
        let (result, cost) = look(collector.as_mut(), scope, &meter, &mut sizes).await;
        meter.feeds(collector.section());
        breaker.note(result.is_ok());
        if let Err(error) = &result {
            let error = board.message(&error.to_string());
            tracing::warn!(collector = name, error, "failed to collect");
        }
        board.post(name, collector.section(), result);
        if breaker.pause().is_none() {
            scope = wait(collector.as_mut(), cost.cpu, &mut breaker).await;
        }
        if let Some(pause) = breaker.pause() {
            sleep(pause).await;
            scope = Scope::Audit;
        }
    }
}

/// Until the source changes, or an audit is due. A panic while waiting opens the breaker.
async fn wait(collector: &mut dyn Collector, used: Duration, breaker: &mut Breaker) -> Scope {
    let audit = Instant::now() + collector.audit_interval();
    let rest = used.saturating_mul(REST).min(LONGEST_REST);
    if rest > Duration::from_millis(20) {
        sleep(rest.min(collector.audit_interval())).await;
    }
    let changed = AssertUnwindSafe(collector.changed()).catch_unwind();
    tokio::select! {
        () = tokio::time::sleep_until(audit) => Scope::Audit,
        result = changed => {
            breaker.note(result.is_ok());
            Scope::Changes
        }
    }
}
