//! Driver of TwinClass: whether everything it names exists, how many twins use it, and that it stays
//! while one does.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::names::CLASS_FINALIZER;
use safetytwin_crds::{Conditions as _, TwinClass};

use super::api;
use super::backoff;
use super::context::Context;
use super::error::Error;
use super::ports::{Site, TlsCredentials};

/// How soon a class that is not whole is looked at again: it heals without help.
const RECHECK: Duration = Duration::from_secs(30);

/// One look at a class.
pub async fn reconcile(class: Arc<TwinClass>, ctx: Arc<Context>) -> Result<Action, Error> {
    let classes: Api<TwinClass> = Api::all(ctx.client.clone());
    let Some(class) = api::read("read the class", &classes, &class.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let name = class.name_any();
    let twins = ctx.all_twins().await?;
    let users = twins.iter().filter(|t| t.spec.class_name == name).count();
    if class.metadata.deletion_timestamp.is_some() && users == 0 {
        api::set_finalizer(&classes, &class, CLASS_FINALIZER, false).await?;
        return Ok(Action::await_change());
    }
    let class = if class.metadata.deletion_timestamp.is_none() {
        api::set_finalizer(&classes, &class, CLASS_FINALIZER, users > 0).await?
    } else {
        class
    };
    let verdict = verdict(&ctx, &class).await;
    let whole = verdict.status == safetytwin_crds::ConditionStatus::True;
    write(&ctx, &classes, class, verdict, users).await?;
    Ok(Action::requeue(if whole { backoff::resync() } else { RECHECK }))
}

async fn verdict(ctx: &Context, class: &TwinClass) -> Verdict {
    let checked = async {
        let site = site(ctx, class).await?;
        ctx.hypervisors.check(&site).await.map_err(Error::from)
    };
    match checked.await {
        Ok(()) => Verdict::yes("Usable", "hypervisor, pool, network and image are there"),
        Err(error) => Verdict::no(error.reason(), error.to_string()),
    }
}

async fn write(
    ctx: &Context,
    classes: &Api<TwinClass>,
    class: TwinClass,
    verdict: Verdict,
    users: usize,
) -> Result<(), Error> {
    let mut status = class.status.clone().unwrap_or_default();
    status.twins = i32::try_from(users).unwrap_or(i32::MAX);
    status.observed_generation = class.metadata.generation;
    let (reason, message) = (verdict.reason.clone(), verdict.message.clone());
    let before = status.conditions.find(types::READY).map(|c| c.reason.clone());
    status
        .conditions
        .set(types::READY, verdict, class.metadata.generation, ctx.clock.now());
    if class.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut fresh = class.clone();
    fresh.status = Some(status);
    api::write_status("write the class's status", classes, &fresh).await?;
    if before.as_deref() != Some(reason.as_str()) && reason != "Usable" {
        ctx.events.warning(&class, &reason, &message).await;
    }
    Ok(())
}

/// The hypervisor that a class names, with its credentials. Errors: the Secret is missing or not whole.
pub async fn site(ctx: &Context, class: &TwinClass) -> Result<Site, Error> {
    let libvirt = class.spec.libvirt.clone();
    let Some(reference) = &libvirt.credentials_ref else {
        return Ok(Site {
            libvirt,
            credentials: None,
        });
    };
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &ctx.namespace);
    let secret = api::read("read the class's credentials", &secrets, &reference.name).await?;
    let part = |key: &str| Some(secret.as_ref()?.data.as_ref()?.get(key)?.0.clone());
    let found = (part("ca.crt"), part("tls.crt"), part("tls.key"));
    let (Some(ca), Some(certificate), Some(key)) = found else {
        return Err(Error::Terminal {
            reason: "CredentialsMissing",
            message: format!(
                "Secret {}/{} must hold ca.crt, tls.crt and tls.key",
                ctx.namespace, reference.name
            ),
        });
    };
    Ok(Site {
        libvirt,
        credentials: Some(TlsCredentials { ca, certificate, key }),
    })
}
