//! What the controller gets from outside and a test replaces: hypervisors, doors to guests, time.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use safetytwin_crds::twinclass::Libvirt;

use crate::guest::GuestDoor;
use crate::vm::{TlsCredentials, TwinVm, VmError, VmSpec};

/// A hypervisor as a class names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The class's libvirt settings; URI and pool are the frozen ones of an existing twin.
    pub libvirt: Libvirt,
    /// Client certificate of the class.
    pub credentials: Option<TlsCredentials>,
}

/// Makes handles of VMs.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// The handle of a VM. Connects when there is no connection to the site yet; changes nothing.
    async fn vm(&self, site: &Site, spec: VmSpec) -> Result<Arc<dyn TwinVm>, VmError>;

    /// Whether everything that the class names exists: connection, pool, network, base image or
    /// domain.
    async fn check(&self, site: &Site) -> Result<(), VmError>;
}

/// Makes doors to guests.
pub trait Doors: Send + Sync {
    /// A new door without a connection. The caller keeps one per twin.
    fn door(&self) -> Arc<dyn GuestDoor>;
}

/// The controller's time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
