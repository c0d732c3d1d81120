//! Driver of DigitalTwin: gather → plan → execute → status.
//!
//! One reconcile holds the twin's lock. What is begun is finished first; then the twin is settled
//! (nothing changed: no SSH byte, no write), waits (with a reason), or is worked on.

pub mod access;
pub mod conditions;
pub mod delete;
pub mod gather;
pub mod home;
pub mod permit;
pub mod publish;
pub mod work;

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::DigitalTwin;
use safetytwin_crds::digitaltwin::OperationKind;
use safetytwin_crds::names::TWIN_FINALIZER;

use super::api;
use super::context::Context;
use super::error::Error;
use super::ledger::Ledger;
use super::operation::{Job, apply, point, restore};
use super::sections::replicated;
use conditions::{Findings, Stop};
use home::{Home, uid_of};
use publish::Next;

/// One look at a twin.
pub async fn reconcile(twin: Arc<DigitalTwin>, ctx: Arc<Context>) -> Result<Action, Error> {
    let uid = uid_of(&twin)?;
    let lock = ctx.memory.lock_of(&uid);
    let _turn = lock.lock().await;
    let twins: Api<DigitalTwin> = Api::namespaced(ctx.client.clone(), &twin.namespace().unwrap_or_default());
    let Some(twin) = api::read("read the twin", &twins, &twin.name_any()).await? else {
        ctx.memory.forget_twin(&uid);
        return Ok(Action::await_change());
    };
    if twin.uid().as_deref() != Some(&uid) {
        return Ok(Action::await_change());
    }
    if twin.metadata.deletion_timestamp.is_some() {
        return delete::reconcile(&ctx, twin).await;
    }
    ctx.may_act()?;
    let twin = api::set_finalizer(&twins, &twin, TWIN_FINALIZER, true).await?;
    let ledger = Ledger::new(&ctx.client, twin, ctx.running.clone());
    let mut findings = Findings::default();
    let outcome = pipeline(&ctx, &ledger, &mut findings).await;
    publish::publish(&ctx, &ledger, findings, outcome).await
}

async fn pipeline(ctx: &Context, ledger: &Ledger, findings: &mut Findings) -> Result<Next, Error> {
    let twin = ledger.twin().await;
    let class = match permit::class(ctx, &twin).await? {
        Ok(class) => class,
        Err(refusal) => return Ok(Next::refused(refusal, findings)),
    };
    let host = permit::host(ctx, &twin).await?;
    let has_vm = twin.status.as_ref().is_some_and(|s| s.vm.is_some());
    let host = match host {
        Ok(host) => Ok(host),
        Err(refusal) if !has_vm => return Ok(Next::refused(refusal, findings)),
        Err(refusal) => Err(refusal),
    };
    if twin.spec.suspend {
        findings.stop = Some(Stop::new("Suspended", "spec.suspend is true"));
        return Ok(Next::Resync);
    }
    let home = Home::open(ctx, &twin, &class).await?;
    let facts = gather::machine(ctx, ledger, &home, findings).await?;
    let job = Job {
        ctx,
        ledger,
        home: &home,
        facts: &facts,
    };
    if let Some(operation) = ledger.status().await.operation {
        match operation.kind {
            OperationKind::Apply => apply::resume(&job, &operation).await?,
            OperationKind::Point => point::resume(&job, &operation).await?,
            OperationKind::Restore => restore::resume(&job, &operation).await?,
        }
        return Ok(Next::Again);
    }
    let host = match host {
        Ok(host) => host,
        Err(refusal) => return Ok(Next::refused(refusal, findings)),
    };
    findings.host_fresh = Some(gather::freshness(&host));
    if let Some(hold) = permit::hold(ctx, &twin).await? {
        let message = format!(
            "held by TwinRestore {}: set its spec.hold to false to let the twin catch up",
            hold.name_any()
        );
        findings.stop = Some(Stop::new("Held", message));
        ledger.update(|s| s.held_by = Some(hold.name_any())).await?;
        return Ok(Next::Resync);
    }
    ledger.update(|s| s.held_by = None).await?;
    findings.stop = gather::gaps(&host.spec.sections, &replicated(&twin.spec));
    if gather::is_settled(ctx, &ledger.twin().await, &host, &facts) {
        return Ok(gather::rest(ctx, &ledger.twin().await));
    }
    work::work(&job, host, findings).await
}
