//! Whether what a class names exists. Changes nothing.

use safetytwin_crds::twinclass::{Libvirt, Vm};
use virt::error::ErrorNumber;
use virt::network::Network;

use super::super::{VmError, VmOrigin, VmSpec};
use super::call::Call;
use super::errors::optional;

/// What a call needs to know to look at a class: its pool and network, and the domain to adopt.
pub(super) fn spec(class: &Libvirt) -> VmSpec {
    let uuid = class.adopt.as_ref().map(|adopt| adopt.domain_uuid.clone());
    VmSpec {
        name: "class".into(),
        uuid: uuid.unwrap_or_default(),
        twin_uid: String::new(),
        origin: VmOrigin::Adopt,
        pool: class.pool.clone(),
        network: class.network.clone(),
        vm: Vm::default(),
        cpus: 0,
        memory_bytes: 0,
    }
}

impl Call<'_> {
    /// Pool (active, type `dir`), network, volumes of the image and of the kernel, or the domain to
    /// adopt (without internal points).
    pub(super) fn check_class(&self, class: &Libvirt) -> Result<(), VmError> {
        let pool = self.pool()?;
        if class.adopt.is_some() {
            let domain = self.find_domain()?.ok_or_else(|| self.no_domain())?;
            return self.refuse_internal_points(&domain);
        }
        self.require_network()?;
        let volumes = [&class.base_image, &class.vm.kernel, &class.vm.initrd];
        for name in volumes.into_iter().flatten() {
            self.class_volume(&pool, name)?;
        }
        Ok(())
    }

    /// The network that the class names.
    pub(super) fn require_network(&self) -> Result<(), VmError> {
        let found = Network::lookup_by_name(self.session.connect(), &self.spec.network);
        let found = optional(found, ErrorNumber::NoNetwork).map_err(self.failed("look up the network"))?;
        let missing = |hint: String| VmError::Missing {
            what: "network",
            name: self.spec.network.clone(),
            hint,
        };
        let network =
            found.ok_or_else(|| missing("define it without <forward>, or correct the class".into()))?;
        if network.is_active().map_err(self.failed("look up the network"))? {
            return Ok(());
        }
        Err(missing(format!(
            "start it: virsh net-start {}",
            self.spec.network
        )))
    }
}
