//! Run state as a class, and the 2 s in which a restart, of a unit or of what starts it, is no change.

use std::collections::HashMap;
use std::time::Duration;

use safetytwin_crds::item::RunClass;
use tokio::time::Instant;

/// How long a unit must be down before it is Down, or without what starts it before it is on demand no more.
pub const HOLD: Duration = Duration::from_secs(2);

/// What decides on a unit's class, apart from its present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    /// A service without RemainAfterExit that runs once.
    pub oneshot: bool,
    /// A socket, timer or path starts it, or the bus.
    pub triggered: bool,
    /// Enabled by itself.
    pub enabled: bool,
}

impl Nature {
    /// Whether something else decides when it runs. A unit that is enabled as well (docker.service
    /// beside docker.socket) is declared to run.
    pub fn on_demand(self) -> bool {
        self.oneshot || (self.triggered && !self.enabled)
    }
}

/// The class of a unit in `active_state` (`ActiveState` property); `before` is what was last
/// published. A unit that is on demand stays OnDemand also when it failed: counters tell.
pub fn class(active_state: &str, nature: Nature, before: Option<RunClass>) -> RunClass {
    if nature.on_demand() {
        return RunClass::OnDemand;
    }
    match active_state {
        "active" | "reloading" | "refreshing" | "activating" => RunClass::Up,
        "failed" => RunClass::Failed,
        // On its way to inactive, or to a restart.
        "deactivating" => before.unwrap_or(RunClass::Up),
        _ => RunClass::Down,
    }
}

/// Holds back Down until it has lasted, and whatever a unit is that was on demand.
#[derive(Debug, Default)]
pub struct Debounce {
    held_since: HashMap<String, Instant>,
}

impl Debounce {
    /// The class to publish for `unit` at `now`.
    pub fn settle(
        &mut self,
        unit: &str,
        class: RunClass,
        before: Option<RunClass>,
        now: Instant,
    ) -> RunClass {
        let held = match (before, class) {
            (Some(RunClass::Up), RunClass::Down) => RunClass::Up,
            (Some(RunClass::OnDemand), RunClass::Up | RunClass::Down) => RunClass::OnDemand,
            _ => {
                self.held_since.remove(unit);
                return class;
            }
        };
        let since = *self.held_since.entry(unit.to_owned()).or_insert(now);
        if now.saturating_duration_since(since) >= HOLD {
            self.held_since.remove(unit);
            class
        } else {
            held
        }
    }

    /// Forgets all but the units that are `still` there.
    pub fn retain(&mut self, still: impl Fn(&str) -> bool) {
        self.held_since.retain(|unit, _| still(unit));
    }

    /// Whether a unit may become another class without news of it.
    pub fn waits(&self, unit: &str) -> bool {
        self.held_since.contains_key(unit)
    }

    /// When the earliest unit may.
    pub fn due(&self) -> Option<Instant> {
        self.held_since.values().min().map(|since| *since + HOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Nature = Nature {
        oneshot: false,
        triggered: false,
        enabled: true,
    };

    #[test]
    fn a_restart_is_no_change() {
        let mut debounce = Debounce::default();
        let start = Instant::now();
        let mut seen = RunClass::Up;
        for (millis, state) in [
            (0, "deactivating"),
            (500, "inactive"),
            (1500, "inactive"),
            (1900, "activating"),
            (2600, "active"),
        ] {
            let class = class(state, PLAIN, Some(seen));
            seen = debounce.settle(
                "a.service",
                class,
                Some(seen),
                start + Duration::from_millis(millis),
            );
            assert_eq!(seen, RunClass::Up, "{millis} ms");
        }
        assert_eq!(debounce.due(), None);
    }

    #[test]
    fn a_stop_that_lasts_two_seconds_is_down() {
        let mut debounce = Debounce::default();
        let start = Instant::now();
        let mut at = |millis| {
            let now = start + Duration::from_millis(millis);
            debounce.settle("a.service", RunClass::Down, Some(RunClass::Up), now)
        };
        assert_eq!(
            (at(0), at(1999), at(2000)),
            (RunClass::Up, RunClass::Up, RunClass::Down)
        );
    }

    #[test]
    fn a_trigger_that_is_gone_for_less_than_two_seconds_changes_nothing() {
        let mut debounce = Debounce::default();
        let start = Instant::now();
        let mut at = |millis, class| {
            let now = start + Duration::from_millis(millis);
            debounce.settle("a.service", class, Some(RunClass::OnDemand), now)
        };
        for (millis, class, expected) in [
            (0, RunClass::Down, RunClass::OnDemand),
            (1000, RunClass::Up, RunClass::OnDemand),
            (1500, RunClass::OnDemand, RunClass::OnDemand),
            (2500, RunClass::Down, RunClass::OnDemand),
            (4500, RunClass::Down, RunClass::Down),
        ] {
            assert_eq!(at(millis, class), expected, "{millis} ms");
        }
    }

    #[test]
    fn classes_follow_the_nature_of_a_unit() {
        let oneshot = Nature {
            oneshot: true,
            ..PLAIN
        };
        let static_bus = Nature {
            triggered: true,
            enabled: false,
            oneshot: false,
        };
        let docker = Nature {
            triggered: true,
            ..PLAIN
        };
        for (state, nature, expected) in [
            ("activating", PLAIN, RunClass::Up),
            ("failed", PLAIN, RunClass::Failed),
            ("inactive", PLAIN, RunClass::Down),
            ("failed", oneshot, RunClass::OnDemand),
            ("active", static_bus, RunClass::OnDemand),
            ("active", docker, RunClass::Up),
            ("maintenance", PLAIN, RunClass::Down),
        ] {
            assert_eq!(class(state, nature, None), expected, "{state} {nature:?}");
        }
    }
}
