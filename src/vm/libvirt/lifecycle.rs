//! Making, adopting, starting and deleting a VM.

use safetytwin_crds::twinclass::VmType;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use super::super::names::check_vm_name;
use super::super::{Seed, VmError, VmFacts, VmOrigin};
use super::call::{Call, Pool};
use super::errors::optional;
use super::machine::{self, Parts};
use super::read::{self, Medium, Owner};

impl Call<'_> {
    /// Makes what is missing, or checks the domain to adopt, and starts it.
    pub(super) fn ensure(&self) -> Result<VmFacts, VmError> {
        check_vm_name(&self.spec.name)?;
        let pool = self.pool()?;
        let domain = match (self.find_domain()?, &self.spec.origin) {
            (Some(domain), VmOrigin::BaseImage { seed, .. }) => {
                self.check_owner(&self.read(&domain)?)?;
                self.restore_seed(&domain, &pool, seed)?;
                domain
            }
            (Some(domain), VmOrigin::Adopt) => {
                self.adopt(&domain)?;
                domain
            }
            (None, VmOrigin::BaseImage { volume, seed }) => self.make(&pool, volume, seed)?,
            (None, VmOrigin::Adopt) => return Err(self.no_domain()),
        };
        self.refuse_internal_points(&domain)?;
        self.run(&domain)?;
        self.facts(&domain)
    }

    fn make(&self, pool: &Pool, base: &str, seed: &Seed) -> Result<Domain, VmError> {
        let failed = self.failed("define the domain");
        let connect = self.session.connect();
        let namesake = Domain::lookup_by_name(connect, &self.spec.name);
        if optional(namesake, ErrorNumber::NoDomain)
            .map_err(&failed)?
            .is_some()
        {
            return Err(self.refused("another domain has this name; rename or remove it".into()));
        }
        self.require_network()?;
        self.refuse_orphans(pool)?;
        let optional_path = |name: &Option<String>| {
            name.as_ref()
                .map(|name| {
                    self.class_volume(pool, name)
                        .and_then(|volume| self.path(&volume))
                })
                .transpose()
        };
        let parts = Parts {
            kernel: optional_path(&self.spec.vm.kernel)?,
            initrd: optional_path(&self.spec.vm.initrd)?,
            kvm: self.use_kvm()?,
            disk: self.ensure_overlay(pool, base)?,
            seed: self.write_seed(pool, seed)?,
            console: format!("{}/{}", pool.target, self.file_name("console.log")),
        };
        self.session.check()?;
        Domain::define_xml(connect, &machine::domain(self.spec, &parts).to_string()).map_err(&failed)
    }

    /// The disk of a domain that somebody undefined may lie in the middle of a chain of points. It is
    /// neither used nor destroyed without an administrator.
    fn refuse_orphans(&self, pool: &Pool) -> Result<(), VmError> {
        let expected = ["qcow2", "seed.img", "console.log"].map(|suffix| self.file_name(suffix));
        let files = self.our_files(pool)?;
        let orphan = files.into_iter().find(|name| !expected.contains(name));
        match orphan {
            None => Ok(()),
            Some(orphan) => Err(self.refused(format!(
                "its domain is gone but files of points such as {orphan} are in the pool: define the domain again, or remove them"
            ))),
        }
    }

    fn use_kvm(&self) -> Result<bool, VmError> {
        match self.spec.vm.type_ {
            VmType::Kvm => Ok(true),
            VmType::Qemu => Ok(false),
            VmType::Auto => {
                let failed = self.failed("read the hypervisor's capabilities");
                read::offers_kvm(&self.session.connect().get_capabilities().map_err(&failed)?)
            }
        }
    }

    /// A seed that was removed by hand would keep the VM from starting.
    fn restore_seed(&self, domain: &Domain, pool: &Pool, seed: &Seed) -> Result<(), VmError> {
        if self.active(domain)? {
            return Ok(());
        }
        let path = format!("{}/{}", pool.target, self.file_name("seed.img"));
        if self.all_there(pool, &[path])? {
            return Ok(());
        }
        self.write_seed(pool, seed).map(|_| ())
    }

    fn adopt(&self, domain: &Domain) -> Result<(), VmError> {
        let seen = self.read(domain)?;
        self.check_owner(&seen)?;
        self.refuse_internal_points(domain)?;
        if let Some(disk) = seen.disks.iter().find(|disk| disk.medium == Medium::NoFile) {
            return Err(self.no_file(disk));
        }
        if !domain.is_persistent().map_err(self.failed("read the domain"))? {
            return Err(self.refused("it is transient: define it first".into()));
        }
        if seen.owner.is_some() {
            return Ok(());
        }
        let owner = Owner {
            uid: self.spec.twin_uid.clone(),
            epoch: 0,
        };
        self.mark(domain, Some(&owner))
    }

    /// Internal and external points in one domain could never be deleted again.
    pub(super) fn refuse_internal_points(&self, domain: &Domain) -> Result<(), VmError> {
        let snapshots = self.snapshots(domain)?;
        match snapshots.into_iter().find(|snapshot| snapshot.internal) {
            None => Ok(()),
            Some(snapshot) => Err(self.refused(format!(
                "it has the internal snapshot {}: delete its internal snapshots first",
                snapshot.name
            ))),
        }
    }

    fn active(&self, domain: &Domain) -> Result<bool, VmError> {
        domain.is_active().map_err(self.failed("read the domain"))
    }

    /// Starts or resumes it, and sets its links up: a revert that was cut off leaves it paused, with
    /// its links down.
    fn run(&self, domain: &Domain) -> Result<(), VmError> {
        let failed = self.failed("start the domain");
        self.session.check()?;
        let (state, _) = domain.get_state().map_err(&failed)?;
        if state != sys::VIR_DOMAIN_RUNNING {
            self.finish_revert(domain)?;
        }
        if !self.active(domain)? {
            return domain.create().map(|_| ()).map_err(failed);
        }
        let (state, _) = domain.get_state().map_err(&failed)?;
        match state {
            sys::VIR_DOMAIN_PAUSED => domain.resume().map(|_| ()).map_err(&failed)?,
            sys::VIR_DOMAIN_PMSUSPENDED => domain.pm_wakeup(0).map(|_| ()).map_err(&failed)?,
            _ => {}
        }
        self.set_links(domain, true)
    }

    /// Sets all links of the running VM up or down; those that are so already stay untouched.
    pub(super) fn set_links(&self, domain: &Domain, up: bool) -> Result<(), VmError> {
        for interface in self.read(domain)?.interfaces {
            if interface.down != up {
                continue;
            }
            let xml = read::with_link(&interface.xml, up)?;
            self.session.check()?;
            domain
                .update_device_flags(&xml, sys::VIR_DOMAIN_DEVICE_MODIFY_LIVE)
                .map_err(self.failed("set the link of the VM"))?;
        }
        Ok(())
    }

    /// Writes the epoch.
    pub(super) fn claim(&self, epoch: i64) -> Result<(), VmError> {
        let (domain, _) = self.our_domain()?;
        let owner = Owner {
            uid: self.spec.twin_uid.clone(),
            epoch,
        };
        self.mark(&domain, Some(&owner))
    }

    /// Removes what we made; an adopted domain only loses our mark.
    pub(super) fn delete(&self) -> Result<(), VmError> {
        check_vm_name(&self.spec.name)?;
        let found = self.find_domain()?;
        if self.spec.origin == VmOrigin::Adopt {
            return self.release(found);
        }
        if let Some(domain) = found {
            self.check_owner(&self.read(&domain)?)?;
            self.undefine(&domain)?;
        }
        let pool = self.pool()?;
        for name in self.our_files(&pool)? {
            self.remove_file(&pool, &name)?;
        }
        Ok(())
    }

    fn release(&self, found: Option<Domain>) -> Result<(), VmError> {
        let Some(domain) = found else { return Ok(()) };
        match self.read(&domain)?.owner {
            Some(owner) if owner.uid == self.spec.twin_uid => self.mark(&domain, None),
            _ => Ok(()),
        }
    }

    fn undefine(&self, domain: &Domain) -> Result<(), VmError> {
        let failed = self.failed("remove the domain");
        self.session.check()?;
        if self.active(domain)? {
            domain.destroy().map_err(&failed)?;
        }
        self.session.check()?;
        let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_NVRAM
            | sys::VIR_DOMAIN_UNDEFINE_TPM;
        domain.undefine_flags(flags).map_err(&failed)
    }
}
