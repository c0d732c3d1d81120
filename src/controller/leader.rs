//! Leader election: one process acts. A Lease is a hint, not mutual exclusion; what fences is the
//! epoch and the resourceVersion of every status write. Losing the lease ends the process.
//!
//! The only module that knows `kube-lease-manager`.

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;

/// Name of the Lease in the controller's namespace.
pub const LEASE: &str = "safetytwin-controller";
/// Seconds that a lease holds; longer than any single call of a step.
const DURATION: u64 = 30;
/// Seconds before its end at which it is renewed.
const GRACE: u64 = 10;

/// Waits until this process leads and answers a watch that turns false when it no longer does.
/// `identity` tells replicas apart.
pub async fn acquire(
    client: Client,
    namespace: &str,
    identity: &str,
) -> Result<watch::Receiver<bool>, LeaseManagerError> {
    let manager = LeaseManagerBuilder::new(client, LEASE)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await?;
    let (mut leads, task) = manager.watch().await;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let now = *leads.borrow_and_update();
            // When nobody listens the process ends anyway.
            let _unheard = tell.send(now);
            if leads.changed().await.is_err() {
                break;
            }
        }
        let _unheard = tell.send(false);
        if let Ok(Err(error)) = task.await {
            tracing::error!(%error, "failed to keep the lease");
        }
    });
    let mut waiting = told.clone();
    // An error means that the task ended: the lease cannot be had.
    let _ended = waiting.wait_for(|leads| *leads).await;
    Ok(told)
}
