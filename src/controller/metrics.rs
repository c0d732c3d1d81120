//! Prometheus metrics. Labels are bounded: kinds, results and reasons of this program; never the
//! name of an object, a host or an item.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Which kind of object was reconciled.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    /// Lower-case kind.
    pub kind: &'static str,
}

/// Why a reconcile failed.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FailureLabel {
    /// Lower-case kind.
    pub kind: &'static str,
    /// Reason of [`super::error::Error`].
    pub reason: &'static str,
}

/// How an operation ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OperationLabel {
    /// apply, restore or point.
    pub operation: &'static str,
    /// Of an apply Applied, ItemsFailed or Failed; Restored; Taken.
    pub result: &'static str,
}

/// The controller's metrics.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<KindLabel, Counter>,
    failures: Family<FailureLabel, Counter>,
    seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    operations: Family<OperationLabel, Counter>,
    operation_seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    leader: Gauge,
}

fn buckets() -> Histogram {
    Histogram::new([0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 30.0, 120.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("safetytwin");
        let reconciles = Family::default();
        let failures = Family::default();
        let seconds: Family<KindLabel, Histogram, fn() -> Histogram> = Family::new_with_constructor(buckets);
        let operations = Family::default();
        let operation_seconds: Family<OperationLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(buckets);
        let leader = Gauge::default();
        registry.register("reconciles", "Reconciles by kind", reconciles.clone());
        registry.register("reconcile_failures", "Reconciles that failed", failures.clone());
        registry.register("reconcile_seconds", "Time of a reconcile", seconds.clone());
        registry.register(
            "operations",
            "Operations on twins by kind and result",
            operations.clone(),
        );
        registry.register(
            "operation_seconds",
            "Time of an operation",
            operation_seconds.clone(),
        );
        registry.register("leader", "Whether this process holds the lease", leader.clone());
        Self {
            registry: Mutex::new(registry),
            reconciles,
            failures,
            seconds,
            operations,
            operation_seconds,
            leader,
        }
    }
}

impl Metrics {
    /// Counts a reconcile.
    pub fn reconciled(&self, kind: &'static str, took: Duration, failure: Option<&'static str>) {
        let label = KindLabel { kind };
        self.reconciles.get_or_create(&label).inc();
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
        if let Some(reason) = failure {
            self.failures.get_or_create(&FailureLabel { kind, reason }).inc();
        }
    }

    /// Counts an operation.
    pub fn operated(&self, operation: &'static str, result: &'static str, took: Duration) {
        let label = OperationLabel { operation, result };
        self.operations.get_or_create(&label).inc();
        self.operation_seconds
            .get_or_create(&label)
            .observe(took.as_secs_f64());
    }

    /// Says whether this process holds the lease.
    pub fn leads(&self, yes: bool) {
        self.leader.set(i64::from(yes));
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String does not fail.
        let _infallible = text::encode(&mut out, &registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_name_what_happened_and_never_an_object() {
        let metrics = Metrics::default();
        metrics.reconciled("digitaltwin", Duration::from_millis(3), Some("GuestUnreachable"));
        metrics.operated("apply", "Applied", Duration::from_secs(1));
        let text = metrics.text();
        assert!(
            text.contains(
                r#"safetytwin_reconcile_failures_total{kind="digitaltwin",reason="GuestUnreachable"} 1"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#"safetytwin_operations_total{operation="apply",result="Applied"} 1"#),
            "{text}"
        );
    }
}
