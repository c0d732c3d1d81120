//! A service is installed in steps: write, daemon-reload, enable, start. Until it starts, or nothing more
//! was done to it for a moment, it is held back, so that the steps are one change. Nothing else waits.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use safetytwin_crds::item::UnitItem;
use tokio::time::Instant;

/// A step of an installation follows the one before within this time.
pub const QUIET: Duration = Duration::from_millis(700);
/// Longest time that a unit is held back; a daemon-reload takes seconds on an emulated machine.
pub const AT_MOST: Duration = Duration::from_secs(20);

/// Units that are being installed.
#[derive(Debug, Default)]
pub struct Arrivals {
    held: HashMap<String, Held>,
    /// The service manager is reading all unit files.
    reloading: bool,
    /// When it had.
    reloaded: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    last_step: Instant,
    item: UnitItem,
}

impl Arrivals {
    /// Says whether the service manager is reading all unit files now.
    pub fn note_reload(&mut self, reloading: bool, now: Instant) {
        if self.reloading && !reloading {
            self.reloaded = Some(now);
        }
        self.reloading = reloading;
    }

    /// Whether a unit is held back.
    pub fn holds(&self, name: &str) -> bool {
        self.held.contains_key(name)
    }

    /// Whether to hold back a unit that was not published before and does not run, as it is now.
    pub fn hold(&mut self, name: &str, item: &UnitItem, now: Instant) -> bool {
        let held = self.held.entry(name.to_owned()).or_insert_with(|| Held {
            since: now,
            last_step: now,
            item: item.clone(),
        });
        if held.item != *item {
            held.item = item.clone();
            held.last_step = now;
        }
        now < self.until(name)
    }

    /// Forgets all but those that are `still` held.
    pub fn retain(&mut self, still: &BTreeSet<String>) {
        self.held.retain(|name, _| still.contains(name));
    }

    fn until(&self, name: &str) -> Instant {
        let Some(held) = self.held.get(name) else {
            return Instant::now();
        };
        let at_most = held.since + AT_MOST;
        if self.reloading {
            return at_most;
        }
        let step = self.reloaded.map_or(held.last_step, |at| at.max(held.last_step));
        at_most.min(step + QUIET)
    }

    /// When the next unit is held back no longer.
    pub fn due(&self) -> Option<Instant> {
        self.held.keys().map(|name| self.until(name)).min()
    }
}
