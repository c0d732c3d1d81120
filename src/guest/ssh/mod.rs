//! The guest over SSH: one connection per twin, SFTP for files, D-Bus over a channel for units.
//!
//! ```text
//! SshDoor ─connect─▶ session (host key first, then login) ─▶ SshGuest{ files: SFTP, bus: systemd-stdio-bridge }
//! ```
//! The two remote commands are constants (`sftp` subsystem, `bus::BRIDGE`); nothing of a host is part of one.
//! Every call has a deadline; what the guest answers is capped and decoded as hostile input.

mod bus;
mod files;
mod guest;
pub mod interactive;
mod jobs;
mod preflight;
#[cfg(test)]
mod real;
mod session;
mod transient;
mod units;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Guest, GuestAddress, GuestDoor, GuestError};
use guest::SshGuest;

/// Longest time for a connection with its login.
const CONNECT: Duration = Duration::from_secs(15);

/// The way into one twin's guest. Keeps the live connection.
#[derive(Default)]
pub struct SshDoor {
    live: Mutex<Option<Arc<SshGuest>>>,
}

#[async_trait]
impl GuestDoor for SshDoor {
    async fn connect(&self, address: &GuestAddress) -> Result<Arc<dyn Guest>, GuestError> {
        let mut live = self.live.lock().await;
        if let Some(guest) = live.as_ref().filter(|guest| guest.is_open()) {
            return Ok(Arc::clone(guest) as Arc<dyn Guest>);
        }
        let guest = Arc::new(within("connect", CONNECT, SshGuest::open(address)).await?);
        *live = Some(Arc::clone(&guest));
        Ok(guest)
    }

    async fn prove(&self, address: &GuestAddress) -> Result<(), GuestError> {
        let session = within("prove a new connection", CONNECT, session::open(address)).await?;
        session.close().await;
        Ok(())
    }

    async fn hang_up(&self) {
        if let Some(guest) = self.live.lock().await.take() {
            guest.close().await;
        }
    }
}

/// Runs a call under a deadline.
async fn within<T>(
    call: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(GuestError::Lost {
            call,
            message: format!("no answer within {} s", limit.as_secs()),
        }),
    }
}
