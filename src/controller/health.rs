//! `/healthz`, `/readyz` and `/metrics` on one address.
//!
//! Live: no reconcile and no look at the VMs has been under way for longer than [`TOO_LONG`]; a driver that ends takes
//! the process with it. A cluster in which nothing happens is as live as a busy one. Ready: the process serves, also
//! while another replica leads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// What is under way for longer hangs. A reconcile that takes a silent twin back tries each point that there is, five
/// minutes each at most: an hour with the default number of points.
pub const TOO_LONG: Duration = Duration::from_hours(6);

/// What the controller does right now.
#[derive(Debug, Default)]
pub struct Pulse {
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    begun: BTreeMap<u64, (&'static str, Instant)>,
}

/// Something that is under way until this is dropped.
#[derive(Debug)]
pub struct Begun {
    pulse: Arc<Pulse>,
    number: u64,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.pulse.lock().begun.remove(&self.number);
    }
}

impl Pulse {
    /// Something of this kind begins.
    pub fn begin(self: &Arc<Self>, kind: &'static str) -> Begun {
        let mut under_way = self.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.begun.insert(number, (kind, Instant::now()));
        Begun {
            pulse: Arc::clone(self),
            number,
        }
    }

    /// Kinds of which something hangs.
    pub fn hanging(&self, now: Instant) -> BTreeSet<&'static str> {
        let under_way = self.lock();
        let hangs = |at: &Instant| now.saturating_duration_since(*at) > TOO_LONG;
        let hanging = under_way.begun.values().filter(|(_, at)| hangs(at));
        hanging.map(|(kind, _)| *kind).collect()
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
}

/// Serves until the process ends. Errors: the address is taken or not ours.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, pulse: Arc<Pulse>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics_text))
        .with_state(Shown { metrics, pulse });
    axum::serve(listener, routes).await
}

async fn healthz(State(shown): State<Shown>) -> Response {
    let hanging = shown.pulse.hanging(Instant::now());
    if hanging.is_empty() {
        return "ok\n".into_response();
    }
    let hanging: Vec<&str> = hanging.into_iter().collect();
    let text = format!("under way for too long: {}\n", hanging.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics_text(State(shown): State<Shown>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shown.metrics.text()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_named_and_a_quiet_controller_is_live() {
        let pulse = Arc::new(Pulse::default());
        let later = Instant::now() + TOO_LONG + Duration::from_secs(1);
        drop(pulse.begin("hoststate"));
        assert!(pulse.hanging(later).is_empty(), "nothing is under way");
        let begun = pulse.begin("digitaltwin");
        assert!(pulse.hanging(Instant::now()).is_empty(), "it has just begun");
        assert_eq!(pulse.hanging(later), BTreeSet::from(["digitaltwin"]));
        drop(begun);
        assert!(pulse.hanging(later).is_empty());
    }
}
