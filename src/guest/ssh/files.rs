//! Files of the guest over SFTP.
//!
//! A file is made beside its place, synced, and renamed there, so that it is whole or old. Requests of one batch
//! are in flight together. Paths are ours only; what the server answers is never used as a path.

use std::sync::Arc;
use std::time::Duration;

use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use safetytwin_crds::digest::Digest;
use tokio::sync::Semaphore;

use super::session::{Meter, Session, lost};
use crate::guest::GuestError;

/// How an adopted guest's user reaches SFTP as root; one of the two commands that its sudoers allows.
const SUDO_SFTP: &str = "sudo -n /usr/lib/openssh/sftp-server";
const RENAME: &str = "posix-rename@openssh.com";
/// Longest time for one file.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest piece of one request; every server takes 32 KiB.
const PIECE: usize = 32 * 1024;
/// PATH_MAX of Linux.
const MAX_PATH: usize = 4095;

/// Files that are open at once. OpenSSH's handles are numbers; above 127 they are no text, which the
/// SFTP library cannot carry.
const OPEN_FILES: usize = 32;

/// SFTP on a channel of the session.
pub(super) struct Files {
    sftp: RawSftpSession,
    open_files: Semaphore,
    meter: Arc<Meter>,
}

impl Files {
    pub(super) async fn open(session: &Session, login: &str) -> Result<Self, GuestError> {
        const CALL: &str = "start SFTP";
        let channel = session.channel(CALL).await?;
        let started = match login {
            "root" => channel.request_subsystem(true, "sftp").await,
            _ => channel.exec(true, SUDO_SFTP).await,
        };
        started.map_err(|error| lost(CALL, error))?;
        let sftp = RawSftpSession::new(channel.into_stream());
        sftp.init().await.map_err(|error| failed(CALL, "", &error))?;
        Ok(Self {
            sftp,
            open_files: Semaphore::new(OPEN_FILES),
            meter: Arc::clone(&session.meter),
        })
    }

