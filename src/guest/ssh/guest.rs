//! The port [`Guest`] on an SSH session.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::names::{GUEST_LOCK, GUEST_MANIFEST, GUEST_OPERATION, GUEST_STATE_DIR, UnitName};
use safetytwin_crds::revision::DesiredFile;

use super::bus::Bus;
use super::files::Files;
use super::session::{self, Session};
use super::units::{self, FileChange};
use super::{jobs, preflight, transient};
use crate::facts::{Accounts, JobOutcome, Preflight, PreflightQuery, UnitFacts};
use crate::guest::records::{self, Lock, MAX_RECORD};
use crate::guest::{Guest, GuestAddress, GuestError, JobKind, OperationRecord, Traffic, accounts, paths};

/// Longest unit file: three times the longest line that is rendered.
const MAX_FILE: usize = 256 * 1024;

/// A live connection.
pub(super) struct SshGuest {
    session: Session,
    files: Files,
    bus: Bus,
    written: AtomicU64,
    jobs: AtomicU64,
    reloads: AtomicU64,
}

impl SshGuest {
    pub(super) async fn open(address: &GuestAddress) -> Result<Self, GuestError> {
        let session = session::open(address).await?;
        let (files, bus) = futures::try_join!(
            Files::open(&session, &address.user),
            Bus::open(&session, &address.user)
        )?;
        Ok(Self {
            session,
            files,
            bus,
            written: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    pub(super) async fn close(&self) {
        self.bus.close().await;
        self.session.close().await;
    }

    /// Writes one file unless its bytes are there already; answers whether it was written.
    async fn write_file(&self, file: &DesiredFile) -> Result<bool, GuestError> {
        let (folder, _) = paths::split(&file.path);
        if folder != paths::UNIT_DIR {
            self.files.make_folder(folder, 0o755).await?;
        }
        if self.files.read(&file.path, MAX_FILE).await?.as_deref() == Some(file.content.as_bytes()) {
            return Ok(false);
        }
        self.files
            .write(&file.path, file.content.as_bytes(), 0o644)
            .await?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    async fn remove_file(&self, path: &str) -> Result<(), GuestError> {
        self.files.remove(path).await?;
        let (folder, _) = paths::split(path);
        if folder != paths::UNIT_DIR {
            self.files.remove_empty_folder(folder).await?;
        }
        Ok(())
    }

    /// Writes a file of the state directory, unless a higher epoch holds the guest.
    async fn write_record(&self, path: &str, bytes: &[u8], epoch: i64) -> Result<(), GuestError> {
        let (held, ()) =
            futures::try_join!(self.held_lock(), self.files.make_folder(GUEST_STATE_DIR, 0o700))?;
        if let Some(held) = held {
            held.yields_to(epoch)?;
        }
        self.files.write(path, bytes, 0o600).await?;
        self.files.sync_folder(GUEST_STATE_DIR).await
    }

    async fn held_lock(&self) -> Result<Option<Lock>, GuestError> {
        let Some(bytes) = self.files.read(GUEST_LOCK, MAX_RECORD).await? else {
            return Ok(None);
        };
        // Half a lock is what a crash of its writer left: nobody's.
        Ok(records::decode("read the lock", &bytes).ok())
    }
}

#[async_trait]
impl Guest for SshGuest {
    async fn boot_id(&self) -> Result<String, GuestError> {
        let bytes = self
            .files
            .read("/proc/sys/kernel/random/boot_id", 256)
            .await?
            .unwrap_or_default();
        Ok(safetytwin_crds::names::printable(
            String::from_utf8_lossy(&bytes).trim(),
            64,
        ))
    }

    async fn manifest(&self) -> Result<Option<Manifest>, GuestError> {
        let bytes = self.files.read(GUEST_MANIFEST, MAX_RECORD).await?;
        bytes.map(|bytes| records::decode_manifest(&bytes)).transpose()
    }

    async fn write_manifest(&self, manifest: &Manifest) -> Result<(), GuestError> {
        let bytes = records::encode("write the manifest", manifest)?;
        self.write_record(GUEST_MANIFEST, &bytes, manifest.epoch).await
    }

    async fn operation(&self) -> Result<Option<OperationRecord>, GuestError> {
        let bytes = self.files.read(GUEST_OPERATION, MAX_RECORD).await?;
        bytes
            .map(|bytes| records::decode("read the operation record", &bytes))
            .transpose()
    }

    async fn write_operation(&self, record: Option<&OperationRecord>) -> Result<(), GuestError> {
        match record {
            Some(record) => {
                let bytes = records::encode("write the operation record", record)?;
                self.write_record(GUEST_OPERATION, &bytes, record.epoch).await
            }
            None => self.files.remove(GUEST_OPERATION).await,
        }
    }

    async fn lock(&self, epoch: i64, operation: i64) -> Result<(), GuestError> {
        let ours = Lock { epoch, operation };
        let bytes = records::encode("write the lock", &ours)?;
        let (folder, _) = paths::split(GUEST_LOCK);
        self.files.make_folder(folder, 0o700).await?;
        if self.files.create_new(GUEST_LOCK, &bytes).await? {
            return Ok(());
        }
        if let Some(held) = self.held_lock().await? {
            held.yields_to(epoch)?;
        }
        self.files.write(GUEST_LOCK, &bytes, 0o600).await?;
        // Two may have found the same old lock.
        match self.held_lock().await? {
            Some(held) => held.yields_to(epoch),
            None => Ok(()),
        }
    }

    async fn unlock(&self, epoch: i64) -> Result<(), GuestError> {
        let Some(held) = self.held_lock().await? else {
            return Ok(());
        };
        held.yields_to(epoch)?;
        if held.epoch == epoch {
            self.files.remove(GUEST_LOCK).await?;
        }
        Ok(())
    }

    async fn own_units(&self) -> Result<Vec<String>, GuestError> {
        units::names(&self.bus).await
    }

    async fn preflight(&self, query: &PreflightQuery) -> Result<Preflight, GuestError> {
        preflight::answer(&self.files, &self.bus, query).await
    }

    async fn units(&self, names: &[UnitName]) -> Result<Vec<UnitFacts>, GuestError> {
        units::facts(&self.bus, names).await
    }

    async fn make_accounts(&self, asked: &Accounts) -> Result<(), GuestError> {
        let lines = accounts::sysusers(asked);
        if lines.is_empty() {
            return Ok(());
        }
        let fixed = ["/usr/bin/systemd-sysusers", "--inline"].map(str::to_owned);
        let argv: Vec<String> = fixed.into_iter().chain(lines).collect();
        if transient::succeeds(&self.bus, &argv).await? {
            return Ok(());
        }
        Err(GuestError::Failed {
            call: "make accounts",
            message: "systemd-sysusers failed".into(),
        })
    }

    async fn write_files(&self, files: &[DesiredFile]) -> Result<usize, GuestError> {
        for file in files {
            paths::check("write files", &file.path)?;
        }
        // All of them end, also after a failure: none is left open in the guest.
        let written = join_all(files.iter().map(|file| self.write_file(file))).await;
        let written: Vec<bool> = written.into_iter().collect::<Result<_, _>>()?;
        let changed = files.iter().zip(&written).filter(|(_, written)| **written);
        let folders: BTreeSet<&str> = changed.map(|(file, _)| paths::split(&file.path).0).collect();
        try_join_all(folders.into_iter().map(|folder| self.files.sync_folder(folder))).await?;
        Ok(written.into_iter().filter(|written| *written).count())
    }

    async fn remove_files(&self, list: &[String]) -> Result<(), GuestError> {
        for path in list {
            paths::check("remove files", path)?;
        }
        let removed = join_all(list.iter().map(|path| self.remove_file(path))).await;
        removed.into_iter().collect()
    }

    async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, GuestError> {
        paths::check("read a file", path)?;
        self.files.read(path, MAX_FILE).await
    }

    async fn reload(&self) -> Result<(), GuestError> {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.bus.manage("Reload", &()).await
    }

    async fn enable(&self, list: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        units::change_files(&self.bus, FileChange::Enable, list).await
    }

    async fn disable(&self, list: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        units::change_files(&self.bus, FileChange::Disable, list).await
    }

    async fn mask(&self, list: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        units::change_files(&self.bus, FileChange::Mask, list).await
    }

    async fn unmask(&self, list: &[UnitName]) -> Result<Vec<JobOutcome>, GuestError> {
        units::change_files(&self.bus, FileChange::Unmask, list).await
    }

    async fn run_jobs(&self, list: &[(JobKind, UnitName)]) -> Result<Vec<JobOutcome>, GuestError> {
        self.jobs.fetch_add(list.len() as u64, Ordering::Relaxed);
        jobs::run(&self.bus, list).await
    }

    async fn reset_failed(&self, list: &[UnitName]) -> Result<(), GuestError> {
        units::reset_failed(&self.bus, list).await
    }

    async fn set_clock(&self, now: Timestamp) -> Result<(), GuestError> {
        // timedate1 refuses while the guest synchronises its time; date(1) does not.
        let argv = [
            "/usr/bin/date".to_owned(),
            "--set".to_owned(),
            format!("@{}", now.as_second()),
        ];
        if transient::succeeds(&self.bus, &argv).await? {
            return Ok(());
        }
        Err(GuestError::Failed {
            call: "set the clock",
            message: "date failed".into(),
        })
    }

    fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            sent: load(&self.session.meter.sent),
            received: load(&self.session.meter.received),
            files_written: load(&self.written),
            jobs: load(&self.jobs),
            reloads: load(&self.reloads),
        }
    }
}
