//! The frame around every reconcile: objects that do not decode, errors, panics, back-off, metrics.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use super::backoff;
use super::context::Context;
use super::error::Error;
use super::health::Begun;

/// Runs `reconcile` for a watched object. Never fails: an error becomes a wait.
///
/// An object that does not decode waits for a change; the others go on. A panic ends this reconcile
/// only and counts as a transient failure.
pub async fn drive<K, F, R>(
    kind: &'static str,
    object: Arc<DeserializeGuard<K>>,
    ctx: Arc<Context>,
    reconcile: F,
) -> Result<Action, Infallible>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    F: FnOnce(Arc<K>, Arc<Context>) -> R,
    R: Future<Output = Result<Action, Error>> + Send + 'static,
{
    if ctx.may_act().is_err() {
        return Ok(Action::requeue(backoff::FIRST));
    }
    let busy = Busy::new(Arc::clone(&ctx), kind);
    let object = match &object.0 {
        Ok(object) => Arc::new(object.clone()),
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::error!(kind, name, error = %invalid, "refused an object that does not decode");
            ctx.metrics.reconciled(kind, Default::default(), Some("Invalid"));
            return Ok(Action::requeue(backoff::resync()));
        }
    };
    let meta = object.meta();
    let uid = meta.uid.clone().unwrap_or_default();
    let (name, generation) = (meta.name.clone().unwrap_or_default(), meta.generation);
    let namespace = meta.namespace.clone().unwrap_or_default();
    let begun = Instant::now();
    let outcome = guarded(busy, reconcile(object, Arc::clone(&ctx))).await;
    let failure = outcome.as_ref().err().map(Error::reason);
    ctx.metrics.reconciled(kind, begun.elapsed(), failure);
    Ok(match outcome {
        Ok(action) => {
            ctx.backoffs.forget(&uid);
            action
        }
        Err(error) if error.is_conflict() => Action::requeue(backoff::FIRST / 5),
        Err(Error::Stopped(why)) => {
            tracing::info!(kind, namespace, name, why, "left unfinished; resumes later");
            Action::requeue(backoff::FIRST)
        }
        Err(error) => {
            let wait = if error.is_transient() {
                ctx.backoffs.failed(&uid, generation)
            } else {
                backoff::resync()
            };
            tracing::warn!(kind, namespace, name, reason = error.reason(), wait_s = wait.as_secs(), %error, "failed to reconcile");
            Action::requeue(wait)
        }
    })
}

/// Runs the work as a task of its own, which carries the count: a driver that stops may not look at it again.
async fn guarded<R>(busy: Busy, work: R) -> Result<Action, Error>
where
    R: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let counted = async move {
        let _busy = busy;
        work.await
    };
    tokio::spawn(counted).await.unwrap_or(Err(Error::NotYet {
        reason: "Panicked",
        message: "a reconcile ended in a panic; this is a bug of the controller".into(),
    }))
}

/// Counts a running reconcile for as long as it lives.
struct Busy {
    ctx: Arc<Context>,
    _begun: Begun,
}

impl Busy {
    fn new(ctx: Arc<Context>, kind: &'static str) -> Self {
        ctx.busy.send_modify(|busy| *busy += 1);
        let _begun = ctx.pulse.begin(kind);
        Self { ctx, _begun }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.ctx.busy.send_modify(|busy| *busy -= 1);
    }
}
