//! The real ports: libvirt and SSH.

use std::sync::Arc;

use super::ports::Doors;
#[cfg(feature = "libvirt")]
use super::{ports::SystemClock, run::Ports};
use crate::guest::GuestDoor;
use crate::guest::ssh::SshDoor;

/// Doors over SSH.
#[derive(Clone, Copy, Debug, Default)]
pub struct SshDoors;

impl Doors for SshDoors {
    fn door(&self) -> Arc<dyn GuestDoor> {
        Arc::new(SshDoor::default())
    }
}

/// The ports of a controller that acts on libvirt.
#[cfg(feature = "libvirt")]
pub fn ports() -> Ports {
    Ports {
        hypervisors: Arc::new(sites::LibvirtSites::default()),
        doors: Arc::new(SshDoors),
        clock: Arc::new(SystemClock),
    }
}

#[cfg(feature = "libvirt")]
mod sites {
    use std::sync::Arc;

    use async_trait::async_trait;

    use crate::controller::ports::{Hypervisor, Site};
    use crate::vm::libvirt::{Endpoint, Hypervisors};
    use crate::vm::{TwinVm, VmError, VmSpec};

    /// Hypervisors reached through libvirt, one connection per URI and client certificate.
    pub struct LibvirtSites {
        hypervisors: Hypervisors,
    }

    impl Default for LibvirtSites {
        fn default() -> Self {
            Self {
                hypervisors: Hypervisors::new(),
            }
        }
    }

    fn endpoint(site: &Site) -> Result<Endpoint, VmError> {
        Endpoint::new(&site.libvirt.uri, site.credentials.as_ref())
    }

    #[async_trait]
    impl Hypervisor for LibvirtSites {
        async fn vm(&self, site: &Site, spec: VmSpec) -> Result<Arc<dyn TwinVm>, VmError> {
            Ok(self.hypervisors.vm(&endpoint(site)?, spec))
        }

        async fn check(&self, site: &Site) -> Result<(), VmError> {
            self.hypervisors.check(&endpoint(site)?, &site.libvirt).await
        }
    }
}
