//! How long an overloaded API server wants to be left alone: `Retry-After` (RFC 9110 §10.2.3), which API priority and
//! fairness sends with 429, and proxies with 503. kube keeps no header of an error, so it is read below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Response, StatusCode, header};
use tower::util::MapResponseLayer;

/// No answer silences an agent for longer.
const LONGEST: u64 = 300;

/// The latest wish that was not heeded yet. Cloning shares it.
#[derive(Clone, Default)]
pub struct Brake(Arc<AtomicU64>);

impl Brake {
    /// Reads the answers of a client's service.
    pub fn layer<B>(&self) -> MapResponseLayer<impl Fn(Response<B>) -> Response<B> + Clone + use<B>> {
        let brake = self.clone();
        MapResponseLayer::new(move |response: Response<B>| {
            if let Some(seconds) = wished(&response) {
                brake.0.store(seconds.min(LONGEST), Ordering::Relaxed);
            }
            response
        })
    }

    /// The wish, once.
    pub fn take(&self) -> Option<Duration> {
        let seconds = self.0.swap(0, Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// Seconds only: the API server sends no dates.
fn wished<B>(response: &Response<B>) -> Option<u64> {
    let asks = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let header = response.headers().get(header::RETRY_AFTER)?;
    asks.contains(&response.status())
        .then(|| header.to_str().ok()?.trim().parse().ok())
        .flatten()
}
