//! The rows of the sheet, from what was measured.

use safetytwin_crds::twinclass::PointMode;
use serde::Serialize;

use super::by_hand::{ByHand, ONE_BY_ONE, Run};
use super::changes::{Kind, Sample as Change};
use super::idle::{Idle, SPAN};
use super::points::{Points, Sample as Point};
use super::push::{Push, UNITS};
use crate::bench::figure::{Figure, Unit};
use crate::bench::stats::{largest, median};

/// Beats of the host in the idle span: so often would a script have to look.
const BEATS: f64 = 6.0;

/// Title of a part of a point, its value, and the goal.
type Part = (&'static str, fn(&Point) -> f64, Option<f64>);
/// Some runs of the script.
type Runs = fn(&ByHand) -> &Vec<Run>;

/// What could be measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) disk: Option<Vec<Change>>,
    pub(super) full: Option<Vec<Change>>,
    pub(super) points: Option<Points>,
    pub(super) push: Option<Push>,
    pub(super) idle: Option<Idle>,
    pub(super) by_hand: Option<ByHand>,
    pub(super) virsh: Option<Vec<Point>>,
}

impl Measured {
    /// All rows.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut rows = Vec::new();
        for (mode, changes) in [(PointMode::Disk, &self.disk), (PointMode::Full, &self.full)] {
            rows.extend(changes.iter().flat_map(|changes| self.arrivals(mode, changes)));
        }
        rows.extend(self.changes_in_all());
        rows.extend(self.points.iter().flat_map(|points| self.pauses(points)));
        rows.extend(self.push.iter().flat_map(|push| self.pushed(push)));
        rows.extend(self.wire());
        rows.extend(self.idle.iter().flat_map(|idle| self.idled(idle)));
        rows
    }

    fn arrivals(&self, mode: PointMode, changes: &[Change]) -> Vec<Figure> {
        let of = |kind: Kind| changes.iter().filter(move |change| change.kind == kind);
        let count = of(Kind::New).count();
        let goal = if mode == PointMode::Full { 2.0 } else { 1.0 };
        let point = self.virsh_median(mode, |point| point.total);
        let by_hand = |runs: Runs| {
            let script = median(self.by_hand.as_ref().map(runs)?.iter().map(|run| run.seconds))?;
            Some(point? + script)
        };
        let row = |kind: Kind, text: &str| {
            let value = median(of(kind).map(Change::arrival))?;
            let what = format!("{text}, {mode:?} point included, median of {count}");
            Some(Figure::new(what, Unit::Seconds, value))
        };
        let new = row(Kind::New, "new unit: runs on host → runs in twin").map(|figure| {
            figure
                .goal(goal)
                .peer("virsh, scp, ssh systemctl start", by_hand(|hand| &hand.new))
        });
        let edited = row(Kind::Edited, "edited unit: file in place on host → runs in twin").map(|figure| {
            let name = "virsh, scp, ssh systemctl daemon-reload, restart";
            figure.peer(name, by_hand(|hand| &hand.edited))
        });
        let slowest = largest(of(Kind::New).map(Change::arrival)).map(|value| {
            let what = format!("new unit: slowest of {count}, {mode:?} point included");
            Figure::new(what, Unit::Seconds, value).goal(4.0)
        });
        [new, slowest, edited].into_iter().flatten().collect()
    }

    fn changes_in_all(&self) -> Vec<Figure> {
        let all = || self.disk.iter().chain(&self.full).flatten();
        let published = median(all().filter_map(Change::publication)).map(|value| {
            Figure::new("file in place on host → published, median", Unit::Seconds, value).goal(0.5)
        });
        let changes = all().count();
        let operations: usize = all().map(|change| change.operations).sum();
        let points = (changes > 0).then(|| {
            let what = format!("operations, each with one point, for {changes} changes");
            Figure::new(what, Unit::Count, number(operations)).goal(number(changes))
        });
        [published, points].into_iter().flatten().collect()
    }

    fn pauses(&self, points: &Points) -> Vec<Figure> {
        let of = |mode: PointMode| points.samples.iter().filter(move |point| point.mode == mode);
        let mut rows = vec![Figure::new(
            "guest's longest gap in 3 s without a point",
            Unit::Seconds,
            points.undisturbed,
        )];
        for (mode, goal) in [(PointMode::Disk, 0.025), (PointMode::Full, 0.2)] {
            let count = of(mode).count();
            let parts: [Part; 2] = [
                ("guest's gap", |point| point.gap, Some(goal)),
                ("in all", |point| point.total, None),
            ];
            for (part, value, goal) in parts {
                let Some(ours) = median(of(mode).map(value)) else {
                    continue;
                };
                let what = format!("{mode:?} point: {part}, median of {count}");
                let mut row = Figure::new(what, Unit::Seconds, ours);
                row.goal = goal;
                rows.push(row.peer("virsh snapshot-create-as", self.virsh_median(mode, value)));
            }
        }
        rows
    }

    fn pushed(&self, push: &Push) -> Vec<Figure> {
        let hand = self.by_hand.as_ref();
        let scaled = hand.map(|hand| hand.one_by_one.seconds * f64::from(UNITS) / f64::from(ONE_BY_ONE));
        let name = format!("scp and ssh systemctl enable --now per unit; {ONE_BY_ONE} measured, scaled");
        let at_once = hand.map(|hand| hand.all_at_once.seconds);
        vec![
            Figure::new(
                format!("{UNITS} new units: point Ready → all answer"),
                Unit::Seconds,
                push.pushed,
            )
            .goal(1.5)
            .peer(&name, scaled),
            Figure::new(
                format!("{UNITS} new units: the same, beside one scp and one systemctl"),
                Unit::Seconds,
                push.pushed,
            )
            .peer("one scp and one ssh systemctl enable --now for all", at_once),
            Figure::new(
                format!("{UNITS} new units: whole operation, point and proof included"),
                Unit::Seconds,
                push.operation,
            ),
            Figure::new(
                format!("{UNITS} new units: daemon-reloads in the guest"),
                Unit::Count,
                number(push.reloads),
            )
            .goal(0.0)
            .peer(
                "systemctl enable --now, once for all",
                hand.map(|hand| number(hand.reloads)),
            ),
        ]
    }

    /// Bytes and turns of an apply of one and of many units.
    fn wire(&self) -> Vec<Figure> {
        let hand = self.by_hand.as_ref();
        let mut rows = Vec::new();
        let kinds: [(Kind, &str, Runs); 2] = [
            (Kind::New, "1 new unit", |hand| &hand.new),
            (Kind::Edited, "1 edited unit", |hand| &hand.edited),
        ];
        for (kind, text, runs) in kinds {
            let all = self.disk.iter().chain(&self.full).flatten();
            // A change that came in two publications is two applies.
            let ours: Vec<_> = all.filter(|c| c.kind == kind && c.operations == 1).collect();
            let theirs = |of: fn(&Run) -> u64| median(runs(hand?).iter().map(|run| of(run) as f64));
            let bytes = median(ours.iter().map(|change| change.wire.bytes() as f64));
            let turns = median(ours.iter().map(|change| change.wire.round_trips() as f64));
            let peer = "scp and ssh systemctl";
            rows.extend(bytes.map(|value| {
                Figure::new(format!("SSH bytes of an apply, {text}"), Unit::Bytes, value)
                    .peer(peer, theirs(|run| run.wire.bytes()))
            }));
            rows.extend(turns.map(|value| {
                Figure::new(format!("turns question → answer, {text}"), Unit::Count, value)
                    .peer(peer, theirs(|run| run.wire.round_trips()))
            }));
        }
        if let Some(push) = &self.push {
            let peer = "one scp and one ssh systemctl";
            let theirs = |of: fn(&Run) -> u64| hand.map(|hand| of(&hand.all_at_once) as f64);
            rows.push(
                Figure::new(
                    format!("SSH bytes of an apply, {UNITS} new units"),
                    Unit::Bytes,
                    push.wire.bytes() as f64,
                )
                .peer(peer, theirs(|run| run.wire.bytes())),
            );
            rows.push(
                Figure::new(
                    format!("turns question → answer, {UNITS} new units"),
                    Unit::Count,
                    push.wire.round_trips() as f64,
                )
                .peer(peer, theirs(|run| run.wire.round_trips())),
            );
        }
        rows
    }

    fn idled(&self, idle: &Idle) -> Vec<Figure> {
        let span = SPAN.as_secs();
        let check = self
            .by_hand
            .as_ref()
            .map(|hand| hand.check.wire.bytes() as f64 * BEATS);
        vec![
            Figure::new(
                format!("SSH bytes in {span} idle seconds"),
                Unit::Bytes,
                idle.wire.bytes() as f64,
            )
            .goal(0.0)
            .peer("ssh systemctl is-active once a beat; one measured, scaled", check),
            Figure::new(
                format!("operations and points in {span} idle seconds"),
                Unit::Count,
                number(idle.operations + idle.points),
            )
            .goal(0.0),
        ]
    }

    fn virsh_median(&self, mode: PointMode, value: impl Fn(&Point) -> f64) -> Option<f64> {
        let points = self.virsh.as_ref()?.iter();
        median(points.filter(|point| point.mode == mode).map(value))
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Span, Traffic};
    use super::*;

    fn change(kind: Kind, in_twin: f64) -> Change {
        Change {
            kind,
            mode: PointMode::Disk,
            in_place: 0.1,
            returned: 0.6,
            on_host: 0.5,
            published: Some(0.4),
            point: Some(0.9),
            in_twin,
            operations: 1,
            wire: Span {
                open: Traffic {
                    sent: 900,
                    received: 100,
                    round_trips: 9,
                    connections: 1,
                },
                new: Traffic::default(),
            },
        }
    }

    fn measured() -> Measured {
        let run = |seconds| Run {
            seconds,
            wire: Span::default(),
        };
        Measured {
            disk: Some(vec![
                change(Kind::New, 1.4),
                change(Kind::New, 1.2),
                change(Kind::New, 9.0),
                change(Kind::Edited, 4.1),
            ]),
            full: None,
            points: None,
            push: None,
            idle: None,
            by_hand: Some(ByHand {
                new: vec![run(3.0)],
                edited: vec![run(7.0)],
                one_by_one: run(25.0),
                all_at_once: run(6.0),
                reloads: 1,
                check: run(1.0),
            }),
            virsh: Some(vec![Point {
                mode: PointMode::Disk,
                gap: 0.02,
                total: 0.15,
            }]),
        }
    }

    fn row<'a>(rows: &'a [Figure], what: &str) -> &'a Figure {
        let found = rows.iter().find(|row| row.what.starts_with(what));
        found.unwrap_or_else(|| panic!("no row {what}: {rows:#?}"))
    }

    #[test]
    fn a_change_counts_from_where_it_runs_on_the_host_and_the_peer_also_takes_a_point() {
        let rows = measured().figures();
        let new = row(&rows, "new unit: runs on host");
        assert!((new.value - 0.9).abs() < 1e-9 && new.goal == Some(1.0), "{new:?}");
        assert!((new.peer.as_ref().unwrap().value - 3.15).abs() < 1e-9, "{new:?}");
        let slowest = row(&rows, "new unit: slowest of 3");
        assert!((slowest.value - 8.5).abs() < 1e-9 && slowest.goal == Some(4.0));
        let edited = row(&rows, "edited unit");
        assert!((edited.value - 4.0).abs() < 1e-9, "{edited:?}");
        assert!((row(&rows, "SSH bytes of an apply, 1 new unit").value - 1000.0).abs() < 1e-9);
        assert!((row(&rows, "operations").value - 4.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_measured_has_no_row() {
        let rows = measured().figures();
        assert!(
            rows.iter()
                .all(|row| !row.what.contains("idle") && !row.what.contains("Full"))
        );
    }
}
