//! The fake's [`Guest`]: each change passes the effect hook, then the machine's model.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::{GUEST_MANIFEST, GUEST_OPERATION, UnitName};
use safetytwin_crds::revision::DesiredFile;

use super::super::paths;
use super::super::records::{self, Lock};
use super::super::{Guest, GuestError, JobKind, OperationRecord, Traffic, accounts};
use super::state::{Disk, Machine};
use super::{ChannelLoss, Counters, Shared, Verdict};
use crate::facts::{Accounts, JobOutcome, Preflight, PreflightQuery, UnitFacts};

/// One connection; dead after a boot, a revert, a crash of the caller, or `hang_up`.
pub(super) struct Connection {
    shared: Arc<Mutex<Shared>>,
    generation: u64,
    closed: AtomicBool,
    pub(super) traffic: Mutex<Traffic>,
}

impl Connection {
    pub fn new(shared: Arc<Mutex<Shared>>, generation: u64) -> Self {
        Self {
            shared,
            generation,
            closed: AtomicBool::new(false),
            traffic: Mutex::default(),
        }
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub fn alive(&self) -> bool {
        self.enter("look").is_ok()
    }

    /// The machine, if the connection still leads to it.
    fn enter(&self, call: &'static str) -> Result<MutexGuard<'_, Shared>, GuestError> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = shared.crashed
            || !shared.powered
            || shared.generation != self.generation
            || shared.cut() == Some(ChannelLoss::All)
            || self.closed.load(Ordering::Relaxed);
        if dead { Err(lost(call)) } else { Ok(shared) }
    }

    /// One effect: counted, and subject to the hook.
    fn effect<T>(
        &self,
        call: &'static str,
        apply: impl FnOnce(&mut Machine, &mut Counters) -> T,
    ) -> Result<T, GuestError> {
        let mut shared = self.enter(call)?;
        let verdict = shared.hook.clone().map_or(Verdict::Proceed, |hook| hook(call));
        if verdict == Verdict::CrashBefore {
            shared.crashed = true;
            return Err(lost(call));
        }
        let Shared {
            machine, counters, ..
        } = &mut *shared;
        let answer = apply(machine, counters);
        counters.effects += 1;
        if verdict == Verdict::CrashAfter {
            shared.crashed = true;
            return Err(lost(call));
        }
        Ok(answer)
    }

    fn count(&self, add: impl Fn(&mut Traffic)) {
        add(&mut self.traffic.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn each(
        &self,
        call: &'static str,
        units: &[UnitName],
        apply: impl Fn(&mut Disk, &str) -> Option<String>,
    ) -> Result<Vec<JobOutcome>, GuestError> {
        let one = |unit: &UnitName| {
            let failure = self.effect(call, |m, _| apply(&mut m.disk, unit.as_str()))?;
            Ok(JobOutcome {
                unit: unit.clone(),
                failure,
            })
        };
        units.iter().map(one).collect()
    }

    fn record(&self, call: &'static str, path: &str) -> Result<Option<Vec<u8>>, GuestError> {
        Ok(self.enter(call)?.machine.disk.files.get(path).cloned())
    }

    fn fence(&self, call: &'static str, epoch: i64) -> Result<(), GuestError> {
        match self.enter(call)?.machine.ram.lock {
            Some(lock) => lock.yields_to(epoch),
            None => Ok(()),
        }
    }
}

fn lost(call: &'static str) -> GuestError {
    GuestError::Lost {
        call,
        message: "the connection is gone".into(),
    }
}

fn look(disk: &Disk, query: &PreflightQuery) -> Preflight {
    let known = |map: &std::collections::BTreeMap<String, u32>, name: &String| {
        map.get(name).map(|id| (name.clone(), *id))
    };
    let image = |image: &&safetytwin_crds::revision::Image| {
        disk.images.contains(&(image.engine, image.reference.clone()))
    };
    Preflight {
        executables: query
            .executables
            .intersection(&disk.executables)
            .cloned()
            .collect(),
        directories: query
            .directories
            .intersection(&disk.directories)
            .cloned()
            .collect(),
        users: query.users.iter().filter_map(|n| known(&disk.users, n)).collect(),
        groups: query
            .groups
            .iter()
            .filter_map(|n| known(&disk.groups, n))
            .collect(),
        unit_files: query
            .unit_files
            .iter()
            .filter(|name| disk.source(name).is_some())
            .cloned()
            .collect(),
        images: query.images.iter().filter(image).cloned().collect(),
        engines: ["docker", "podman"]
            .into_iter()
            .filter(|name| disk.executables.contains(&format!("/usr/bin/{name}")))
            .map(String::from)
            .collect(),
    }
}

fn add_user(disk: &mut Disk, account: &Account) {
    let free = 900 + u32::try_from(disk.users.len()).unwrap_or(0);
    let id = account.id.unwrap_or(free);
    disk.users.entry(account.name.clone()).or_insert(id);
    if account.primary_group.is_none() {
        disk.groups.entry(account.name.clone()).or_insert(id);
    }
}

fn add_group(disk: &mut Disk, account: &Account) {
    let free = 900 + u32::try_from(disk.groups.len()).unwrap_or(0);
    let id = account.id.unwrap_or(free);
    disk.groups.entry(account.name.clone()).or_insert(id);
}

#[async_trait]
impl Guest for Connection {
    async fn boot_id(&self) -> Result<String, GuestError> {
        Ok(self.enter("read the boot id")?.machine.ram.boot_id.clone())
    }

    async fn manifest(&self) -> Result<Option<Manifest>, GuestError> {
        let bytes = self.record("read the manifest", GUEST_MANIFEST)?;
        bytes.map(|b| records::decode_manifest(&b)).transpose()
    }

    async fn write_manifest(&self, manifest: &Manifest) -> Result<(), GuestError> {
        const CALL: &str = "write the manifest";
        self.fence(CALL, manifest.epoch)?;
        let bytes = records::encode(CALL, manifest)?;
        self.effect(CALL, |m, _| m.disk.files.insert(GUEST_MANIFEST.into(), bytes))
            .map(drop)
    }

    async fn operation(&self) -> Result<Option<OperationRecord>, GuestError> {
        const CALL: &str = "read the operation record";
        let bytes = self.record(CALL, GUEST_OPERATION)?;
        bytes.map(|b| records::decode(CALL, &b)).transpose()
    }

    async fn write_operation(&self, record: Option<&OperationRecord>) -> Result<(), GuestError> {
        const CALL: &str = "write the operation record";
        let Some(record) = record else {
            return self
                .effect(CALL, |m, _| m.disk.files.remove(GUEST_OPERATION))
                .map(drop);
        };
        self.fence(CALL, record.epoch)?;
        let bytes = records::encode(CALL, record)?;
        self.effect(CALL, |m, _| m.disk.files.insert(GUEST_OPERATION.into(), bytes))
            .map(drop)
    }

    async fn lock(&self, epoch: i64, operation: i64) -> Result<(), GuestError> {
        self.fence("take the lock", epoch)?;
        self.effect("take the lock", |m, _| {
            m.ram.lock = Some(Lock { epoch, operation })
        })
    }

    async fn unlock(&self, epoch: i64) -> Result<(), GuestError> {
        self.fence("give the lock back", epoch)?;
        self.effect("give the lock back", |m, _| {
            m.ram.lock.take_if(|lock| lock.epoch == epoch);
        })
    }

    async fn own_units(&self) -> Result<Vec<String>, GuestError> {
        let shared = self.enter("list units")?;
        let files = shared.machine.disk.unit_files().map(String::from);
        let loaded = shared.machine.ram.units.keys().cloned();
        let all: std::collections::BTreeSet<String> = files.chain(loaded).collect();
        Ok(all.into_iter().collect())
    }

    async fn preflight(&self, query: &PreflightQuery) -> Result<Preflight, GuestError> {
        Ok(look(&self.enter("look at the guest")?.machine.disk, query))
    }

    async fn units(&self, names: &[UnitName]) -> Result<Vec<UnitFacts>, GuestError> {
        let shared = self.enter("read units")?;
        Ok(names.iter().map(|name| shared.machine.facts(name)).collect())
    }

    async fn make_accounts(&self, wanted: &Accounts) -> Result<(), GuestError> {
        for group in wanted.groups.iter().filter(|a| accounts::usable(a)) {
            self.effect("make accounts", |m, _| add_group(&mut m.disk, group))?;
        }
        for user in wanted.users.iter().filter(|a| accounts::usable(a)) {
            self.effect("make accounts", |m, _| add_user(&mut m.disk, user))?;
        }
        Ok(())
    }

    async fn write_files(&self, files: &[DesiredFile]) -> Result<usize, GuestError> {
        const CALL: &str = "write files";
        for file in files {
            paths::check(CALL, &file.path)?;
        }
        let mut written = 0;
        for file in files {
            let there = self.record(CALL, &file.path)?;
            if there.as_deref() == Some(file.content.as_bytes()) {
                continue;
            }
            self.effect(CALL, |m, c| {
                c.files_written += 1;
                m.disk
                    .files
                    .insert(file.path.clone(), file.content.clone().into_bytes());
                m.disk.masked.remove(paths::split(&file.path).1);
            })?;
            written += 1;
            self.count(|t| t.files_written += 1);
        }
        Ok(written)
    }

    async fn remove_files(&self, gone: &[String]) -> Result<(), GuestError> {
        const CALL: &str = "remove files";
        for path in gone {
            paths::check(CALL, path)?;
        }
        for path in gone {
            if self.record(CALL, path)?.is_some() {
                self.effect(CALL, |m, c| {
                    c.files_removed += 1;
                    m.disk.files.remove(path)
                })?;
            }
        }
        Ok(())
    }

    async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, GuestError> {
        paths::check("read a file", path)?;
        self.record("read a file", path)
    }

    async fn reload(&self) -> Result<(), GuestError> {
        self.effect("reload", |m, c| {
            c.reloads += 1;
            m.reload();
        })?;
        self.count(|t| t.reloads += 1);
        Ok(())
    }

    async fn enable(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        self.each("enable units", units, Disk::enable)
    }

    async fn disable(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        self.each("disable units", units, |disk, unit| {
            disk.enabled.remove(unit);
            None
        })
    }

    async fn mask(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        self.each("mask units", units, Disk::mask)
    }

    async fn unmask(&self, units: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        self.each("unmask units", units, |disk, unit| {
            disk.masked.remove(unit);
            None
        })
    }

    async fn run_jobs(&self, jobs: &[(JobKind, UnitName)]) -> Result<Vec<JobOutcome>, GuestError> {
        const CALL: &str = "run unit jobs";
        let mut outcomes = Vec::with_capacity(jobs.len());
        for (kind, unit) in jobs {
            let failure = self.effect(CALL, |m, c| {
                c.jobs += 1;
                match kind {
                    JobKind::Start => m.start(unit.as_str()),
                    JobKind::Restart => m.restart(unit.as_str()),
                    JobKind::Stop => m.stop(unit.as_str()),
                }
            })?;
            self.count(|t| t.jobs += 1);
            outcomes.push(JobOutcome {
                unit: unit.clone(),
                failure,
            });
        }
        self.enter(CALL).map(|_| outcomes)
    }

    async fn reset_failed(&self, units: &[UnitName]) -> Result<(), GuestError> {
        for unit in units {
            self.effect("reset failed units", |m, _| m.reset_failed(unit.as_str()))?;
        }
        Ok(())
    }

    async fn set_clock(&self, now: jiff::Timestamp) -> Result<(), GuestError> {
        self.effect("set the clock", |m, _| m.ram.clock = Some(now))
    }

    fn traffic(&self) -> Traffic {
        self.traffic_now()
    }
}
