//! Driver of TwinClass: whether everything it names exists, how many twins use it, and that it stays
//! while one does.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::{Verdict, types};
use safetytwin_crds::names::CLASS_FINALIZER;
use safetytwin_crds::{ConditionStatus, Conditions as _, DigitalTwin, TwinClass};

use super::api;
use super::backoff;
use super::context::Context;
use super::credentials;
use super::error::Error;
use super::ports::Site;
use crate::vm::TlsCredentials;

/// How soon a class is looked at again that is not whole, because it heals without help, or that has
/// a Secret, because Secrets are not watched.
const RECHECK: Duration = Duration::from_secs(30);

/// One look at a class.
pub async fn reconcile(class: Arc<TwinClass>, ctx: Arc<Context>) -> Result<Action, Error> {
    let classes: Api<TwinClass> = Api::all(ctx.client.clone());
    let Some(class) = api::read("read the class", &classes, &class.name_any()).await? else {
        ctx.memory.forget_class(&class.name_any());
        return Ok(Action::await_change());
    };
    let name = class.name_any();
    let twins = ctx.all_twins().await?;
    let users = twins.iter().filter(|t| t.spec.class_name == name).count();
    if class.metadata.deletion_timestamp.is_some() && users == 0 {
        api::set_finalizer(&classes, &class, CLASS_FINALIZER, false).await?;
        ctx.memory.forget_class(&name);
        return Ok(Action::await_change());
    }
    let class = if class.metadata.deletion_timestamp.is_none() {
        api::set_finalizer(&classes, &class, CLASS_FINALIZER, users > 0).await?
    } else {
        class
    };
    let site = site(&ctx, &class).await;
    if let Ok(site) = &site {
        follow_rotation(&ctx, &name, site, &twins);
    }
    let verdict = verdict(&ctx, site).await;
    let soon = verdict.status != ConditionStatus::True || class.spec.libvirt.credentials_ref.is_some();
    write(&ctx, &classes, class, verdict, users).await?;
    Ok(Action::requeue(if soon { RECHECK } else { backoff::resync() }))
}

