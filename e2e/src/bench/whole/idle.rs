//! A host on which nothing happens.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::Bench;
use super::wire::Span;
use crate::bench::watch::Seen;
use crate::product::twin;
use crate::progress::stage;

/// How long.
pub(super) const SPAN: Duration = Duration::from_secs(60);

/// What happened meanwhile.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Idle {
    /// Operations on the twin.
    pub(super) operations: usize,
    /// Points that were taken.
    pub(super) points: usize,
    /// What went over the SSH port.
    pub(super) wire: Span,
}

/// Does nothing and looks.
///
/// # Errors
/// The twin does not settle before.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Idle> {
    twin::wait_settled(bench.lab)?;
    stage(&format!("nothing, for {} s", SPAN.as_secs()), || {
        std::thread::sleep(Duration::from_secs(5));
        let (began, wall) = (Instant::now(), SystemTime::now());
        std::thread::sleep(SPAN);
        Ok(Idle {
            operations: bench.watch.count(began, |s| matches!(s, Seen::Began(_))),
            points: bench.watch.count(began, |s| matches!(s, Seen::PointReady(_))),
            wire: bench.wire.between(wall, SystemTime::now())?,
        })
    })
}