    /// Runs a call under its deadline; a lost one ends the connection.
    async fn within<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, GuestError>>,
    ) -> Result<T, GuestError> {
        self.meter.note(super::within(call, LIMIT, work).await)
    }

    /// As [`within`](Self::within), for calls that open a file; waiting for their turn is not counted.
    async fn with_file<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, GuestError>>,
    ) -> Result<T, GuestError> {
        let _turn = self
            .open_files
            .acquire()
            .await
            .map_err(|error| lost(call, error))?;
        self.within(call, work).await
    }

    /// The bytes of a file; `None` when it does not exist.
    pub(super) async fn read(&self, path: &str, cap: usize) -> Result<Option<Vec<u8>>, GuestError> {
        const CALL: &str = "read a file";
        self.with_file(CALL, async {
            let opened = self
                .sftp
                .open(path, OpenFlags::READ, FileAttributes::empty())
                .await;
            let Some(handle) = present(CALL, path, opened)? else {
                return Ok(None);
            };
            let read = self.read_all(&handle.handle, path, cap).await;
            self.sftp
                .close(handle.handle)
                .await
                .map_err(|error| failed(CALL, path, &error))?;
            read.map(Some)
        })
        .await
    }

    async fn read_all(&self, handle: &str, path: &str, cap: usize) -> Result<Vec<u8>, GuestError> {
        const CALL: &str = "read a file";
        let mut bytes = Vec::new();
        loop {
            let piece = self.sftp.read(handle, bytes.len() as u64, PIECE as u32).await;
            match piece {
                Ok(data) if data.data.is_empty() => return Ok(bytes),
                Ok(data) => bytes.extend(data.data),
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => return Ok(bytes),
                Err(error) => return Err(failed(CALL, path, &error)),
            }
            if bytes.len() > cap {
                return Err(GuestError::Failed {
                    call: CALL,
                    message: format!("{path} is larger than {cap} bytes"),
                });
            }
        }
    }

    /// Writes a file: made beside its place with `mode`, synced, renamed over it.
    pub(super) async fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), GuestError> {
        const CALL: &str = "write a file";
        self.with_file(CALL, async {
            let beside = beside(path);
            let filled = self.fill(&beside, bytes, mode).await;
            filled.map_err(|error| failed(CALL, path, &error))?;
            self.rename(&beside, path).await
        })
        .await
    }

    async fn fill(&self, path: &str, bytes: &[u8], mode: u32) -> SftpResult<()> {
        let attributes = FileAttributes {
            permissions: Some(mode),
            ..FileAttributes::empty()
        };
        // Exclusive, so that nothing planted under this name is followed.
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let opened = match self.sftp.open(path, flags, attributes.clone()).await {
            Err(Error::Status(_)) => {
                // A crash left it.
                let _gone = self.sftp.remove(path).await;
                self.sftp.open(path, flags, attributes.clone()).await
            }
            opened => opened,
        };
        let handle = opened?.handle;
        let filled = self.fill_open(&handle, bytes, attributes).await;
        self.sftp.close(handle).await?;
        filled
    }

    async fn fill_open(&self, handle: &str, bytes: &[u8], attributes: FileAttributes) -> SftpResult<()> {
        for (piece, chunk) in bytes.chunks(PIECE).enumerate() {
            let offset = (piece * PIECE) as u64;
            self.sftp.write(handle, offset, chunk.to_vec()).await?;
        }
        // The umask of the server must not decide.
        self.sftp.fsetstat(handle, attributes).await?;
        self.sftp.fsync(handle).await.map(drop)
    }

    /// Syncs a directory, so that the names in it survive a power cut.
    pub(super) async fn sync_folder(&self, path: &str) -> Result<(), GuestError> {
        const CALL: &str = "sync a directory";
        self.with_file(CALL, async {
            let opened = self.sftp.open(path, OpenFlags::READ, FileAttributes::empty());
            let handle = opened.await.map_err(|e| failed(CALL, path, &e))?.handle;
            let synced = self.sftp.fsync(handle.as_str()).await;
            self.sftp
                .close(handle)
                .await
                .map_err(|e| failed(CALL, path, &e))?;
            synced.map(drop).map_err(|e| failed(CALL, path, &e))
        })
        .await
    }

    /// rename(2): replaces an existing target, which SFTP's own rename does not.
    async fn rename(&self, from: &str, to: &str) -> Result<(), GuestError> {
        const CALL: &str = "rename a file";
        let mut data = Vec::new();
        for path in [from, to] {
            let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
            data.extend(length.to_be_bytes());
            data.extend(path.as_bytes());
        }
        match self.sftp.extended(RENAME, data).await {
            Ok(Packet::Status(status)) if status.status_code == StatusCode::Ok => Ok(()),
            Ok(Packet::Status(status)) => Err(failed(CALL, to, &Error::Status(status))),
            Ok(_) => Err(failed(CALL, to, &Error::UnexpectedPacket)),
            Err(error) => Err(failed(CALL, to, &error)),
        }
    }

    /// Makes a file that must not exist yet; answers false when it does.
    pub(super) async fn create_new(&self, path: &str, bytes: &[u8]) -> Result<bool, GuestError> {
        const CALL: &str = "create a file";
        self.with_file(CALL, async {
            let attributes = FileAttributes {
                permissions: Some(0o600),
                ..FileAttributes::empty()
            };
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
            let handle = match self.sftp.open(path, flags, attributes).await {
                Ok(handle) => handle.handle,
                // SFTP has no code for "exists": any refusal is settled by reading what is there.
                Err(Error::Status(_)) => return Ok(false),
                Err(error) => return Err(failed(CALL, path, &error)),
            };
            self.sftp
                .write(handle.as_str(), 0, bytes.to_vec())
                .await
                .map_err(|e| failed(CALL, path, &e))?;
            self.sftp
                .close(handle)
                .await
                .map_err(|e| failed(CALL, path, &e))?;
            Ok(true)
        })
        .await
    }

    /// Removes a file; a missing one is success.
    pub(super) async fn remove(&self, path: &str) -> Result<(), GuestError> {
        const CALL: &str = "remove a file";
        let removed = self
            .within(CALL, async { Ok(self.sftp.remove(path).await) })
            .await?;
        present(CALL, path, removed).map(|_| ())
    }

    /// Removes a directory if it is empty; anything else leaves it.
    pub(super) async fn remove_empty_folder(&self, path: &str) -> Result<(), GuestError> {
        self.within("remove a directory", async { Ok(self.sftp.rmdir(path).await) })
            .await
            .map(|_| ())
    }

    /// Makes a directory with this mode; an existing one stays as it is.
    pub(super) async fn make_folder(&self, path: &str, mode: u32) -> Result<(), GuestError> {
        let attributes = FileAttributes {
            permissions: Some(mode),
            ..FileAttributes::empty()
        };
        // "Exists" and "failed" are one code: whoever writes into it next finds out.
        self.within("make a directory", async {
            Ok(self.sftp.mkdir(path, attributes).await)
        })
        .await
        .map(|_| ())
    }

    /// What a path leads to, symbolic links followed; `None` when nothing usable is there.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Mode>, GuestError> {
        const CALL: &str = "look at a file";
        // sshd's SFTP server ends when a path holds a NUL.
        if !path.starts_with('/') || path.contains('\0') || path.len() > MAX_PATH {
            return Ok(None);
        }
        let found = self.within(CALL, async {
            match self.sftp.stat(path).await {
                Ok(attributes) => Ok(attributes.attrs.permissions.map(Mode)),
                Err(Error::Status(_)) => Ok(None),
                Err(error) => Err(failed(CALL, path, &error)),
            }
        });
        found.await
    }
}

/// `st_mode` of a file (inode(7)).
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode(u32);

impl Mode {
    pub(super) fn is_file(self) -> bool {
        self.0 & 0o170_000 == 0o100_000
    }

    pub(super) fn is_directory(self) -> bool {
        self.0 & 0o170_000 == 0o040_000
    }

    pub(super) fn is_executable(self) -> bool {
        self.is_file() && self.0 & 0o111 != 0
    }
}

/// Where a file is made: in its directory, the same name each time, so that leftovers do not pile up. The dot makes
/// the service manager ignore it; the digest keeps it short, since a unit's name may be as long as a file's.
fn beside(path: &str) -> String {
    let (folder, name) = crate::guest::paths::split(path);
    format!("{folder}/.safetytwin-{}", Digest::of(name.as_bytes()).short())
}

/// `None` for "no such file".
fn present<T>(call: &'static str, path: &str, result: SftpResult<T>) -> Result<Option<T>, GuestError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(None),
        Err(error) => Err(failed(call, path, &error)),
    }
}

fn failed(call: &'static str, path: &str, error: &Error) -> GuestError {
    let message = safetytwin_crds::names::printable(&format!("{path}: {error}"), 300);
    match error {
        Error::Status(_) | Error::Limited(_) => GuestError::Failed { call, message },
        _ => GuestError::Lost { call, message },
    }
}
