//! A guest in memory that passes the same conformance suite as the real one.
//!
//! [`FakeGuest`] is the machine and its door; clones share it. Tests set it up, take and restore
//! its disk and memory as a fake VM does, count its effects, and make it fail: a crash of the caller
//! before or after the n-th effect, units that do not start, units that cut the channel off.
//!
//! An effect is one change in the guest: a file written or removed, a unit job, a reload, one unit
//! enabled, disabled, masked or unmasked, an account, the manifest, the operation record, the lock.

mod connection;
mod state;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use safetytwin_crds::item::container::Engine;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::GUEST_MANIFEST;

use super::records::{self, Lock};
use super::{Guest, GuestAddress, GuestDoor, GuestError, Traffic};
use crate::facts::Active;
use connection::Connection;
use state::{Disk, Machine, Ram};

/// What happens to the caller at an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Proceed,
    /// It dies before the effect takes place.
    CrashBefore,
    /// It dies after the effect took place, before it learns so.
    CrashAfter,
}

/// Asked before each effect with its name; counts and decides. One hook may serve several fakes.
pub type EffectHook = Arc<dyn Fn(&'static str) -> Verdict + Send + Sync>;

/// How a unit fails to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// The job fails (`Type=exec`, `notify` …).
    Job,
    /// The job is done, the process ends with an error right after (`Type=simple`).
    Process,
}

/// What a unit does to the channel while it is active, as a firewall does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelLoss {
    /// New connections get no answer; established ones go on.
    New,
    /// Nothing gets through.
    All,
}

/// Effects since the guest was made; a revert does not turn them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Unit files written.
    pub files_written: u64,
    /// Unit files removed.
    pub files_removed: u64,
    /// Unit jobs queued.
    pub jobs: u64,
    /// daemon-reloads.
    pub reloads: u64,
    /// Effects of all kinds.
    pub effects: u64,
    /// Connections made, those of `prove` too.
    pub connections: u64,
}

/// A guest's disk, and its memory where the point is a Full one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    disk: Disk,
    ram: Option<Ram>,
}

/// A machine with systemd, in memory.
#[derive(Clone)]
pub struct FakeGuest {
    shared: Arc<Mutex<Shared>>,
}

pub(super) struct Shared {
    machine: Machine,
    counters: Counters,
    /// Changes with each boot and revert: connections made before are dead.
    generation: u64,
    /// The caller died; nothing works until `recover`.
    crashed: bool,
    powered: bool,
    cuts: BTreeMap<String, ChannelLoss>,
    hook: Option<EffectHook>,
    live: Option<Arc<Connection>>,
}

impl Shared {
    fn cut(&self) -> Option<ChannelLoss> {
        let active = |name: &&String| {
            let unit = self.machine.ram.units.get(*name);
            unit.is_some_and(|u| u.active == Active::Active)
        };
        let worst = self.cuts.iter().filter(|(name, _)| active(name));
        worst
            .map(|(_, loss)| *loss)
            .max_by_key(|l| *l == ChannelLoss::All)
    }
}

impl Default for FakeGuest {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeGuest")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl FakeGuest {
    /// A booted guest with sshd, a shell, `/usr/bin/sleep`, `/usr/bin/podman` and root.
    pub fn new() -> Self {
        let disk = Disk {
            executables: ["/bin/sh", "/usr/bin/sleep", "/usr/bin/podman"]
                .map(String::from)
                .into(),
            directories: ["/", "/etc", "/root", "/tmp", "/var/lib"]
                .map(String::from)
                .into(),
            users: BTreeMap::from([("root".into(), 0)]),
            groups: BTreeMap::from([("root".into(), 0)]),
            ..Disk::default()
        };
        let mut machine = Machine {
            disk,
            ..Machine::default()
        };
        machine.boot();
        let guest = Self {
            shared: Arc::new(Mutex::new(Shared {
                machine,
                counters: Counters::default(),
                generation: 0,
                crashed: false,
                powered: true,
                cuts: BTreeMap::new(),
                hook: None,
                live: None,
            })),
        };
        guest.add_vendor_unit(
            "ssh.service",
            "[Service]\nExecStart=/usr/sbin/sshd -D\n[Install]\n",
        );
        guest
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a unit of a package, enabled and running.
    pub fn add_vendor_unit(&self, name: &str, text: &str) {
        let machine = &mut self.shared().machine;
        let path = format!("/usr/lib/systemd/system/{name}");
        machine.disk.files.insert(path, text.into());
        machine.disk.enabled.insert(name.into());
        machine.start(name);
    }

    /// Puts a file there, past the channel: drift by hand.
    pub fn put_file(&self, path: &str, content: &[u8]) {
        let mut shared = self.shared();
        shared.machine.disk.files.insert(path.into(), content.into());
    }

    /// Takes a file away, past the channel.
    pub fn take_file(&self, path: &str) {
        self.shared().machine.disk.files.remove(path);
    }

    /// The bytes of a file.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.shared().machine.disk.files.get(path).cloned()
    }

    /// Adds an executable, for preflights.
    pub fn add_executable(&self, path: &str) {
        self.shared().machine.disk.executables.insert(path.into());
    }

    /// Adds a directory, for preflights.
    pub fn add_directory(&self, path: &str) {
        self.shared().machine.disk.directories.insert(path.into());
    }

    /// Adds an image, and the engine's client.
    pub fn add_image(&self, engine: Engine, reference: &str) {
        let disk = &mut self.shared().machine.disk;
        disk.executables.insert(format!("/usr/bin/{}", engine.command()));
        disk.images.insert((engine, reference.into()));
    }

