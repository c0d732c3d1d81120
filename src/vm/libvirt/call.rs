//! One call under way: the connection, whose VM it is about, and how its errors read.

use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::storage_pool::StoragePool;
use virt::sys;

use super::super::{VmError, VmOrigin, VmSpec};
use super::errors::{Place, optional};
use super::link::Session;
use super::read::{self, Owner};

/// What the operations of this backend work with.
pub(super) struct Call<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) spec: &'a VmSpec,
}

/// A pool that can be used.
pub(super) struct Pool {
    pub(super) handle: StoragePool,
    /// Folder on the hypervisor.
    pub(super) target: String,
}

impl Call<'_> {
    /// Turns libvirt's error into ours; `call` completes "failed to ...".
    pub(super) fn failed(&self, call: &'static str) -> impl Fn(Error) -> VmError + '_ {
        move |error| {
            let place = Place {
                uri: self.session.uri(),
                pool: &self.spec.pool,
            };
            place.error(call, &error)
        }
    }

    /// The VM's domain, by UUID.
    pub(super) fn find_domain(&self) -> Result<Option<Domain>, VmError> {
        let found = Domain::lookup_by_uuid_string(self.session.connect(), &self.spec.uuid);
        optional(found, ErrorNumber::NoDomain).map_err(self.failed("look up the domain"))
    }

    /// The VM's domain, which must exist and be ours.
    pub(super) fn our_domain(&self) -> Result<(Domain, read::Domain), VmError> {
        let domain = self.find_domain()?.ok_or_else(|| self.no_domain())?;
        let seen = self.read(&domain)?;
        self.check_owner(&seen)?;
        Ok((domain, seen))
    }

    /// A domain that an administrator must bring back, or one that we make again next time.
    pub(super) fn no_domain(&self) -> VmError {
        match self.spec.origin {
            VmOrigin::Adopt => VmError::Missing {
                what: "domain",
                name: self.spec.uuid.clone(),
                hint: "the class adopts it: define it, or correct the class".into(),
            },
            VmOrigin::BaseImage { .. } => VmError::Failed {
                call: "find the domain",
                message: "it was removed; it is made again".into(),
            },
        }
    }

    /// The domain as it is now.
    pub(super) fn read(&self, domain: &Domain) -> Result<read::Domain, VmError> {
        let xml = domain.get_xml_desc(0).map_err(self.failed("read the domain"))?;
        read::domain(&xml)
    }

    /// Another twin's domain, or nobody's, is never touched. An adopted one may be unmarked.
    pub(super) fn check_owner(&self, seen: &read::Domain) -> Result<(), VmError> {
        let adopt = self.spec.origin == VmOrigin::Adopt;
        match &seen.owner {
            Some(owner) if owner.uid == self.spec.twin_uid => Ok(()),
            None if adopt => Ok(()),
            Some(owner) => Err(self.refused(format!("it belongs to the twin {}", owner.uid))),
            None => Err(self.refused("it was not made by this twin; remove it or use another name".into())),
        }
    }

    pub(super) fn refused(&self, why: String) -> VmError {
        VmError::Refused {
            what: "domain",
            name: self.spec.name.clone(),
            why,
        }
    }

    /// Writes our mark into the domain, and into the running one too.
    pub(super) fn mark(&self, domain: &Domain, owner: Option<&Owner>) -> Result<(), VmError> {
        let active = domain.is_active().map_err(self.failed("read the domain"))?;
        let live = if active { sys::VIR_DOMAIN_AFFECT_LIVE } else { 0 };
        let text = owner.map(|owner| super::machine::mark(owner).to_string());
        self.session.check()?;
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
        let flags = sys::VIR_DOMAIN_AFFECT_CONFIG | live;
        let written = domain.set_metadata(
            kind,
            text.as_deref(),
            Some("safetytwin"),
            Some(super::super::MARK),
            flags,
        );
        match optional(written, ErrorNumber::NoDomainMetadata) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("write the domain's metadata")(error)),
        }
    }

    /// The class's pool: active, and of a type whose volumes are plain files.
    pub(super) fn pool(&self) -> Result<Pool, VmError> {
        let missing = |hint: String| VmError::Missing {
            what: "pool",
            name: self.spec.pool.clone(),
            hint,
        };
        let failed = self.failed("look up the pool");
        let found = StoragePool::lookup_by_name(self.session.connect(), &self.spec.pool);
        let handle = optional(found, ErrorNumber::NoStoragePool)
            .map_err(&failed)?
            .ok_or_else(|| missing("define a pool of type dir, or correct the class".into()))?;
        if !handle.is_active().map_err(&failed)? {
            return Err(missing(format!("start it: virsh pool-start {}", self.spec.pool)));
        }
        let (kind, target) = read::pool(&handle.get_xml_desc(0).map_err(&failed)?)?;
        if kind != "dir" || target.is_empty() {
            return Err(VmError::Refused {
                what: "pool",
                name: self.spec.pool.clone(),
                why: format!("its type is {kind}; points need a pool of type dir"),
            });
        }
        Ok(Pool { handle, target })
    }
}
