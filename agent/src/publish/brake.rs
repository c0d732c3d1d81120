//! How long an overloaded API server wants to be left alone: `Retry-After` (RFC 9110 §10.2.3), which API priority and
//! fairness sends with 429, and proxies with 503. kube keeps no header of an error, so it is read below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Response, StatusCode, header};
use rand::Rng;
use tower::util::MapResponseLayer;

/// No answer silences an agent for longer.
const LONGEST: u64 = 300;
/// Longest pause of its own between two attempts to publish.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

/// 1 s doubling to 60 s, each with up to half of it taken off; never less than the API server wished, to which up to a
/// quarter is added, so that those who were sent away together do not return together.
pub fn pause(failures: u32, wished: Option<Duration>) -> Duration {
    let doubled =
        Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(10)));
    let own = doubled
        .min(LONGEST_PAUSE)
        .mul_f64(rand::rng().random_range(0.5..1.0));
    let wished = wished
        .unwrap_or_default()
        .mul_f64(rand::rng().random_range(1.0..1.25));
    own.max(wished)
}
