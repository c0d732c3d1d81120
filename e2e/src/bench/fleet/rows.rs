//! The rows of the sheet, from what was measured.

use serde::Serialize;

use super::etcd::Stored;
use super::habit::Habit;
use super::program::Usage;
use super::window::Window;
use crate::bench::figure::{Figure, Unit};

const KUBELET: &str = "kubelet: Lease, Node status";

/// Heads as etcd holds them.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sizes {
    pub(super) typical: Stored,
    pub(super) messages: Stored,
    pub(super) large: Stored,
}

/// Very many hosts, and the controller beside them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Many {
    pub(super) hosts: u32,
    pub(super) window: Window,
    /// The controller before there were any.
    pub(super) before: Usage,
    /// At the beginning of the window.
    pub(super) begun: Usage,
    /// At its end.
    pub(super) after: Usage,
}

/// What could be measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) bare: Window,
    pub(super) windows: Vec<(Habit, Window)>,
    pub(super) sizes: Sizes,
    pub(super) kubelets: Option<Window>,
    pub(super) many: Option<Many>,
}

impl Measured {
    /// All rows.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut rows = self.heads();
        rows.extend(self.growth());
        rows.extend(self.written());
        rows.extend(self.many.iter().flat_map(Many::figures));
        rows
    }

    fn heads(&self) -> Vec<Figure> {
        let size = |what: &str, stored: Stored, goal: f64| {
            Figure::new(format!("head in etcd: {what}"), Unit::Bytes, bytes(stored.bytes)).goal(goal)
        };
        let share = bytes(self.sizes.typical.managed_fields) / bytes(self.sizes.typical.bytes) * 100.0;
        vec![
            size("a typical host", self.sizes.typical, 2048.0),
            size(
                "a message of 256 characters in each section",
                self.sizes.messages,
                4096.0,
            ),
            size(
                "1,000 units and 1,000 processes with such messages",
                self.sizes.large,
                4096.0,
            ),
            Figure::new("managedFields, share of a typical head", Unit::Percent, share).goal(10.0),
        ]
    }

    fn growth(&self) -> Vec<Figure> {
        let peer = self
            .kubelets
            .as_ref()
            .and_then(|window| window.growth_beyond(&self.bare));
        let row = |(habit, window): &(Habit, Window)| {
            let value = window.growth_beyond(&self.bare)?;
            let what = format!("etcd's database grows by, per host and 10 s, {}", habit.what());
            let figure = Figure::new(what, Unit::Bytes, value).peer(KUBELET, peer);
            Some(match habit.goal() {
                Some(goal) => figure.goal(goal),
                None => figure,
            })
        };
        let kept = self.windows.last().map(|(_, end)| {
            let what = format!("etcd's database after {} hosts, history included", end.hosts);
            Figure::new(what, Unit::Bytes, end.database)
        });
        self.windows.iter().filter_map(row).chain(kept).collect()
    }

    fn written(&self) -> Vec<Figure> {
        type Number = fn(&Window) -> f64;
        let numbers: [(&str, Unit, Number); 3] = [
            ("bytes put into etcd", Unit::Bytes, |window| window.put),
            ("bytes of etcd's log", Unit::Bytes, |window| window.log),
            ("requests to the API server", Unit::Count, |window| {
                window.requests
            }),
        ];
        let mut rows = Vec::new();
        for (title, unit, number) in numbers {
            let peer = self.kubelets.as_ref();
            let peer = peer.map(|window| window.beyond(&self.bare, number));
            for (habit, window) in &self.windows {
                let what = format!("{title}, per host and 10 s, {}", habit.what());
                let value = window.beyond(&self.bare, number);
                rows.push(Figure::new(what, unit, value).peer(KUBELET, peer));
            }
        }
        rows
    }
}

