//! The rows of the sheet, from what was measured.

use serde::Serialize;

use super::latency::{Kind, Sample};
use super::load::Load;
use super::peers::{EXPORTER, NAIVE};
use super::sample::{MANAGER, Span, group};
use crate::bench::figure::{Figure, Unit};
use crate::bench::stats::{largest, median};
use crate::product::agent::UNIT;

const NAIVE_NAME: &str = "sysinfo, ListUnits, list of containers, JSON";
const EXPORTER_NAME: &str = "node_exporter, scraped";

/// What could be measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) load: Load,
    /// What processor time is a share of.
    pub(super) core: &'static str,
    pub(super) without: Span,
    pub(super) agent: Span,
    pub(super) latency: Vec<Sample>,
    pub(super) naive: Option<Span>,
    pub(super) exporter: Option<Span>,
}

/// A watcher: the time in which it was watched, and its service.
type Watcher<'a> = (&'a Span, &'static str);

impl Measured {
    /// All rows.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut rows = Vec::new();
        rows.extend(self.processor());
        rows.extend(self.memory());
        rows.push(
            Figure::new(
                format!(
                    "processes that the agent started in {:.0} s",
                    self.agent.seconds()
                ),
                Unit::Count,
                number(self.agent.started()),
            )
            .goal(0.0)
            .peer(
                NAIVE_NAME,
                self.naive.as_ref().map(|naive| number(naive.started())),
            ),
        );
        rows.extend(self.others());
        rows.extend(self.latency());
        rows
    }

    /// One row beside each peer; the goal is in the first.
    fn beside(
        &self,
        what: &str,
        unit: Unit,
        goal: f64,
        value: impl Fn(Watcher<'_>) -> Option<f64>,
    ) -> Vec<Figure> {
        let Some(ours) = value((&self.agent, UNIT)) else {
            return Vec::new();
        };
        let naive = self.naive.as_ref().and_then(|span| value((span, NAIVE)));
        let exporter = self.exporter.as_ref().and_then(|span| value((span, EXPORTER)));
        let first = Figure::new(what, unit, ours).goal(goal).peer(NAIVE_NAME, naive);
        let second = exporter.map(|exporter| {
            Figure::new(format!("{what}: the same, beside another"), unit, ours)
                .peer(EXPORTER_NAME, Some(exporter))
        });
        std::iter::once(first).chain(second).collect()
    }

    fn processor(&self) -> Vec<Figure> {
        let own = |(span, service): Watcher<'_>| span.percent(&group(service));
        let share = format!("processor time, share of {}", self.core);
        self.beside(&share, Unit::Percent, 0.10, own)
    }

    fn memory(&self) -> Vec<Figure> {
        let mib = f64::from(1 << 20);
        let mut rows = self.beside("resident memory (VmRSS)", Unit::Bytes, 15.0 * mib, |(span, _)| {
            Some(span.rss() as f64)
        });
        let pss = |span: &Span| {
            span.after
                .processes
                .iter()
                .map(|process| process.pss)
                .sum::<u64>() as f64
        };
        let what = "the same, the code that its two processes share counted once (PSS)";
        rows.push(
            Figure::new(what, Unit::Bytes, pss(&self.agent)).peer(NAIVE_NAME, self.naive.as_ref().map(pss)),
        );
        let peak = |span: &Span| span.after.memory.get("memory.peak").map(|bytes| *bytes as f64);
        rows.extend(peak(&self.agent).map(|value| {
            let what = "most memory of its control group, pages of the kernel and of files included";
            Figure::new(what, Unit::Bytes, value).peer(NAIVE_NAME, self.naive.as_ref().and_then(peak))
        }));
        rows
    }

    fn latency(&self) -> Vec<Figure> {
        let of = |kind: Option<Kind>| {
            let wanted = self
                .latency
                .iter()
                .filter(move |sample| kind.is_none_or(|kind| sample.kind == kind));
            wanted.map(|sample| sample.seconds)
        };
        let row =
            |what: String, value: Option<f64>| value.map(|value| Figure::new(what, Unit::Seconds, value));
        let count = self.latency.len();
        let all = row(
            format!("change on the host → published, median of {count}"),
            median(of(None)),
        );
        let slowest = row(
            format!("change on the host → published, slowest of {count}"),
            largest(of(None)),
        );
        let each = Kind::ALL.into_iter().filter_map(|kind| {
            let what = match kind {
                Kind::Edited => "a drop-in replaced",
                Kind::Started => "a service started, its start included",
                Kind::Renamed => "a container renamed",
            };
            row(format!("{what} → published, median"), median(of(Some(kind))))
        });
        let goals = [all.map(|row| row.goal(0.5)), slowest.map(|row| row.goal(2.0))];
        goals.into_iter().flatten().chain(each).collect()
    }

    /// What others had to do for the watcher: what they used beyond the host without one.
    fn others(&self) -> Vec<Figure> {
        let beyond = |value: fn(&Span) -> Option<f64>| {
            let without = value(&self.without);
            move |(span, _): Watcher<'_>| Some(value(span)? - without?)
        };
        let mut rows = self.beside(
            "processor time of process 1 beyond the host without a watcher",
            Unit::Percent,
            0.02,
            beyond(|span| span.percent(MANAGER)),
        );
        let asked = self.beside(
            "process 1, bus, Docker and containerd beyond the host without a watcher",
            Unit::Percent,
            0.02,
            beyond(Span::percent_of_asked),
        );
        // The goal is process 1's alone.
        rows.extend(asked.into_iter().map(|row| Figure { goal: None, ..row }));
        let alone = self.without.percent(MANAGER);
        rows.extend(alone.map(|value| {
            Figure::new(
                "processor time of process 1 without a watcher",
                Unit::Percent,
                value,
            )
        }));
        rows
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::sample::{ASKED, Process, Sample};
    use super::*;

    /// A hundred seconds in which a service and process 1 used so many milliseconds.
    fn span(service: Option<&str>, own: u64, manager: u64, rss: u64) -> Span {
        let look = |uptime, factor| {
            let mut cpu: BTreeMap<String, u64> = ASKED.iter().map(|group| ((*group).to_owned(), 7)).collect();
            cpu.insert(MANAGER.to_owned(), manager * 1000 * factor);
            if let Some(service) = service {
                cpu.insert(group(service), own * 1000 * factor);
            }
            Sample {
                uptime,
                cpu,
                memory: BTreeMap::from([("memory.peak".to_owned(), 2 * rss)]),
                processes: vec![Process {
                    pid: 9,
                    started: 4,
                    child_faults: 0,
                    rss,
                    pss: rss / 2,
                }],
                forks: 10,
            }
        };
        Span {
            before: look(50.0, 0),
            after: look(150.0, 1),
        }
    }

    fn late(kind: Kind, seconds: f64) -> super::Sample {
        super::Sample { kind, seconds }
    }

    fn measured() -> Measured {
        Measured {
            load: Load {
                processes: 1400,
                units: 380,
                containers: 50,
                sleepers: 1200,
            },
            core: "one emulated core",
            without: span(None, 0, 100, 0),
            agent: span(Some(UNIT), 500, 110, 12 << 20),
            latency: vec![
                late(Kind::Edited, 0.2),
                late(Kind::Started, 0.4),
                late(Kind::Started, 3.0),
            ],
            naive: Some(span(Some(NAIVE), 40_000, 3100, 30 << 20)),
            exporter: None,
        }
    }

    fn row<'a>(rows: &'a [Figure], what: &str) -> &'a Figure {
        let found = rows.iter().find(|row| row.what.starts_with(what));
        found.unwrap_or_else(|| panic!("no row {what}: {rows:#?}"))
    }

    #[test]
    fn the_agents_share_stands_beside_the_peers() {
        let rows = measured().figures();
        let share = row(&rows, "processor time, share of one emulated core");
        assert!((share.value - 0.5).abs() < 1e-9 && share.goal == Some(0.10));
        assert!((share.peer.as_ref().unwrap().value - 40.0).abs() < 1e-9);
        assert_eq!(
            row(&rows, "resident memory").cells()[1..3],
            ["12.0 MiB", "15.0 MiB, met"]
        );
        assert_eq!(row(&rows, "processes that the agent started in 100 s").value, 0.0);
    }

    #[test]
    fn process_1_counts_only_what_it_does_beyond_the_host_without_a_watcher() {
        let rows = measured().figures();
        let manager = row(&rows, "processor time of process 1 beyond");
        assert!((manager.value - 0.01).abs() < 1e-9 && manager.goal == Some(0.02));
        assert!((manager.peer.as_ref().unwrap().value - 3.0).abs() < 1e-9);
        assert_eq!(row(&rows, "process 1, bus, Docker").goal, None);
    }

    #[test]
    fn how_soon_a_change_is_published_is_told_in_all_and_for_each_kind() {
        let rows = measured().figures();
        assert_eq!(
            row(&rows, "change on the host → published, median of 3").value,
            0.4
        );
        assert_eq!(
            row(&rows, "change on the host → published, slowest").cells()[2],
            "2.00 s, MISSED"
        );
        assert_eq!(row(&rows, "a service started").value, 1.7);
        assert!(rows.iter().all(|row| !row.what.starts_with("a container")));
    }

    #[test]
    fn a_peer_that_could_not_be_measured_has_no_row() {
        let rows = measured().figures();
        assert!(rows.iter().all(|row| !row.what.contains("beside another")));
    }
}
