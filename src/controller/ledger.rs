//! The twin's status while an operation runs: one writer, always under the resourceVersion that was
//! read last. A write that is refused (409) means that somebody else acts: the operation stops
//! here and resumes from a fresh read.

use kube::{Api, Client, ResourceExt as _};
use safetytwin_crds::{DigitalTwin, DigitalTwinStatus};
use tokio::sync::{Mutex, watch};

use super::api;
use super::error::Error;

/// The status of one twin and the right to write it.
pub struct Ledger {
    api: Api<DigitalTwin>,
    twin: Mutex<DigitalTwin>,
    running: watch::Receiver<bool>,
}

impl Ledger {
    /// Takes over the status of `twin`, which was just read. `running` turns false when this
    /// process must not act any longer.
    pub fn new(client: &Client, twin: DigitalTwin, running: watch::Receiver<bool>) -> Self {
        let namespace = twin.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            twin: Mutex::new(twin),
            running,
        }
    }

    /// The twin as last read or written.
    pub async fn twin(&self) -> DigitalTwin {
        self.twin.lock().await.clone()
    }

    /// The status as last read or written.
    pub async fn status(&self) -> DigitalTwinStatus {
        self.twin.lock().await.status.clone().unwrap_or_default()
    }

    /// Changes the status and writes it; equal content is not written.
    pub async fn update(&self, change: impl FnOnce(&mut DigitalTwinStatus) + Send) -> Result<(), Error> {
        let mut twin = self.twin.lock().await;
        let mut status = twin.status.clone().unwrap_or_default();
        change(&mut status);
        if twin.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut fresh = twin.clone();
        fresh.status = Some(status);
        *twin = api::write_status("write the twin's status", &self.api, &fresh).await?;
        Ok(())
    }

    /// Proves that this process still leads and that nobody else wrote: the status is sent again
    /// unchanged, which the server checks against the resourceVersion and does not store.
    pub async fn guard(&self) -> Result<(), Error> {
        if !*self.running.borrow() {
            return Err(Error::Stopped("the controller stops or leads no longer"));
        }
        let mut twin = self.twin.lock().await;
        *twin = api::write_status("confirm the twin's status", &self.api, &*twin).await?;
        Ok(())
    }
}
