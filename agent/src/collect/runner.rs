//! Runs one collector for ever: events first, an audit at a long interval, within its budget,
//! with a growing pause while it fails.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::time::{sleep, timeout};

use super::board::Board;
use super::breaker::Breaker;
use super::{CollectError, Collected, Collector, Scope};

/// One look within the collector's wall budget. A panic is an error of this collector.
pub async fn look(collector: &mut dyn Collector, scope: Scope) -> Result<Collected, CollectError> {
    let wall = collector.budget().wall;
    let attempt = AssertUnwindSafe(collector.collect(scope)).catch_unwind();
    match timeout(wall, attempt).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(CollectError::Panicked),
        Err(_) => Err(CollectError::Slow(wall)),
    }
}

/// Runs until the task is aborted. Dropping it at any await is safe.
pub async fn run(mut collector: Box<dyn Collector>, board: Board) {
    let name = collector.name();
    let mut breaker = Breaker::default();
    let mut scope = Scope::Audit;
    loop {
        let result = look(collector.as_mut(), scope).await;
        breaker.note(result.is_ok());
        if let Err(error) = &result {
            let error = board.message(&error.to_string());
            tracing::warn!(collector = name, error, "failed to collect");
        }
        board.post(name, collector.section(), result);
        scope = match breaker.pause() {
            Some(pause) => {
                sleep(pause).await;
                Scope::Audit
            }
            None => {
                tokio::select! {
                    () = sleep(collector.audit_interval()) => Scope::Audit,
                    () = collector.changed() => Scope::Changes,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use safetytwin_crds::section::SectionName;

    use super::*;
    use crate::collect::Budget;

    struct Hostile(fn() -> bool);

    #[async_trait]
    impl Collector for Hostile {
        fn name(&self) -> &'static str {
            "hostile"
        }
        fn section(&self) -> Option<SectionName> {
            None
        }
        fn budget(&self) -> Budget {
            Budget {
                wall: Duration::from_millis(1),
                ..Budget::default()
            }
        }
        fn audit_interval(&self) -> Duration {
            Duration::from_secs(1)
        }
        async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
            assert!((self.0)(), "a defect");
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_collector_that_hangs_or_panics_fails_alone() {
        let hung = look(&mut Hostile(|| true), Scope::Audit).await;
        assert!(matches!(hung, Err(CollectError::Slow(_))));
        let panicked = look(&mut Hostile(|| false), Scope::Audit).await;
        assert!(matches!(panicked, Err(CollectError::Panicked)));
    }
}
