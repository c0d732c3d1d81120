//! Taking, going back to, and deleting points.
//!
//! External snapshots only, Full (memory to a file) and Disk in one chain. Their files are made by
//! libvirt in the pool's folder and named `<domain>.<point>.<disk>.qcow2` and `<domain>.<point>.mem`.

use std::time::{Duration, Instant};

use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::TakenMode;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::ErrorNumber;
use virt::sys;

use super::super::names::check_point_name;
use super::super::{PointRequest, PointTaken, VmError, chain};
use super::call::{Call, Pool};
use super::errors::optional;
use super::facts::mode_of;
use super::read::{self, Disk, Medium, Owner};
use super::snapshot::{self, Snapshot};
use super::xml::{Element, element};

/// A point about to be taken.
struct Plan {
    xml: Element,
    files: Vec<String>,
    flags: u32,
}

impl Call<'_> {
    /// Takes a point, or answers the whole one of this name.
    pub(super) fn take_point(&self, request: &PointRequest) -> Result<PointTaken, VmError> {
        check_point_name(&request.name)?;
        let (domain, seen) = self.our_domain()?;
        self.refuse_internal_points(&domain)?;
        let pool = self.pool()?;
        if let Some(found) = self.find_snapshot(&domain, &request.name)? {
            self.look_again(&pool)?;
            if self.is_whole(&domain, &pool, &found)? {
                return Ok(PointTaken {
                    mode: mode_of(&found),
                    milliseconds: 0,
                    size_bytes: self.size_of(&pool, &found.files)?,
                    existed: true,
                });
            }
            self.drop_half(&domain, &request.name)?;
        }
        let running = domain.is_active().map_err(self.failed("read the domain"))?;
        let full = running && request.mode != PointMode::Disk;
        let began = Instant::now();
        let taken = self.take(&domain, &seen, &pool, &request.name, full);
        let (mode, files) = match taken {
            Ok(files) => (if full { TakenMode::Full } else { TakenMode::Disk }, files),
            // Some devices cannot have their memory state saved; the disk can be kept all the same.
            Err(VmError::Failed { message, .. }) if full && request.mode == PointMode::Auto => {
                tracing::warn!(
                    vm = self.spec.name,
                    message,
                    "memory cannot be kept, taking a disk point"
                );
                let files = self.take(&domain, &seen, &pool, &request.name, false)?;
                (TakenMode::Disk, files)
            }
            Err(error) => return Err(error),
        };
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.refresh(&pool);
        Ok(PointTaken {
            mode,
            milliseconds: milliseconds.max(1),
            size_bytes: self.size_of(&pool, &files)?,
            existed: false,
        })
    }

    /// Whether a point that libvirt knows is there. One that is not current any more was whole: the VM has gone on
    /// from it, or back, and what it holds is not the present now. Its overlays may be gone all the same: a revert
    /// removes those of the point that it starts from, which hold nothing of that point.
    fn is_whole(&self, domain: &Domain, pool: &Pool, found: &Snapshot) -> Result<bool, VmError> {
        if self.current(domain)?.as_ref() != Some(&found.name) {
            return Ok(true);
        }
        self.all_there(pool, found.memory_file.as_slice())
    }

    fn take(
        &self,
        domain: &Domain,
        seen: &read::Domain,
        pool: &Pool,
        name: &str,
        full: bool,
    ) -> Result<Vec<String>, VmError> {
        self.remove_leftovers(seen, pool, name)?;
        let plan = self.plan(seen, pool, name, full)?;
        self.session.check()?;
        DomainSnapshot::create_xml(domain, &plan.xml.to_string(), plan.flags)
            .map_err(self.failed("take a point"))?;
        Ok(plan.files)
    }

    fn plan(&self, seen: &read::Domain, pool: &Pool, name: &str, full: bool) -> Result<Plan, VmError> {
        let path = |suffix: &str| format!("{}/{}", pool.target, self.file_name(&format!("{name}.{suffix}")));
        let mut files = Vec::new();
        let mut disks = element("disks");
        for disk in &seen.disks {
            let entry = element("disk").attr("name", &disk.target);
            disks = disks.child(match disk.medium {
                Medium::Empty => entry.attr("snapshot", "no"),
                Medium::NoFile => return Err(self.no_file(disk)),
                Medium::Files(_) => {
                    let file = path(&format!("{}.qcow2", disk.target));
                    let source = element("source").attr("file", &file);
                    files.push(file);
                    entry.attr("snapshot", "external").child(source)
                }
            });
        }
        if files.is_empty() {
            return Err(self.refused("it has no disk that a point could hold".into()));
        }
        let memory = path("mem");
        let kept = element("memory").attr("snapshot", if full { "external" } else { "no" });
        let kept = if full { kept.attr("file", &memory) } else { kept };
        let flags = if full {
            files.push(memory);
            sys::VIR_DOMAIN_SNAPSHOT_CREATE_LIVE
        } else {
            sys::VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        };
        let xml = element("domainsnapshot")
            .child(element("name").text(name))
            .child(kept)
            .child(disks);
        Ok(Plan {
            xml,
            files,
            flags: flags | sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC,
        })
    }

    /// A drive that keeps a whole VM from being taken back.
    pub(super) fn no_file(&self, disk: &Disk) -> VmError {
        self.refused(format!(
            "its drive {} is not a file, so no point of it could be gone back to: put it into a volume of a dir pool",
            disk.target
        ))
    }

    /// Files of a point that libvirt forgot, because it died while it took it. One that the VM
    /// writes to is part of its present.
    fn remove_leftovers(&self, seen: &read::Domain, pool: &Pool, point: &str) -> Result<(), VmError> {
        let prefix = self.file_name(&format!("{point}."));
        let used = |name: &str| {
            let files = seen.disks.iter().flat_map(Disk::files);
            files
                .into_iter()
                .any(|path| path.rsplit('/').next() == Some(name))
        };
        for name in self.our_files(pool)? {
            if !name.starts_with(&prefix) {
                continue;
            }
            if used(&name) {
                return Err(VmError::Refused {
                    what: "point",
                    name: point.to_owned(),
                    why: format!("the VM runs on its file {name}, but libvirt does not know the point"),
                });
            }
            self.remove_file(pool, &name)?;
        }
        Ok(())
    }

    /// The current point, without its memory: taken out of the chain, or if that fails out of libvirt's list.
    fn drop_half(&self, domain: &Domain, name: &str) -> Result<(), VmError> {
        let Some(handle) = self.snapshot_handle(domain, name)? else {
            return Ok(());
        };
        self.session.check()?;
        if handle.delete(0).is_ok() {
            return Ok(());
        }
        self.session.check()?;
        handle
            .delete(sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
            .map_err(self.failed("remove half a point"))
    }

    fn snapshot_handle(&self, domain: &Domain, name: &str) -> Result<Option<DomainSnapshot>, VmError> {
        let found = DomainSnapshot::lookup_by_name(domain, name, 0);
        optional(found, ErrorNumber::NoDomainSnapshot).map_err(self.failed("look up a point"))
    }

    fn find_snapshot(&self, domain: &Domain, name: &str) -> Result<Option<Snapshot>, VmError> {
        let Some(handle) = self.snapshot_handle(domain, name)? else {
            return Ok(None);
        };
        let xml = handle.get_xml_desc(0).map_err(self.failed("look up a point"))?;
        snapshot::read(&xml).map(Some)
    }

    /// Goes back to a point. The guest does not run before its links are down and our mark is new.
    pub(super) fn revert(&self, point: &str, epoch: i64) -> Result<(), VmError> {
        check_point_name(point)?;
        let (domain, _) = self.our_domain()?;
        let Some(handle) = self.snapshot_handle(&domain, point)? else {
            return Err(VmError::Missing {
                what: "point",
                name: point.to_owned(),
                hint: "it was deleted; choose another one".into(),
            });
        };
        let failed = self.failed("revert to a point");
        self.go_back_or_stay(&domain, &handle, point)?;
        self.set_links(&domain, false)?;
        let owner = Owner {
            uid: self.spec.twin_uid.clone(),
            epoch,
        };
        self.mark(&domain, Some(&owner))?;
        self.session.check()?;
        domain.resume().map_err(&failed)?;
        self.set_links(&domain, true)?;
        self.refresh(&self.pool()?);
        Ok(())
    }

    /// A revert to memory that fails leaves the VM defined, or paused, on the very files that the point consists of
    /// (qemuSnapshotRevertActive, 11.3): started there, it would write over them. It gets back what it had.
    fn go_back_or_stay(&self, domain: &Domain, handle: &DomainSnapshot, point: &str) -> Result<(), VmError> {
        let failed = self.failed("revert to a point");
        let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
        let before = domain.get_xml_desc(flags).map_err(&failed)?;
        let Err(error) = self.go_back(handle, point) else {
            return Ok(());
        };
        if self.frozen_by(domain)?.is_some() {
            self.session.check()?;
            if domain.is_active().map_err(&failed)? {
                domain.destroy().map_err(&failed)?;
            }
            Domain::define_xml(self.session.connect(), &before).map_err(&failed)?;
        }
        Err(error)
    }

    /// The point whose files the VM would write to: a revert to it was cut off.
    pub(super) fn frozen_by(&self, domain: &Domain) -> Result<Option<String>, VmError> {
        let seen = self.read(domain)?;
        let written: Vec<_> = seen
            .disks
            .iter()
            .filter_map(|disk| disk.files().first())
            .collect();
        let holds = |snapshot: &Snapshot| snapshot.frozen.iter().any(|file| written.contains(&file));
        let found = self.snapshots(domain)?.into_iter().find(holds);
        Ok(found.map(|snapshot| snapshot.name))
    }

    /// Finishes a revert that was cut off: the VM does not run on a point's own files.
    pub(super) fn finish_revert(&self, domain: &Domain) -> Result<(), VmError> {
        let Some(point) = self.frozen_by(domain)? else {
            return Ok(());
        };
        tracing::warn!(vm = self.spec.name, point, "a revert was cut off, it is finished");
        match self.snapshot_handle(domain, &point)? {
            Some(handle) => self.go_back(&handle, &point),
            None => Ok(()),
        }
    }

    /// Libvirt names the overlays of a revert by the second: a second revert in the same one is
    /// refused before anything happens, and works a second later.
    fn go_back(&self, handle: &DomainSnapshot, point: &str) -> Result<(), VmError> {
        let revert = || handle.revert(sys::VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED);
        self.session.check()?;
        let mut result = revert();
        if result
            .as_ref()
            .is_err_and(|e| e.message().contains("already exists"))
        {
            std::thread::sleep(Duration::from_millis(1100));
            self.session.check()?;
            result = revert();
        }
        result.map_err(|error| {
            // Another job holds the domain: nothing was tried.
            let busy = error.code() == ErrorNumber::OperationTimeout;
            match self.failed("revert to a point")(error) {
                VmError::Failed { message, .. } if !busy => VmError::NotReverted {
                    point: point.to_owned(),
                    message,
                },
                other => other,
            }
        })
    }

    /// Removes a point; what it holds is merged into its neighbours. Missing is success.
    pub(super) fn delete_point(&self, name: &str) -> Result<(), VmError> {
        check_point_name(name)?;
        let Some(domain) = self.find_domain()? else {
            return Ok(());
        };
        self.check_owner(&self.read(&domain)?)?;
        let Some(handle) = self.snapshot_handle(&domain, name)? else {
            return Ok(());
        };
        chain::check_deletable(&self.tree(&domain)?, name)?;
        self.session.check()?;
        handle.delete(0).map_err(self.failed("delete a point"))?;
        self.refresh(&self.pool()?);
        Ok(())
    }

    /// Sets the guest's clock; false without a guest agent.
    pub(super) fn set_clock(&self) -> Result<bool, VmError> {
        let (domain, seen) = self.our_domain()?;
        if !seen.agent {
            return Ok(false);
        }
        let now = jiff::Timestamp::now();
        self.session.check()?;
        match domain.set_time(now.as_second(), now.subsec_nanosecond(), 0) {
            Ok(_) => Ok(true),
            Err(error) if no_agent(error.code()) => Ok(false),
            Err(error) => Err(self.failed("set the guest's clock")(error)),
        }
    }
}

/// The agent is not there, does not answer, or does not know the command.
fn no_agent(code: ErrorNumber) -> bool {
    matches!(
        code,
        ErrorNumber::AgentUnresponsive
            | ErrorNumber::AgentUnsynced
            | ErrorNumber::AgentCommandTimeout
            | ErrorNumber::AgentCommandFailed
            | ErrorNumber::ArgumentUnsupported
            | ErrorNumber::OperationUnsupported
            | ErrorNumber::OperationInvalid
    )
}
