//! The hypervisor and the guest: one fake VM and the fake guest in it. They outlive every process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use safetytwin_crds::twinsnapshot::TakenMode;

use super::fate::Fate;
use crate::controller::ports::{Doors, Hypervisor, Site};
use crate::guest::GuestDoor;
use crate::guest::fake::{FakeGuest, Saved};
use crate::vm::fake::{Disk, FakeVm};
use crate::vm::{TwinVm, VmError, VmSpec};

/// Hypervisor, VM and guest. Clones share them.
#[derive(Clone)]
pub struct Machines {
    /// The guest; off as long as the VM does not exist.
    pub guest: FakeGuest,
    drive: Arc<Drive>,
    vms: Arc<Mutex<BTreeMap<String, Arc<FakeVm>>>>,
    fate: Fate,
}

/// The guest as the VM's disk and memory.
struct Drive {
    guest: FakeGuest,
    /// The guest as its image has it.
    image: Saved,
    points: Mutex<Vec<Saved>>,
}

impl Disk for Drive {
    fn snapshot(&self, mode: TakenMode) -> u64 {
        let mut points = lock(&self.points);
        points.push(self.guest.save(mode == TakenMode::Full));
        points.len() as u64 - 1
    }
    fn restore(&self, id: u64, _mode: TakenMode) {
        self.guest.revert(&lock(&self.points)[id as usize]);
    }
    fn boot(&self) {
        self.guest.reboot();
    }
    fn wipe(&self) {
        self.guest.revert(&self.image);
        self.guest.power_off();
    }
}

impl Machines {
    /// A hypervisor without a VM; `guest` is what its image boots to.
    pub fn new(guest: FakeGuest, fate: Fate) -> Self {
        let image = guest.save(false);
        guest.power_off();
        Self {
            drive: Arc::new(Drive {
                guest: guest.clone(),
                image,
                points: Mutex::default(),
            }),
            guest,
            vms: Arc::default(),
            fate,
        }
    }

    /// The same machines, with a future of their own.
    pub fn fork(&self, fate: Fate) -> Self {
        let guest = self.guest.fork();
        let drive = Arc::new(Drive {
            guest: guest.clone(),
            image: self.drive.image.clone(),
            points: Mutex::new(lock(&self.drive.points).clone()),
        });
        let vms = lock(&self.vms)
            .iter()
            .map(|(uuid, vm)| (uuid.clone(), Arc::new(vm.fork(Arc::<Drive>::clone(&drive)))))
            .collect();
        Self {
            guest,
            drive,
            vms: Arc::new(Mutex::new(vms)),
            fate,
        }
    }

    /// A new process: connections of the last one are gone.
    pub fn begin_process(&self) {
        self.guest.recover();
        self.guest.on_effect(self.fate.hook());
        for vm in lock(&self.vms).values() {
            vm.set_gate(Some(self.fate.gate()));
        }
    }

    /// The VM, once anybody asked for it.
    pub fn vm(&self) -> Option<Arc<FakeVm>> {
        lock(&self.vms).values().next().cloned()
    }
}

#[async_trait]
impl Hypervisor for Machines {
    async fn vm(&self, _site: &Site, spec: VmSpec) -> Result<Arc<dyn TwinVm>, VmError> {
        let mut vms = lock(&self.vms);
        let vm = vms.entry(spec.uuid.clone()).or_insert_with(|| {
            let vm = FakeVm::new(spec.clone(), self.drive.clone());
            vm.set_gate(Some(self.fate.gate()));
            Arc::new(vm)
        });
        let exists = vm.remains() != (false, false, false);
        assert!(
            !exists || *vm.spec() == spec,
            "a VM is always asked for in the same words"
        );
        Ok(vm.clone())
    }

    async fn check(&self, _site: &Site) -> Result<(), VmError> {
        Ok(())
    }
}

impl Doors for Machines {
    fn door(&self) -> Arc<dyn GuestDoor> {
        Arc::new(self.guest.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
