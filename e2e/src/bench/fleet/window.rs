//! A time in which the API server and etcd are looked at.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::etcd::growth;
use crate::api_server::ApiServer;
use crate::bench::http;
use crate::bench::prometheus::Metrics;

/// Between two looks at etcd.
const LOOK: Duration = Duration::from_secs(15);
/// A beat of the product, and of a kubelet.
const BEAT: f64 = 10.0;

/// What happened in a time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Window {
    /// Its length.
    pub(super) seconds: f64,
    /// Hosts that wrote meanwhile.
    pub(super) hosts: u32,
    /// Heads that were written.
    pub(super) heads: f64,
    /// Requests of the hosts, whatever the answer.
    pub(super) requests: f64,
    /// Requests that were refused as too many, or failed in the server.
    pub(super) refused: f64,
    /// 99th percentile of the time that the server took for a head: a bound of its histogram, in seconds.
    pub(super) slow_head: Option<f64>,
    /// Bytes of keys and values that were put into etcd.
    pub(super) put: f64,
    /// Bytes that were written into etcd's log.
    pub(super) log: f64,
    /// Bytes that the database grew by in a second while nothing was given back.
    pub(super) growth: Option<f64>,
    /// Size of the database file at the end, history included.
    pub(super) database: f64,
    /// Processor time of the API server, in percent of a core.
    pub(super) server: f64,
    /// Processor time of etcd, in percent of a core.
    pub(super) etcd: f64,
    /// Size in use by seconds since the beginning.
    pub(super) sizes: Vec<(f64, f64)>,
}

impl Window {
    /// A number of bytes or requests of this window, per host and beat.
    pub(super) fn per_beat(&self, number: f64) -> f64 {
        number / self.seconds * BEAT / f64::from(self.hosts.max(1))
    }

    /// The same beyond what was written in `bare`, a window without hosts.
    pub(super) fn beyond(&self, bare: &Self, number: impl Fn(&Self) -> f64) -> f64 {
        let idle = number(bare) / bare.seconds * self.seconds;
        self.per_beat(number(self) - idle)
    }

    /// Growth of the database per host and beat, beyond that of `bare`.
    pub(super) fn growth_beyond(&self, bare: &Self) -> Option<f64> {
        let idle = bare.growth.unwrap_or_default();
        Some((self.growth? - idle) * BEAT / f64::from(self.hosts.max(1)))
    }

    /// Heads that arrived, in percent of those due.
    pub(super) fn cadence(&self) -> f64 {
        self.per_beat(self.heads) * 100.0
    }
}

