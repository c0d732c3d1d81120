//! Files of the guest over SFTP.
//!
//! A file is made beside its place, synced, and renamed there, so that it is whole or old. Requests of one batch
//! are in flight together. Paths are ours only; what the server answers is never used as a path.

use std::time::Duration;

use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};

use super::session::{Session, lost};
use super::within;
use crate::guest::GuestError;

const RENAME: &str = "posix-rename@openssh.com";
/// Longest time for one file.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest piece of one request; every server takes 32 KiB.
const PIECE: usize = 32 * 1024;

/// SFTP on a channel of the session.
pub(super) struct Files {
    sftp: RawSftpSession,
}

impl Files {
    pub(super) async fn open(session: &Session) -> Result<Self, GuestError> {
        const CALL: &str = "start SFTP";
        let channel = session.channel(CALL).await?;
        channel
            .request_subsystem(true, "sftp")
            .await
            .map_err(|error| lost(CALL, error))?;
        let sftp = RawSftpSession::new(channel.into_stream());
        sftp.init().await.map_err(|error| failed(CALL, "", &error))?;
        Ok(Self { sftp })
    }

    /// The bytes of a file; `None` when it does not exist.
    pub(super) async fn read(&self, path: &str, cap: usize) -> Result<Option<Vec<u8>>, GuestError> {
        const CALL: &str = "read a file";
        within(CALL, LIMIT, async {
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
        within(CALL, LIMIT, async {
            let (folder, name) = crate::guest::paths::split(path);
            // A dot in front: the service manager ignores what a crash leaves.
            let beside = format!("{folder}/.{name}.safetytwin");
            let attributes = FileAttributes {
                permissions: Some(mode),
                ..FileAttributes::empty()
            };
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
            let handle = self
                .sftp
                .open(beside.as_str(), flags, attributes.clone())
                .await
                .map_err(|e| failed(CALL, path, &e))?
                .handle;
            for (piece, chunk) in bytes.chunks(PIECE).enumerate() {
                let offset = (piece * PIECE) as u64;
                self.sftp
                    .write(handle.as_str(), offset, chunk.to_vec())
                    .await
                    .map_err(|e| failed(CALL, path, &e))?;
            }
            // The umask of the server must not decide.
            self.sftp
                .fsetstat(handle.as_str(), attributes)
                .await
                .map_err(|e| failed(CALL, path, &e))?;
            self.sftp
                .fsync(handle.as_str())
                .await
                .map_err(|e| failed(CALL, path, &e))?;
            self.sftp
                .close(handle)
                .await
                .map_err(|e| failed(CALL, path, &e))?;
            self.rename(&beside, path).await
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
        within(CALL, LIMIT, async {
            let attributes = FileAttributes {
                permissions: Some(0o600),
                ..FileAttributes::empty()
            };
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
            // SFTP has no code for "exists": any refusal is settled by reading what is there.
            let Ok(handle) = self.sftp.open(path, flags, attributes).await else {
                return Ok(false);
            };
            let handle = handle.handle;
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
        let removed = within(CALL, LIMIT, async { Ok(self.sftp.remove(path).await) }).await?;
        present(CALL, path, removed).map(|_| ())
    }

    /// Removes a directory if it is empty; anything else leaves it.
    pub(super) async fn remove_empty_folder(&self, path: &str) -> Result<(), GuestError> {
        within("remove a directory", LIMIT, async {
            Ok(self.sftp.rmdir(path).await)
        })
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
        within("make a directory", LIMIT, async {
            Ok(self.sftp.mkdir(path, attributes).await)
        })
        .await
        .map(|_| ())
    }

    /// Type and permissions of what a path leads to; `None` when nothing is there.
    pub(super) async fn stat(&self, path: &str) -> Result<Option<FileAttributes>, GuestError> {
        const CALL: &str = "look at a file";
        let found = within(CALL, LIMIT, async { Ok(self.sftp.stat(path).await) }).await?;
        Ok(present(CALL, path, found)?.map(|attributes| attributes.attrs))
    }
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
