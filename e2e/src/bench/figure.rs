//! One figure: what was measured, beside its goal and what a peer took in the same run.

use serde::{Deserialize, Serialize};

/// A measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, and how the samples were reduced to one.
    pub what: String,
    /// The value.
    pub value: f64,
    /// Its unit, also of goal and peer.
    pub unit: Unit,
    /// The most that the specification allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    /// What another program took for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// Another way to the same end, measured in the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Which, and how its value came about if it was not simply measured.
    pub name: String,
    /// Its value, in the figure's unit.
    pub value: f64,
}

/// Units of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds; shown as what reads best.
    Seconds,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// Percent; of processor time, percent of one core.
    Percent,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes if value < 1024.0 => format!("{value:.0} B"),
            Self::Bytes if value < f64::from(1 << 20) => format!("{:.1} KiB", value / 1024.0),
            Self::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.2}"),
            Self::Percent if value.abs() < 1.0 => format!("{value:.3} %"),
            Self::Percent => format!("{value:.1} %"),
        }
    }
}

impl Figure {
    /// A figure without goal and peer.
    pub fn new(what: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            goal: None,
            peer: None,
        }
    }

    /// With the specification's goal.
    #[must_use]
    pub fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// With a peer's value, if the peer was measured.
    #[must_use]
    pub fn peer(mut self, name: &str, value: Option<f64>) -> Self {
        self.peer = value.map(|value| Peer {
            name: name.to_owned(),
            value,
        });
        self
    }

    /// The cells of a table: what, figure, goal, peer, ratio (the peer's value divided by ours).
    pub fn cells(&self) -> [String; 5] {
        let goal = self.goal.map(|goal| {
            let verdict = if self.value <= goal { "met" } else { "MISSED" };
            format!("{}, {verdict}", self.unit.show(goal))
        });
        let peer = self.peer.as_ref();
        let ratio = peer
            .filter(|_| self.value > 0.0)
            .map(|peer| peer.value / self.value);
        [
            self.what.clone(),
            self.unit.show(self.value),
            goal.unwrap_or_else(none),
            peer.map_or_else(none, |peer| {
                format!("{} ({})", self.unit.show(peer.value), peer.name)
            }),
            ratio.map_or_else(none, |ratio| format!("{ratio:.1}")),
        ]
    }
}

fn none() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_shows_its_goal_its_peer_and_how_often_it_fits_into_the_peers() {
        let figure = Figure::new("diff", Unit::Seconds, 0.002)
            .goal(0.005)
            .peer("json-patch", Some(0.018));
        assert_eq!(
            figure.cells(),
            ["diff", "2.0 ms", "5.0 ms, met", "18.0 ms (json-patch)", "9.0"]
        );
        assert_eq!(
            Figure::new("x", Unit::Count, 3.0).goal(0.0).cells()[2],
            "0, MISSED"
        );
    }

    #[test]
    fn shares_and_sizes_are_shown_in_what_reads_best() {
        let shown = [
            (Unit::Percent, 0.0834),
            (Unit::Percent, 12.34),
            (Unit::Bytes, 12_582_912.0),
            (Unit::Count, 1.25),
        ];
        let shown = shown.map(|(unit, value)| unit.show(value));
        assert_eq!(shown, ["0.083 %", "12.3 %", "12.0 MiB", "1.25"]);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let figure = Figure::new("bytes", Unit::Bytes, 0.0).peer("OpenSSH", Some(2048.0));
        assert_eq!(figure.cells()[3..], ["2.0 KiB (OpenSSH)", "-"]);
    }

    #[test]
    fn a_figure_reads_back_from_its_json() {
        let figure = Figure::new("x", Unit::Seconds, 1.5).peer("virsh", Some(2.0));
        let text = serde_json::to_string(&figure).unwrap();
        assert_eq!(serde_json::from_str::<Figure>(&text).unwrap(), figure);
    }
}
