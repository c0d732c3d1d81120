//! A service that is written, or edited, on the host, until the same service answers in the twin.
//!
//! The service listens on a port, and an edit moves it to another one: host and twin are looked at in the same
//! way, from outside, by one clock.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use safetytwin_crds::section::SectionName;
use safetytwin_crds::twinclass::PointMode;
use serde::Serialize;

use super::wire::Span;
use super::{Bench, probe};
use crate::bench::placed::placed;
use crate::bench::stats::median;
use crate::bench::watch::Seen;
use crate::product::twin;
use crate::progress::stage;

/// Longest time for a change to arrive.
const LIMIT: Duration = Duration::from_secs(120);
/// A second publication of the same change comes within this time, if it comes. Also longer than the least
/// distance of two automatic points, so that no sample waits for it.
const AFTERWARDS: Duration = Duration::from_secs(4);

/// What was done on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    /// A unit that did not exist was written and started.
    New,
    /// A unit was replaced, the host's manager reloaded, the service restarted.
    Edited,
}

/// One change; moments in seconds since its command began.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    /// What was done.
    pub(super) kind: Kind,
    /// The point before it.
    pub(super) mode: PointMode,
    /// The file was in its place on the host.
    pub(super) in_place: f64,
    /// The host's command returned.
    pub(super) returned: f64,
    /// The service answered on the host.
    pub(super) on_host: f64,
    /// The first head with other units was written.
    pub(super) published: Option<f64>,
    /// The first restore point was Ready.
    pub(super) point: Option<f64>,
    /// The service answered in the twin.
    pub(super) in_twin: f64,
    /// Operations on the twin, one point each.
    pub(super) operations: usize,
    /// What went over the SSH port.
    pub(super) wire: Span,
}

impl Sample {
    /// From the moment that counts as the change to the answer in the twin: for a new unit the moment at which
    /// it answers on the host, for an edited one that at which the file is in its place.
    pub(super) fn arrival(&self) -> f64 {
        self.in_twin - self.changed()
    }

    /// The moment that counts as the change.
    fn changed(&self) -> f64 {
        match self.kind {
            Kind::New => self.on_host,
            Kind::Edited => self.in_place,
        }
    }

    /// From the file in its place to the published state.
    pub(super) fn publication(&self) -> Option<f64> {
        self.published.map(|published| published - self.in_place)
    }
}

/// Makes each change as often as asked, with points of one mode.
///
/// # Errors
/// A change does not arrive.
pub(super) fn measure(bench: &Bench<'_>, mode: PointMode) -> Result<Vec<Sample>> {
    twin::set_point_mode(bench.lab, mode)?;
    let mut samples = Vec::new();
    for kind in [Kind::New, Kind::Edited] {
        stage(
            &format!("{kind:?} unit, {mode:?} points, {} times", bench.samples),
            || {
                for number in 0..bench.samples {
                    samples.push(follow(bench, kind, mode, number)?);
                }
                Ok(())
            },
        )?;
        let of_kind = samples.iter().filter(|s| s.kind == kind);
        let arrivals = of_kind.map(Sample::arrival);
        println!("            median {:.2} s", median(arrivals).unwrap_or_default());
    }
    Ok(samples)
}

/// The text of a service that answers on a port.
pub(super) fn service(description: &str, port: u16) -> String {
    format!(
        "[Unit]\nDescription={description}\n\n[Service]\nExecStart=/usr/bin/busybox httpd -f -p {port} -h /srv\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

fn follow(bench: &Bench<'_>, kind: Kind, mode: PointMode, number: usize) -> Result<Sample> {
    let letter = if mode == PointMode::Full { "full" } else { "disk" };
    let unit = format!("bench-{letter}-{number}.service");
    let base: u16 = match (mode, kind) {
        (PointMode::Full, Kind::New) => 21_000,
        (PointMode::Full, Kind::Edited) => 22_000,
        (_, Kind::New) => 23_000,
        (_, Kind::Edited) => 24_000,
    };
    let port = base + u16::try_from(number)?;
    bench
        .lab
        .host()
        .write(&format!("/root/bench/{unit}"), service(&unit, port))?;
    let start = match kind {
        Kind::New => format!("systemctl start {unit}"),
        Kind::Edited => format!("systemctl daemon-reload && systemctl restart {unit}"),
    };
    let line = format!("mv /root/bench/{unit} /etc/systemd/system/{unit} && echo placed && {start}");
    twin::wait_settled(bench.lab)?;

    let (began, wall) = (Instant::now(), SystemTime::now());
    let since = |moment: Instant| moment.saturating_duration_since(began).as_secs_f64();
    let made = std::thread::scope(|scope| -> Result<_> {
        let command = scope.spawn(|| placed(bench.lab.host().command(&line)));
        let host = scope.spawn(|| probe::answers(bench.lab, &[SocketAddr::new(bench.host, port)], LIMIT));
        let twin = probe::answers(bench.lab, &[SocketAddr::new(bench.guest.address, port)], LIMIT);
        let joined = |_| anyhow::anyhow!("a thread of the benchmark panicked");
        let (in_place, returned) = command.join().map_err(joined)??;
        Ok((in_place, returned, host.join().map_err(joined)??, twin?))
    });
    let (in_place, returned, on_host, in_twin) = made.with_context(|| format!("{kind:?} {unit}"))?;
    std::thread::sleep(AFTERWARDS);
    twin::wait_settled(bench.lab)?;
    Ok(Sample {
        kind,
        mode,
        in_place: since(in_place),
        returned: since(returned),
        on_host: since(on_host),
        published: bench
            .watch
            .first(began, |s| *s == Seen::Published(SectionName::Units))
            .map(since),
        point: bench
            .watch
            .first(began, |s| matches!(s, Seen::PointReady(_)))
            .map(since),
        in_twin: since(in_twin),
        operations: bench.watch.count(began, |s| matches!(s, Seen::Began(_))),
        wire: bench.wire.between(wall, SystemTime::now())?,
    })
}
