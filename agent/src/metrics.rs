//! Prometheus metrics, served only when an address is given. Labels are bounded: names of this build's collectors,
//! never anything that a host says.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::collect::Budget;
use crate::collect::meter::{Meter, Sums, process_cpu};
use crate::hostroot::read_plain;

/// What the publisher counts. Cloning shares the counters.
#[derive(Clone, Default)]
pub struct Counts {
    /// Heads written.
    pub heads: Counter,
    /// Parts of sections written.
    pub parts: Counter,
    /// Parts of sections that the API server refused for themselves.
    pub refused: Counter,
    /// Attempts to publish that failed and are made again.
    pub failures: Counter,
}

/// All metrics of the agent.
pub struct Metrics(Registry);

impl Metrics {
    /// Of these collectors and this publisher.
    pub fn new(meters: Vec<Meter>, counts: Counts) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let own = registry.sub_registry_with_prefix("safetytwin_agent");
        own.register("heads", "HostStates written", counts.heads);
        own.register("parts", "HostSections written", counts.parts);
        own.register(
            "refused",
            "HostSections that the API server refused for themselves",
            counts.refused,
        );
        own.register(
            "publish_failures",
            "Attempts to publish that failed and are made again",
            counts.failures,
        );
        own.register_collector(Box::new(Collectors(meters)));
        Self(registry)
    }

    /// The OpenMetrics text at this moment.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String does not fail.
        let _infallible = text::encode(&mut out, &self.0);
        out
    }
}

/// A metric of each collector: name, help, kind, and its value from what was used and what may be.
type Row = (&'static str, &'static str, MetricType, fn(&Sums, &Budget) -> f64);

/// What is told of each collector.
fn rows() -> [Row; 9] {
    use MetricType::{Counter, Gauge};
    [
        ("collector_looks", "Looks that ended", Counter, |s, _| {
            s.looks as f64
        }),
        (
            "collector_failures",
            "Looks that gave nothing",
            Counter,
            |s, _| s.failures as f64,
        ),
        ("collector_cpu_seconds", "Time on a CPU", Counter, |s, _| {
            s.cpu.as_secs_f64()
        }),
        ("collector_wall_seconds", "Time of all looks", Counter, |s, _| {
            s.wall.as_secs_f64()
        }),
        ("collector_bytes", "JSON of the last look", Gauge, |s, _| {
            s.bytes as f64
        }),
        (
            "collector_breaker",
            "0 closed: it looks; 1 open: left alone for a while; 2 stuck: does not come back",
            Gauge,
            |s, _| f64::from(s.breaker as u8),
        ),
        (
            "collector_budget_cpu_seconds",
            "Most time on a CPU of one look",
            Gauge,
            |_, b| b.cpu.as_secs_f64(),
        ),
        (
            "collector_budget_wall_seconds",
            "Longest time of one look",
            Gauge,
            |_, b| b.wall.as_secs_f64(),
        ),
        (
            "collector_budget_bytes",
            "Most JSON of the items of one look, and of what moves by itself",
            Gauge,
            |_, b| b.bytes as f64,
        ),
    ]
}

/// What the collectors cost, read from their meters.
struct Collectors(Vec<Meter>);

impl fmt::Debug for Collectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|m| m.name)).finish()
    }
}

impl Collector for Collectors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sums: Vec<(&Meter, Sums)> = self.0.iter().map(|m| (m, m.sums())).collect();
        for (name, help, kind, value) in rows() {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (meter, sums) in &sums {
                let labels = [("collector", meter.name)];
                let metric = family.encode_family(&labels)?;
                let value = value(sums, &meter.budget);
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                    _ => ConstGauge::new(value).encode(metric)?,
                }
            }
        }
        Ok(())
    }
}

/// The two standard metrics of a process that tell what the agent costs.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cpu = ConstCounter::new(process_cpu().as_secs_f64());
        let help = "Total user and system CPU time spent in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
        let Some(bytes) = resident_bytes() else {
            return Ok(());
        };
        let help = "Resident memory size in bytes";
        let name = "process_resident_memory_bytes";
        ConstGauge::new(bytes).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

/// VmRSS of this process (proc_pid_status(5)).
fn resident_bytes() -> Option<i64> {
    let status = String::from_utf8(read_plain("/proc/self/status".as_ref(), 64 * 1024).ok()?).ok()?;
    let kib = crate::collect::load::kib(&status, "VmRSS")?;
    i64::try_from(kib.checked_mul(1024)?).ok()
}

/// Listens at once; what it answers with serves until it is dropped.
///
/// # Errors
/// The address is taken or not ours.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let listener = TcpListener::bind(address).await?;
    let metrics = Arc::new(metrics);
    let text = move || {
        let metrics = metrics.clone();
        async move {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], metrics.text())
        }
    };
    let routes = Router::new().route("/metrics", get(text));
    Ok(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::warn!(%error, "stopped to serve metrics");
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::collect::load::HostLoad;
    use crate::collect::meter::Cost;

    #[tokio::test]
    async fn what_collectors_and_publisher_did_is_answered_over_http() {
        let cli: crate::cli::Cli = clap::Parser::parse_from(["twin-agent", "--node-name=web-01"]);
        let meter = Meter::new(&HostLoad::new(&cli.settings(None).unwrap()));
        let cost = Cost {
            bytes: 77,
            ..Cost::default()
        };
        meter.end(cost, false);
        meter.end(Cost::default(), true);
        let counts = Counts::default();
        counts.heads.inc();
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let serving = serve(free, Metrics::new(vec![meter], counts)).await.unwrap();
        tokio::spawn(serving);
        let mut stream = tokio::net::TcpStream::connect(free).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        for line in [
            r#"safetytwin_agent_collector_looks_total{collector="load"} 2"#,
            r#"safetytwin_agent_collector_failures_total{collector="load"} 1"#,
            r#"safetytwin_agent_collector_bytes{collector="load"} 77"#,
            r#"safetytwin_agent_collector_breaker{collector="load"} 1"#,
            r#"safetytwin_agent_collector_budget_cpu_seconds{collector="load"} 20.0"#,
            r#"safetytwin_agent_collector_budget_wall_seconds{collector="load"} 20.0"#,
            r#"safetytwin_agent_collector_budget_bytes{collector="load"} 2723840.0"#,
            "safetytwin_agent_heads_total 1",
            "safetytwin_agent_refused_total 0",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
