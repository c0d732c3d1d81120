//! How the simulated hosts behave while they are watched.

use serde::Serialize;

/// Of all hosts of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Habit {
    /// Beats from one head to the next while nothing but the load changes.
    pub(super) beats_per_head: u32,
    /// Beats after which one unit of a host changes; 0 means never.
    pub(super) change_beats: u32,
}

/// Seconds from one beat to the next.
const BEAT: u32 = 10;

impl Habit {
    /// A head every beat, as the chart has it.
    pub(super) const EACH_BEAT: Self = Self {
        beats_per_head: 1,
        change_beats: 0,
    };
    /// A head every two minutes, as the guide says for large fleets.
    pub(super) const SPARING: Self = Self {
        beats_per_head: 12,
        change_beats: 0,
    };

    /// The same while one unit of each host changes every minute.
    pub(super) const fn with_changes(self) -> Self {
        Self {
            change_beats: 6,
            ..self
        }
    }

    /// In words.
    pub(super) fn what(self) -> String {
        let changes = match self.change_beats {
            0 => "nothing changes".to_owned(),
            beats => format!("a unit changes every {beats} beats"),
        };
        match self.beats_per_head {
            1 => changes,
            beats => format!("{changes}, heartbeat {} s", beats * BEAT),
        }
    }

    /// The most that etcd's database may grow by, in bytes per host and beat, where a goal is set.
    pub(super) fn goal(self) -> Option<f64> {
        match (self.beats_per_head, self.change_beats) {
            (1, _) => Some(4096.0),
            (_, 0) => Some(512.0),
            _ => None,
        }
    }
}