async fn verdict(ctx: &Context, site: Result<Site, Error>) -> Verdict {
    let checked = match site {
        Ok(site) => ctx.hypervisors.check(&site).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    match checked {
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
    let credentials = match &libvirt.credentials_ref {
        Some(secret) => Some(credentials::read(&ctx.client, &ctx.namespace, &secret.name).await?),
        None => None,
    };
    Ok(Site { libvirt, credentials })
}

/// Wakes the twins of a class whose client certificate was replaced: each opens its VM again, and
/// with that a connection of the new one.
fn follow_rotation(ctx: &Context, class: &str, site: &Site, twins: &[Arc<DigitalTwin>]) {
    let digest = site.credentials.as_ref().map(TlsCredentials::digest);
    if !ctx.memory.saw_credentials(class, digest) {
        return;
    }
    tracing::info!(class, "the client certificate was replaced");
    for twin in twins.iter().filter(|t| t.spec.class_name == class) {
        ctx.memory
            .wake_twin(&twin.namespace().unwrap_or_default(), &twin.name_any());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use axum::http::{Method, Request, Response};
    use k8s_openapi::ByteString;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::controller::backends::SshDoors;
    use crate::controller::ports::{Hypervisor, SystemClock};
    use crate::controller::run::{Ports, Settings};
    use crate::vm::{TwinVm, VmError, VmSpec};

    /// What the API server has: the class, its Secret, and a twin of it.
    type Stored = Arc<Mutex<(Value, Option<Value>)>>;

    /// Takes whoever has a certificate.
    struct Listening;

    #[async_trait]
    impl Hypervisor for Listening {
        async fn vm(&self, site: &Site, _: VmSpec) -> Result<Arc<dyn TwinVm>, VmError> {
            Err(VmError::NoCredentials {
                uri: site.libvirt.uri.clone(),
            })
        }

        async fn check(&self, site: &Site) -> Result<(), VmError> {
            assert!(site.credentials.is_some());
            Ok(())
        }
    }

    fn class() -> Value {
        json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinClass",
            "metadata": {"name": "remote", "uid": "c", "generation": 1, "finalizers": [CLASS_FINALIZER]},
            "spec": {"libvirt": {"uri": "qemu+tls://hv1/system", "credentialsRef": {"name": "hv1"},
                "pool": "twins", "network": "isolated", "baseImage": "debian-12.qcow2"}},
        })
    }

    /// A Secret with another certificate each time.
    fn secret() -> Value {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let part = |pem: String| ByteString(pem.into_bytes());
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": "safetytwin", "name": "hv1"},
            "data": {"ca.crt": part(certificate.pem()), "tls.crt": part(certificate.pem()),
                "tls.key": part(key.serialize_pem())},
        })
    }

    fn answer(stored: &Stored, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let mut stored = stored.lock().unwrap();
        let (_, name) = path.rsplit_once('/').unwrap();
        match (method.as_str(), name) {
            ("GET", "remote") => (200, stored.0.clone()),
            ("GET", "digitaltwins") => {
                let twin = json!({
                    "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
                    "metadata": {"name": "web-01", "namespace": "ops", "uid": "t"},
                    "spec": {"hostRef": {"name": "web-01"}, "className": "remote"},
                });
                (200, json!({"metadata": {}, "items": [twin]}))
            }
            ("GET", "hv1") => match &stored.1 {
                Some(secret) => (200, secret.clone()),
                None => (
                    404,
                    json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}),
                ),
            },
            ("PUT", "status") => {
                stored.0 = body.clone();
                (200, body)
            }
            // The second of a kind patches the first.
            ("POST" | "PATCH", _) if path.contains("/events") => (200, body),
            (method, _) => panic!("{method} {path}"),
        }
    }

    /// A context whose API server has these objects.
    fn context(stored: Stored) -> Arc<Context> {
        let (service, mut requests) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            while let Some((request, send)) = requests.next_request().await {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = answer(&stored, &head.method, head.uri.path(), body);
                let bytes = serde_json::to_vec(&answer).unwrap();
                send.send_response(Response::builder().status(code).body(Body::from(bytes)).unwrap());
            }
        });
        let settings = Settings {
            namespace: "safetytwin".into(),
            accounts: safetytwin_crds::access::ACCOUNTS.into(),
            metrics_address: None,
            concurrency: 1,
            elect: false,
            identity: "test".into(),
        };
        let ports = Ports {
            hypervisors: Arc::new(Listening),
            doors: Arc::new(SshDoors),
            clock: Arc::new(SystemClock),
        };
        let client = Client::new(service, "safetytwin");
        Arc::new(Context::new(client, &settings, ports, watch::channel(true).1))
    }

    #[tokio::test]
    async fn a_class_heals_when_its_secret_appears_and_wakes_its_twins_when_it_is_replaced() {
        let stored: Stored = Arc::new(Mutex::new((class(), None)));
        let ctx = context(Arc::clone(&stored));
        let (mut woken, _hosts) = ctx.memory.wakers();
        let mut lacking = secret();
        lacking["data"].as_object_mut().unwrap().remove("tls.key");
        let (whole, replaced) = (secret(), secret());
        for (secret, reason, says, wakes) in [
            (None, "CredentialsMissing", "safetytwin/hv1 does not exist", false),
            (
                Some(lacking),
                "CredentialsMissing",
                "safetytwin/hv1 lacks tls.key",
                false,
            ),
            (Some(whole.clone()), "Usable", "", false),
            (Some(whole), "Usable", "", false),
            (Some(replaced), "Usable", "", true),
            (None, "CredentialsMissing", "does not exist", false),
        ] {
            stored.lock().unwrap().1 = secret;
            let class: TwinClass = serde_json::from_value(class()).unwrap();
            let next = reconcile(Arc::new(class), Arc::clone(&ctx)).await.unwrap();
            // Secrets are not watched.
            assert_eq!(next, Action::requeue(RECHECK));
            let class: TwinClass = serde_json::from_value(stored.lock().unwrap().0.clone()).unwrap();
            let status = class.status.unwrap();
            let ready = status.conditions.find(types::READY).unwrap();
            assert_eq!(ready.reason, reason, "{}", ready.message);
            assert!(ready.message.contains(says), "{}", ready.message);
            assert_eq!(woken.try_recv().is_ok(), wakes, "{reason}");
        }
    }
}
