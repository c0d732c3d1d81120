//! The peers on the monitored host: a straightforward program, and node_exporter that is scraped.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::load::{CONTAINERS, UNITS};
use crate::bench::http;
use crate::bench::prometheus::Metrics;
use crate::lab::{Lab, node};
use crate::product::strip;

/// Service of the straightforward program.
pub(super) const NAIVE: &str = "naive.service";
/// Service of node_exporter.
pub(super) const EXPORTER: &str = "node-exporter.service";
/// Its Debian package.
pub(super) const EXPORTER_PACKAGE: &str = "prometheus-node-exporter";
/// Port of node_exporter.
const PORT: u16 = 9100;
/// Between two scrapes, as between two beats.
const INTERVAL: Duration = Duration::from_secs(10);

/// Brings a program to the host as `/usr/local/bin/NAME`.
///
/// # Errors
/// The host does not answer.
pub(super) fn bring(lab: &Lab, name: &str, program: &Path) -> Result<()> {
    let bytes = std::fs::read(strip(lab, name, program)?)?;
    lab.host()
        .write_executable(&format!("/usr/local/bin/{name}"), bytes)
}

/// Starts the straightforward program.
///
/// # Errors
/// It does not start.
pub(super) fn start_naive(lab: &Lab) -> Result<()> {
    start(lab, NAIVE, "/usr/local/bin/naive --interval 10")
}

/// Starts node_exporter with the collectors that look at what the agent looks at.
///
/// # Errors
/// It does not start.
pub(super) fn start_exporter(lab: &Lab) -> Result<()> {
    let collectors = [
        "systemd",
        "processes",
        "cpu",
        "loadavg",
        "meminfo",
        "pressure",
        "os",
        "uname",
    ];
    let collectors = collectors.map(|name| format!("--collector.{name}"));
    start(
        lab,
        EXPORTER,
        &format!(
            "/usr/local/bin/{EXPORTER_PACKAGE} --web.listen-address=:{PORT} --collector.disable-defaults {}",
            collectors.join(" ")
        ),
    )
}

fn start(lab: &Lab, unit: &str, command: &str) -> Result<()> {
    let text = format!("[Unit]\nDescription=Peer of the agent's figures\n\n[Service]\nExecStart={command}\n");
    let host = lab.host();
    host.write(&format!("/etc/systemd/system/{unit}"), text)?;
    host.run(&format!("systemctl daemon-reload && systemctl start {unit}"))?;
    Ok(())
}

/// Fails unless the straightforward program saw what runs on the host.
///
/// # Errors
/// It did not.
pub(super) fn check_naive(lab: &Lab) -> Result<String> {
    let said = lab
        .host()
        .run(&format!("journalctl --unit {NAIVE} --lines 1 --output cat"))?;
    let (units, containers) = seen_by_naive(&said).with_context(|| format!("{NAIVE} said {said:?}"))?;
    ensure!(
        units > UNITS && containers >= CONTAINERS,
        "{NAIVE} does not see all of the host: {said}"
    );
    Ok(said.trim().to_owned())
}

/// `look 7: 1402 processes, 391 units, 50 containers, 700123 bytes`.
fn seen_by_naive(line: &str) -> Option<(u32, u32)> {
    let before = |what: &str| {
        let (text, _) = line.split_once(what)?;
        text.rsplit(' ').next()?.parse().ok()
    };
    Some((before(" units")?, before(" containers")?))
}

/// Scrapes node_exporter every ten seconds while `work` runs.
///
/// # Errors
/// `work` fails, a scrape fails, or one does not tell units and processes.
pub(super) fn scraped<T>(lab: &Lab, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    let address: SocketAddr = (node::ADDRESS.parse::<std::net::IpAddr>()?, PORT).into();
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| lab.in_network(|| scrape_until(address, &over)));
        let worked = work();
        over.store(true, Ordering::Relaxed);
        let scrapes = scraper
            .join()
            .map_err(|_| anyhow::anyhow!("the scraper panicked"))??;
        ensure!(scrapes > 0, "node_exporter was not scraped");
        worked
    })
}

fn scrape_until(address: SocketAddr, over: &AtomicBool) -> Result<u32> {
    let mut scrapes = 0;
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let metrics = Metrics::parse(&http::get(address, "/metrics")?);
        let units = metrics.sum("node_systemd_unit_state", &[("state", "active")]);
        ensure!(
            units.is_some_and(|units| units > f64::from(UNITS)),
            "node_exporter tells {units:?} active units"
        );
        ensure!(
            metrics.sum("node_processes_pids", &[]).is_some(),
            "node_exporter tells no processes"
        );
        scrapes += 1;
        next += INTERVAL;
        while Instant::now() < next && !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(scrapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_straightforward_program_saw_is_read_from_its_line() {
        let line = "look 7: 1402 processes, 391 units, 50 containers, 700123 bytes\n";
        assert_eq!(seen_by_naive(line), Some((391, 50)));
        assert_eq!(seen_by_naive("-- No entries --"), None);
    }
}
