//! Twenty new units in one change: the twin is suspended while they come up on the host, and let go when all of
//! them are published.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use safetytwin_crds::section::SectionName;
use serde::Serialize;
use serde_json::Value;

use super::changes::service;
use super::wire::Span;
use super::{Bench, probe};
use crate::bench::watch::Seen;
use crate::command::output_within;
use crate::lab::Lab;
use crate::product::{TWINS, twin};
use crate::progress::stage;
use crate::wait::{self, Look};

/// How many.
pub(super) const UNITS: u16 = 20;
/// Their first port.
const PORT: u16 = 25_000;
/// So long after the last publication all of the change counts as published.
const QUIET: Duration = Duration::from_secs(5);

/// One push; in seconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Push {
    /// From the operation's record to its Ready point.
    pub(super) point: f64,
    /// From the Ready point until all units answered in the twin: the push itself.
    pub(super) pushed: f64,
    /// From the operation's record to its end: verified, recorded, unlocked.
    pub(super) operation: f64,
    /// Operations that it took.
    pub(super) operations: usize,
    /// daemon-reloads, by the guest's journal.
    pub(super) reloads: usize,
    /// What went over the SSH port.
    pub(super) wire: Span,
    /// The controller's own account: milliseconds of each step.
    pub(super) steps: Option<String>,
}

/// Names of the units.
pub(super) fn units(prefix: &str) -> Vec<String> {
    (1..=UNITS)
        .map(|number| format!("{prefix}-{number:02}.service"))
        .collect()
}

/// Pushes them.
///
/// # Errors
/// They do not arrive.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Push> {
    twin::wait_settled(bench.lab)?;
    suspend(bench.lab, true)?;
    let appeared = stage(&format!("{UNITS} new units on the host"), || bring_up(bench));
    let pushed = appeared.and_then(|()| stage(&format!("{UNITS} new units into the twin"), || push(bench)));
    if pushed.is_err() {
        // The later parts need a twin that follows.
        suspend(bench.lab, false)?;
    }
    pushed
}

fn bring_up(bench: &Bench<'_>) -> Result<()> {
    let host = bench.lab.host();
    let units = units("push");
    for (unit, port) in units.iter().zip(PORT..) {
        host.write(&format!("/root/bench/{unit}"), service(unit, port))?;
    }
    let began = Instant::now();
    // As an administrator would; a slow machine takes its time for twenty of them.
    let line = format!(
        "mv /root/bench/push-*.service /etc/systemd/system/ && systemctl enable --quiet --now {}",
        units.join(" ")
    );
    output_within(&mut host.command(&line), &[], Duration::from_secs(240))?;
    probe::answers(bench.lab, &ports(bench.host), Duration::from_secs(60))?;
    wait::until("the published state", Duration::from_secs(60), || {
        let recent = Instant::now().checked_sub(QUIET).unwrap_or(began);
        let published = bench
            .watch
            .count(began, |s| *s == Seen::Published(SectionName::Units));
        let lately = bench
            .watch
            .count(recent, |s| *s == Seen::Published(SectionName::Units));
        Ok(if published > 0 && lately == 0 && began < recent {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{published} publications, {lately} of them just now"))
        })
    })
}

fn push(bench: &Bench<'_>) -> Result<Push> {
    let reloads = reloads(bench.lab)?;
    let (began, wall) = (Instant::now(), SystemTime::now());
    suspend(bench.lab, false)?;
    let all = probe::answers(bench.lab, &ports(bench.guest.address), Duration::from_secs(240))?;
    let limit = Duration::from_secs(120);
    let ended = bench
        .watch
        .wait("the end of the operation", began, limit, |s| *s == Seen::Ended)?;
    twin::wait_settled(bench.lab)?;
    let wire = bench.wire.between(wall, SystemTime::now())?;
    let operation = bench.watch.first(began, |s| matches!(s, Seen::Began(_)));
    let operation = operation.context("no operation was seen to begin")?;
    let point = bench.watch.first(began, |s| matches!(s, Seen::PointReady(_)));
    let point = point.context("no point was seen to be Ready")?;
    let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    Ok(Push {
        point: seconds(operation, point),
        pushed: seconds(point, all),
        operation: seconds(operation, ended),
        operations: bench.watch.count(began, |s| matches!(s, Seen::Began(_))),
        reloads: self::reloads(bench.lab)?.saturating_sub(reloads),
        wire,
        steps: last_steps(&std::fs::read_to_string(bench.controller_log)?),
    })
}

fn ports(address: std::net::IpAddr) -> Vec<SocketAddr> {
    (PORT..PORT + UNITS)
        .map(|port| SocketAddr::new(address, port))
        .collect()
}

fn suspend(lab: &Lab, yes: bool) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"suspend":{yes}}}}}"#);
    lab.kubectl([
        "patch",
        "digitaltwin",
        twin::NAME,
        "-n",
        TWINS,
        "--type=merge",
        "-p",
        &patch,
    ])?;
    if !yes {
        return Ok(());
    }
    wait::until("the twin to be suspended", Duration::from_secs(60), || {
        let (_, reason, message) = twin::condition(&twin::object(lab, "digitaltwin", twin::NAME)?, "Ready");
        Ok(if reason == "Suspended" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{reason}: {message}"))
        })
    })
}

/// daemon-reloads since the guest's boot, as its manager wrote them into the journal.
pub(super) fn reloads(lab: &Lab) -> Result<usize> {
    let words = [
        "/usr/bin/journalctl",
        "-b",
        "-q",
        "-o",
        "cat",
        "--no-pager",
        "_PID=1",
    ];
    let journal = twin::guest(lab, twin::NAME)?.run(&words)?;
    Ok(journal.lines().filter(|line| is_reload(line)).count())
}

/// systemd up to 252 writes the first, later ones the second.
fn is_reload(line: &str) -> bool {
    matches!(line, "Reloading." | "Reloading...")
}

/// The steps of the newest apply in the controller's log, which is one JSON object per line.
fn last_steps(log: &str) -> Option<String> {
    let mut lines = log.lines().rev();
    lines.find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let applied = line.get("message")?.as_str()? == "applied";
        applied.then(|| line.get("steps")?.as_str().map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_apply_of_a_log_tells_its_steps() {
        let log = "{\"message\":\"applied\",\"steps\":\"[(\\\"lock\\\", 9)]\"}\nplain\n\
                   {\"message\":\"applied\",\"steps\":\"[(\\\"lock\\\", 7)]\"}\n{\"message\":\"else\"}\n";
        assert_eq!(last_steps(log).as_deref(), Some("[(\"lock\", 7)]"));
        assert_eq!(last_steps("{\"message\":\"else\"}"), None);
    }

    #[test]
    fn a_reload_is_counted_once() {
        let lines = [
            "Reloading requested from client PID 7 ('systemctl')...",
            "Reloading...",
            "Reloading finished in 90 ms.",
        ];
        assert_eq!(lines.iter().filter(|line| is_reload(line)).count(), 1);
    }
}
