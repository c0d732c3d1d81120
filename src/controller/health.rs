//! `/healthz`, `/readyz` and `/metrics` on one address.
//!
//! Live: the process answers and each watch has had an event within [`SILENCE`]; readiness: the
//! lease is held, or another replica holds it and this one waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// A reconcile queue that was given up is noticed after this long without a sign of life.
pub const SILENCE: Duration = Duration::from_secs(900);

/// Signs of life of the drivers.
#[derive(Debug, Default)]
pub struct Pulse {
    last: Mutex<BTreeMap<&'static str, Instant>>,
}

impl Pulse {
    /// The driver of this kind did something, or its timer found nothing to do.
    pub fn beat(&self, kind: &'static str) {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind, Instant::now());
    }

    /// Kinds without a sign of life for longer than [`SILENCE`].
    pub fn silent(&self) -> Vec<&'static str> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter()
            .filter(|(_, at)| at.elapsed() > SILENCE)
            .map(|(kind, _)| *kind)
            .collect()
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
    let silent = shown.pulse.silent();
    if silent.is_empty() {
        return "ok\n".into_response();
    }
    let text = format!("no sign of life: {}\n", silent.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics_text(State(shown): State<Shown>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shown.metrics.text()).into_response()
}
