//! The whole machine at once: a copy of it, and all its unit files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::paths::UNIT_DIR;
use super::{FakeGuest, Shared};

impl FakeGuest {
    /// The same machine, with a future of its own: no connection, no hook, no crash.
    pub fn fork(&self) -> Self {
        let shared = self.shared();
        Self {
            shared: Arc::new(Mutex::new(Shared {
                machine: shared.machine.clone(),
                counters: shared.counters,
                generation: shared.generation,
                crashed: false,
                powered: shared.powered,
                cuts: shared.cuts.clone(),
                hook: None,
                live: None,
            })),
        }
    }

    /// No unit cuts the channel off any more.
    pub fn heal_channel(&self) {
        self.shared().cuts.clear();
    }

    /// All files below `/etc/systemd/system`.
    pub fn local_unit_files(&self) -> BTreeMap<String, Vec<u8>> {
        let shared = self.shared();
        let files = shared.machine.disk.files.iter();
        files
            .filter(|(path, _)| path.starts_with(UNIT_DIR))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect()
    }
}
