//! A VM in memory that passes the same conformance suite as the real ones.
//!
//! The whole controller runs on it in tests. It keeps what libvirt keeps: the domain, overlay and
//! seed, points in a tree, an epoch that a revert takes back, and an incarnation. Every change is an
//! *effect*: it is counted, and a [`Gate`] may lose it before or after it happened, as a crash
//! would. A [`Disk`] couples the guest: what a point keeps and a revert brings back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use safetytwin_crds::twinsnapshot::TakenMode;

use super::{VmError, VmFacts, VmOrigin, VmSpec};
use state::{Domain, State};

mod port;
mod state;
#[cfg(test)]
mod tests;

/// What becomes of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Done,
    /// It does not happen, and the call fails.
    LostBefore,
    /// It happens, and the call fails nevertheless.
    LostAfter,
}

/// Asked before every effect, with its name (one of [`EFFECTS`]). One gate may serve several fakes.
pub type Gate = Arc<dyn Fn(&'static str) -> Verdict + Send + Sync>;

/// Names of all effects.
pub const EFFECTS: &[&str] = &[
    "make-disk",
    "make-seed",
    "define",
    "start",
    "claim",
    "take-point",
    "remove-half-point",
    "revert",
    "resume",
    "set-clock",
    "delete-point",
    "undefine",
    "remove-volumes",
];

/// The guest's disk and memory, as the VM sees them.
pub trait Disk: Send + Sync {
    /// Keeps the present. `Full` includes memory: processes, `/run`.
    fn snapshot(&self, mode: TakenMode) -> u64;

    /// Brings back what `snapshot` kept: with memory for a Full one, else the guest boots.
    fn restore(&self, id: u64, mode: TakenMode);

    /// The VM was started: the guest boots.
    fn boot(&self);

    /// The overlay is gone: the guest is as its image again.
    fn wipe(&self);
}

/// A guest that keeps nothing.
#[derive(Debug, Default)]
pub struct NoDisk;

impl Disk for NoDisk {
    fn snapshot(&self, _mode: TakenMode) -> u64 {
        0
    }
    fn restore(&self, _id: u64, _mode: TakenMode) {}
    fn boot(&self) {}
    fn wipe(&self) {}
}

/// A VM in memory. Outlives any controller that uses it, as a real one does.
pub struct FakeVm {
    spec: VmSpec,
    disk: Arc<dyn Disk>,
    gate: Mutex<Option<Gate>>,
    state: Mutex<State>,
}

impl FakeVm {
    /// A VM that does not exist yet (for [`VmOrigin::Adopt`]: one that exists and is stopped), with
    /// 100 GiB free in its pool and one address.
    pub fn new(spec: VmSpec, disk: Arc<dyn Disk>) -> Self {
        let adopted = spec.origin == VmOrigin::Adopt;
        let state = State {
            free_bytes: 100 << 30,
            addresses: vec![IpAddr::from([192, 0, 2, 10])],
            domain: adopted.then(Domain::default),
            ..State::default()
        };
        Self {
            spec,
            disk,
            gate: Mutex::new(None),
            state: Mutex::new(state),
        }
    }

    /// The same VM with a future of its own, coupled to a copy of its guest. It has no gate.
    pub fn fork(&self, disk: Arc<dyn Disk>) -> Self {
        Self {
            spec: self.spec.clone(),
            disk,
            gate: Mutex::new(None),
            state: Mutex::new(lock(&self.state).clone()),
        }
    }

    /// What it was made for.
    pub fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// Asks `gate` before every effect from now on; `None` lets all happen.
    pub fn set_gate(&self, gate: Option<Gate>) {
        *lock(&self.gate) = gate;
    }

    /// Loses the `n`-th effect from now (0 is the next one); all others happen.
    pub fn lose_effect(&self, n: u64, verdict: Verdict) {
        let seen = Mutex::new(0_u64);
        self.set_gate(Some(Arc::new(move |_| {
            let mut seen = lock(&seen);
            *seen += 1;
            if *seen == n + 1 { verdict } else { Verdict::Done }
        })));
    }

    /// How often each effect happened.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.state).counts.clone()
    }

    /// Free bytes of the pool.
    pub fn set_free_bytes(&self, bytes: u64) {
        lock(&self.state).free_bytes = bytes;
    }

    /// Whether the network leads nowhere.
    pub fn set_isolated(&self, isolated: bool) {
        lock(&self.state).not_isolated = !isolated;
    }

    /// Addresses of the guest.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>) {
        lock(&self.state).addresses = addresses;
    }

    /// Whether the guest agent answers.
    pub fn set_agent(&self, present: bool) {
        lock(&self.state).no_agent = !present;
    }

    /// Whether the hypervisor answers.
    pub fn set_reachable(&self, reachable: bool) {
        lock(&self.state).unreachable = !reachable;
    }

    /// Somebody powers the VM off.
    pub fn power_off_by_hand(&self) {
        if let Some(domain) = &mut lock(&self.state).domain {
            domain.running = false;
        }
    }

    /// Somebody reverts the VM: the epoch and the guest go back, and it runs. False without the point.
    pub fn revert_by_hand(&self, point: &str) -> bool {
        let mut state = lock(&self.state);
        let Some(domain) = &mut state.domain else {
            return false;
        };
        let reverted = domain.bring_back(point, self.disk.as_ref());
        if reverted {
            domain.running = true;
            state.starts += 1;
        }
        reverted
    }

    /// A point loses a file, as when the hypervisor died while it was taken.
    pub fn break_point(&self, name: &str) {
        if let Some(domain) = &mut lock(&self.state).domain {
            for kept in domain.points.iter_mut().filter(|kept| kept.point.name == name) {
                kept.whole = false;
            }
        }
    }

    /// Whether overlay, seed and domain exist.
    pub fn remains(&self) -> (bool, bool, bool) {
        let state = lock(&self.state);
        (state.overlay, state.seed, state.domain.is_some())
    }

    /// Runs one effect through the gate and counts it.
    fn effect<R>(
        &self,
        state: &mut State,
        name: &'static str,
        change: impl FnOnce(&mut State) -> R,
    ) -> Result<R, VmError> {
        let verdict = lock(&self.gate).as_ref().map_or(Verdict::Done, |gate| gate(name));
        let lost = VmError::Failed {
            call: name,
            message: "the effect was lost".into(),
        };
        if verdict == Verdict::LostBefore {
            return Err(lost);
        }
        let result = change(state);
        *state.counts.entry(name).or_default() += 1;
        match verdict {
            Verdict::LostAfter => Err(lost),
            _ => Ok(result),
        }
    }

    fn reachable(&self) -> Result<MutexGuard<'_, State>, VmError> {
        let state = lock(&self.state);
        if state.unreachable {
            return Err(VmError::Unreachable {
                uri: "fake:///".into(),
                message: "connection refused".into(),
            });
        }
        Ok(state)
    }

    fn facts(&self, state: &State) -> Option<VmFacts> {
        let domain = state.domain.as_ref()?;
        Some(VmFacts {
            running: domain.running,
            incarnation: format!("{}", state.starts),
            memory_bytes: self.spec.memory_bytes,
            epoch: domain.epoch,
            free_bytes: state.free_bytes,
            isolated: !state.not_isolated,
            addresses: if domain.running {
                state.addresses.clone()
            } else {
                Vec::new()
            },
            points: domain.points(),
        })
    }

    fn missing(&self, what: &'static str, name: &str) -> VmError {
        VmError::Missing {
            what,
            name: name.to_owned(),
            hint: "it was removed by hand".into(),
        }
    }

    fn adopt(&self, state: &mut State) -> Result<(), VmError> {
        let domain = state.domain.as_ref();
        let owned = domain
            .map(|domain| !domain.owner.is_empty())
            .ok_or_else(|| self.missing("domain", &self.spec.uuid))?;
        if owned {
            return Ok(());
        }
        let uid = self.spec.twin_uid.clone();
        self.effect(state, "claim", |state| {
            if let Some(domain) = &mut state.domain {
                domain.owner = uid;
            }
        })
    }

    fn make_missing_parts(&self, state: &mut State) -> Result<(), VmError> {
        if !state.overlay {
            self.effect(state, "make-disk", |state| state.overlay = true)?;
        }
        if !state.seed {
            self.effect(state, "make-seed", |state| state.seed = true)?;
        }
        if state.domain.is_none() {
            let owner = self.spec.twin_uid.clone();
            self.effect(state, "define", |state| {
                state.domain = Some(Domain {
                    owner,
                    ..Domain::default()
                });
            })?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