impl Many {
    fn figures(&self) -> Vec<Figure> {
        let (hosts, window) = (self.hosts, &self.window);
        let title = |what: &str| format!("{hosts} hosts at 10 s: {what}");
        let mut rows = vec![
            Figure::new(title("beats that arrived"), Unit::Percent, window.cadence()),
            Figure::new(title("requests that were refused"), Unit::Count, window.refused).goal(0.0),
            Figure::new(
                title("API server and etcd, share of a core"),
                Unit::Percent,
                window.server + window.etcd,
            )
            .goal(100.0),
        ];
        rows.extend(window.slow_head.map(|value| {
            let what = title("writing a head takes the API server, 99th percentile, at most");
            Figure::new(what, Unit::Seconds, value).goal(0.1)
        }));
        let grown = bytes_of(self.after.rss) - bytes_of(self.before.rss);
        let used = (self.after.seconds - self.begun.seconds) / window.seconds * 100.0;
        rows.push(
            Figure::new(
                title("resident memory of the controller for each"),
                Unit::Bytes,
                grown / f64::from(hosts.max(1)),
            )
            .goal(10_240.0),
        );
        rows.push(Figure::new(
            title("controller, share of a core"),
            Unit::Percent,
            used,
        ));
        rows
    }
}

fn bytes(count: usize) -> f64 {
    bytes_of(u64::try_from(count).unwrap_or(u64::MAX))
}

fn bytes_of(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(hosts: u32, put: f64, growth: f64) -> Window {
        Window {
            seconds: 100.0,
            hosts,
            heads: f64::from(hosts) * 10.0,
            requests: f64::from(hosts) * 12.0,
            refused: 0.0,
            slow_head: Some(0.05),
            put,
            log: 2.0 * put,
            growth: Some(growth),
            database: 4e6,
            server: 60.0,
            etcd: 15.0,
            sizes: Vec::new(),
        }
    }

    fn measured() -> Measured {
        let usage = |seconds, rss| Usage { seconds, rss };
        let stored = |bytes, managed_fields| Stored {
            bytes,
            managed_fields,
        };
        Measured {
            bare: window(0, 1000.0, 10.0),
            windows: vec![
                (Habit::EACH_BEAT, window(10, 201_000.0, 2010.0)),
                (Habit::EACH_BEAT.with_changes(), window(10, 401_000.0, 4010.0)),
                (Habit::SPARING, window(10, 51_000.0, 510.0)),
            ],
            sizes: Sizes {
                typical: stored(1900, 209),
                messages: stored(3800, 209),
                large: stored(5000, 209),
            },
            kubelets: Some(window(10, 101_000.0, 1010.0)),
            many: Some(Many {
                hosts: 2000,
                window: window(2000, 9e6, 4e5),
                before: usage(1.0, 20 << 20),
                begun: usage(3.0, 25 << 20),
                after: usage(8.0, (20 << 20) + 2000 * 4096),
            }),
        }
    }

    fn row<'a>(rows: &'a [Figure], what: &str) -> &'a Figure {
        let found = rows.iter().find(|row| row.what.contains(what));
        found.unwrap_or_else(|| panic!("no row {what}: {rows:#?}"))
    }

    #[test]
    fn heads_are_held_against_what_the_specification_allows() {
        let rows = measured().figures();
        assert_eq!(row(&rows, "a typical host").cells()[2], "2.0 KiB, met");
        assert_eq!(row(&rows, "1,000 units").cells()[2], "4.0 KiB, MISSED");
        assert_eq!(row(&rows, "managedFields").cells()[2], "10.0 %, MISSED");
    }

    #[test]
    fn what_is_written_stands_beside_a_kubelet_without_what_the_cluster_writes_itself() {
        let rows = measured().figures();
        let grows = row(&rows, "grows by, per host and 10 s, nothing changes");
        assert!((grows.value - 2000.0).abs() < 1e-9 && grows.goal == Some(4096.0));
        let sparing = row(
            &rows,
            "grows by, per host and 10 s, nothing changes, heartbeat 120 s",
        );
        assert_eq!(sparing.cells()[2], "512 B, met");
        assert!((grows.peer.as_ref().unwrap().value - 1000.0).abs() < 1e-9);
        let put = row(&rows, "bytes put into etcd, per host and 10 s, a unit changes");
        assert!((put.value - 4000.0).abs() < 1e-9, "{put:?}");
    }

    #[test]
    fn the_controllers_memory_and_time_are_told_for_very_many_hosts() {
        let rows = measured().figures();
        let memory = row(&rows, "resident memory of the controller");
        assert!((memory.value - 4096.0).abs() < 1e-9 && memory.goal == Some(10_240.0));
        assert!((row(&rows, "controller, share of a core").value - 5.0).abs() < 1e-9);
        assert!((row(&rows, "API server and etcd").value - 75.0).abs() < 1e-9);
    }
}