    /// Makes a unit fail to start from now on.
    pub fn fail_start(&self, unit: &str, how: StartFailure) {
        self.shared().machine.failing.insert(unit.into(), how);
    }

    /// Lets all units start again.
    pub fn heal_starts(&self) {
        self.shared().machine.failing.clear();
    }

    /// Makes a unit cut the channel off while it is active.
    pub fn cut_channel_while_active(&self, unit: &str, loss: ChannelLoss) {
        self.shared().cuts.insert(unit.into(), loss);
    }

    /// Stops a unit past the channel, as an administrator or a crash does.
    pub fn stop_by_hand(&self, unit: &str) {
        self.shared().machine.stop(unit);
    }

    /// Names of active units.
    pub fn active_units(&self) -> BTreeSet<String> {
        let shared = self.shared();
        let units = shared.machine.ram.units.iter();
        units
            .filter(|(_, u)| u.active == Active::Active)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Paths and bytes that the running process of a unit was started from; `None` when it is down.
    /// Differs from the disk when a changed unit was not reloaded or not restarted.
    pub fn runs(&self, unit: &str) -> Option<Vec<(String, Vec<u8>)>> {
        let shared = self.shared();
        shared.machine.ram.units.get(unit)?.runs.clone()
    }

    /// Whether a unit is enabled, and whether it is masked.
    pub fn enabled_and_masked(&self, unit: &str) -> (bool, bool) {
        let disk = &self.shared().machine.disk;
        (disk.enabled.contains(unit), disk.masked.contains(unit))
    }

    /// The manifest as it is on the disk.
    pub fn manifest_on_disk(&self) -> Option<Manifest> {
        records::decode_manifest(&self.file(GUEST_MANIFEST)?).ok()
    }

    /// Who holds the lock: epoch and operation.
    pub fn lock_holder(&self) -> Option<(i64, i64)> {
        self.shared().machine.ram.lock.map(|l| (l.epoch, l.operation))
    }

    /// The clock as `set_clock` left it.
    pub fn clock(&self) -> Option<jiff::Timestamp> {
        self.shared().machine.ram.clock
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.shared().counters
    }

    /// Asks `hook` before each effect.
    pub fn on_effect(&self, hook: EffectHook) {
        self.shared().hook = Some(hook);
    }

    /// Kills the caller at the `n`-th effect from now (the first is 1).
    pub fn crash_at(&self, n: u64, verdict: Verdict) {
        let seen = std::sync::atomic::AtomicU64::new(0);
        self.on_effect(Arc::new(move |_| {
            let number = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            if number == n { verdict } else { Verdict::Proceed }
        }));
    }

    /// Whether the caller died. Every call fails until [`recover`](Self::recover).
    pub fn crashed(&self) -> bool {
        self.shared().crashed
    }

    /// The caller is started again: its connections are gone, the hook too.
    pub fn recover(&self) {
        let mut shared = self.shared();
        shared.crashed = false;
        shared.hook = None;
        shared.generation += 1;
        shared.live = None;
    }

    /// Reboots: connections die, enabled units come up.
    pub fn reboot(&self) {
        let mut shared = self.shared();
        shared.generation += 1;
        shared.machine.boot();
        shared.powered = true;
    }

    /// Switches the machine off; [`reboot`](Self::reboot) or [`revert`](Self::revert) start it.
    pub fn power_off(&self) {
        let mut shared = self.shared();
        shared.generation += 1;
        shared.powered = false;
    }

    /// Its disk, and with `memory` what is in memory, as a restore point.
    pub fn save(&self, memory: bool) -> Saved {
        let machine = &self.shared().machine;
        Saved {
            disk: machine.disk.clone(),
            ram: memory.then(|| machine.ram.clone()),
        }
    }

    /// Goes back to a restore point; one without memory boots. Connections die.
    pub fn revert(&self, saved: &Saved) {
        let mut shared = self.shared();
        shared.generation += 1;
        shared.powered = true;
        shared.machine.disk = saved.disk.clone();
        match &saved.ram {
            Some(ram) => shared.machine.ram = ram.clone(),
            None => shared.machine.boot(),
        }
    }

    /// Lets another controller of `epoch` hold the lock.
    pub fn hold_lock(&self, epoch: i64, operation: i64) {
        self.shared().machine.ram.lock = Some(Lock { epoch, operation });
    }

    fn open(&self, address: &GuestAddress) -> Result<Connection, GuestError> {
        let mut shared = self.shared();
        let message = match shared.cut() {
            _ if shared.crashed => "the caller is dead",
            _ if !shared.powered => "the machine is off",
            Some(_) => "no answer",
            None => {
                shared.counters.connections += 1;
                return Ok(Connection::new(self.shared.clone(), shared.generation));
            }
        };
        Err(GuestError::Unreachable {
            address: match address.addresses.first() {
                Some(ip) => format!("{ip} port {}", address.port),
                None => "no address".into(),
            },
            message: message.into(),
        })
    }
}

#[async_trait]
impl GuestDoor for FakeGuest {
    async fn connect(&self, address: &GuestAddress) -> Result<Arc<dyn Guest>, GuestError> {
        let live = self.shared().live.clone();
        if let Some(live) = live
            && live.alive()
        {
            return Ok(live);
        }
        let made = Arc::new(self.open(address)?);
        self.shared().live = Some(made.clone());
        Ok(made)
    }

    async fn prove(&self, address: &GuestAddress) -> Result<(), GuestError> {
        self.open(address).map(drop)
    }

    async fn hang_up(&self) {
        let live = self.shared().live.take();
        if let Some(live) = live {
            live.close();
        }
    }
}

impl Connection {
    fn traffic_now(&self) -> Traffic {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