/// Looks at both for a time; `check` is asked at each look whether those who write still do.
///
/// # Errors
/// One of them does not answer, or `check` fails.
pub(super) fn watch(
    server: &ApiServer,
    hosts: u32,
    length: Duration,
    mut check: impl FnMut() -> Result<()>,
) -> Result<Window> {
    let look = || -> Result<(Metrics, Metrics)> { Ok((server_metrics(server)?, etcd_metrics(server)?)) };
    let began = Instant::now();
    let before = look()?;
    let mut sizes = Vec::new();
    let mut size = || -> Result<()> {
        let metrics = etcd_metrics(server)?;
        let in_use = metrics.sum("etcd_mvcc_db_total_size_in_use_in_bytes", &[]);
        sizes.push((
            began.elapsed().as_secs_f64(),
            in_use.context("etcd does not tell the size of its database")?,
        ));
        Ok(())
    };
    size()?;
    while began.elapsed() < length {
        std::thread::sleep(LOOK.min(length.saturating_sub(began.elapsed())));
        check()?;
        size()?;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(window(hosts, seconds, &before, &look()?, sizes))
}

fn server_metrics(server: &ApiServer) -> Result<Metrics> {
    Ok(Metrics::parse(&server.text(&["get", "--raw", "/metrics"])?))
}

fn etcd_metrics(server: &ApiServer) -> Result<Metrics> {
    Ok(Metrics::parse(&http::get(server.etcd(), "/metrics")?))
}

fn window(
    hosts: u32,
    seconds: f64,
    before: &(Metrics, Metrics),
    after: &(Metrics, Metrics),
    sizes: Vec<(f64, f64)>,
) -> Window {
    let server = |name: &str, labels: &[(&str, &str)]| after.0.grown(&before.0, name, labels);
    let etcd = |name: &str| after.1.grown(&before.1, name, &[]);
    let total = "apiserver_request_total";
    // The controller patches the status.
    let head = [("resource", "hoststates"), ("subresource", ""), ("verb", "PATCH")];
    let of = |resource: &str, code: Option<&str>| {
        let resource = [("resource", resource)];
        let labels = resource.into_iter().chain(code.map(|code| ("code", code)));
        server(total, &labels.collect::<Vec<_>>())
    };
    let by_hosts = ["hoststates", "hostsections", "leases", "nodes"];
    let all = |code: Option<&str>| by_hosts.iter().map(|resource| of(resource, code)).sum::<f64>();
    let written = [&head[..], &[("code", "200")]].concat();
    Window {
        seconds,
        hosts,
        heads: server(total, &written),
        requests: all(None),
        refused: ["429", "500", "503", "504"]
            .map(|code| all(Some(code)))
            .iter()
            .sum(),
        slow_head: after
            .0
            .quantile(&before.0, "apiserver_request_duration_seconds", &head, 0.99),
        put: etcd("etcd_debugging_mvcc_total_put_size_in_bytes"),
        log: etcd("etcd_disk_wal_write_bytes_total"),
        growth: growth(&sizes),
        database: after
            .1
            .sum("etcd_mvcc_db_total_size_in_bytes", &[])
            .unwrap_or_default(),
        server: server("process_cpu_seconds_total", &[]) / seconds * 100.0,
        etcd: etcd("process_cpu_seconds_total") / seconds * 100.0,
        sizes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(heads: u32, sections: u32) -> Metrics {
        Metrics::parse(&format!(
            "apiserver_request_total{{code=\"200\",resource=\"hoststates\",subresource=\"\",verb=\"PATCH\"}} {heads}\n\
             apiserver_request_total{{code=\"429\",resource=\"hoststates\",subresource=\"\",verb=\"PATCH\"}} 3\n\
             apiserver_request_total{{code=\"201\",resource=\"hostsections\",subresource=\"\",verb=\"PATCH\"}} {sections}\n\
             apiserver_request_total{{code=\"200\",resource=\"hoststates\",subresource=\"status\",verb=\"PATCH\"}} {sections}\n\
             apiserver_request_total{{code=\"200\",resource=\"pods\",verb=\"LIST\"}} 900\n\
             apiserver_request_duration_seconds_bucket{{resource=\"hoststates\",subresource=\"\",verb=\"PATCH\",le=\"0.05\"}} {heads}\n\
             apiserver_request_duration_seconds_bucket{{resource=\"hoststates\",subresource=\"\",verb=\"PATCH\",le=\"+Inf\"}} {heads}\n\
             process_cpu_seconds_total {heads}\n"
        ))
    }

    fn etcd(put: u32) -> Metrics {
        Metrics::parse(&format!(
            "etcd_debugging_mvcc_total_put_size_in_bytes {put}\netcd_disk_wal_write_bytes_total {put}\n\
             etcd_mvcc_db_total_size_in_bytes 8.388608e+06\nprocess_cpu_seconds_total 4\n"
        ))
    }

    fn between(hosts: u32, heads: u32, put: u32, sizes: Vec<(f64, f64)>) -> Window {
        let before = (server(0, 0), etcd(0));
        window(hosts, 100.0, &before, &(server(heads, 7), etcd(put)), sizes)
    }

    #[test]
    fn what_hosts_write_is_told_per_host_and_beat_beyond_a_time_without_hosts() {
        let bare = between(0, 0, 10_000, vec![(0.0, 0.0), (100.0, 10_000.0)]);
        let busy = between(5, 50, 110_000, vec![(0.0, 0.0), (100.0, 60_000.0)]);
        assert!((busy.cadence() - 100.0).abs() < 1e-9);
        assert!((busy.beyond(&bare, |w| w.put) - 2000.0).abs() < 1e-9);
        assert!((busy.growth_beyond(&bare).unwrap() - 1000.0).abs() < 1e-9);
        assert!((busy.per_beat(busy.requests) - 1.28).abs() < 1e-9);
        assert_eq!((busy.refused, busy.slow_head), (0.0, Some(0.05)));
        assert!((busy.server - 50.0).abs() < 1e-9 && busy.etcd == 0.0);
    }
}
