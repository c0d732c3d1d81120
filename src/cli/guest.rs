//! Finds the way into a twin's guest, with the caller's own rights, for the verbs that go there.

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource};
use safetytwin_crds::condition::types;
use safetytwin_crds::names::printable;
use safetytwin_crds::{Conditions as _, DigitalTwin, DigitalTwinStatus, TwinClass};

use super::client::Cluster;
use crate::controller::error::Error;
use crate::controller::twin::access::Access;
use crate::controller::twin::home::uid_of;
use crate::controller::{api, keys};
use crate::guest::ssh::interactive::InteractiveError;
use crate::guest::{GuestAddress, GuestError};

/// Which guest, and where its keys lie.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The twin.
    name: String,
    /// Namespace of the controller, which holds the keys of twins.
    #[arg(
        long,
        value_name = "NAME",
        env = "TWIN_CONTROLLER_NAMESPACE",
        default_value = "safetytwin"
    )]
    controller_namespace: String,
}

impl Target {
    /// Address, login and keys of the guest.
    pub async fn address(&self, cluster: &Cluster) -> anyhow::Result<GuestAddress> {
        let (client, namespace) = cluster.connect().await?;
        self.find(&client, &namespace).await
    }

    async fn find(&self, client: &Client, namespace: &str) -> anyhow::Result<GuestAddress> {
        let shown = format!("{namespace}/{}", self.name);
        let twins: Api<DigitalTwin> = Api::namespaced(client.clone(), namespace);
        let twin = read("read the twin", &twins, &self.name, Some(namespace)).await?;
        let twin = twin.with_context(|| format!("there is no twin {shown}: see `kubectl get twins -A`"))?;
        let status = twin.status.clone().unwrap_or_default();
        let Some(vm) = &status.vm else {
            bail!("twin {shown} has no VM yet{}", ready(&status));
        };
        let classes: Api<TwinClass> = Api::all(client.clone());
        let class_name = &twin.spec.class_name;
        let class = read("read the twin's class", &classes, class_name, None).await?;
        let class =
            class.with_context(|| format!("there is no class {class_name}, which twin {shown} names"))?;
        if vm.address.is_none() {
            bail!("twin {shown} has no address yet{}", ready(&status));
        }
        let access = Access::of(&uid_of(&twin)?, &class);
        let (home, secret) = (&self.controller_namespace, &access.secret);
        let keys = keys::read(client, home, secret)
            .await
            .map_err(|error| explain::<Secret>(error, secret, Some(home)))?;
        let keys = keys.with_context(|| {
            format!("there is no Secret {home}/{secret} with the twin's keys: if the controller runs in another namespace, give --controller-namespace")
        })?;
        Ok(access.address(&keys, vm, &[]))
    }
}

/// What Ready says, as the end of a sentence.
fn ready(status: &DigitalTwinStatus) -> String {
    match status.conditions.find(types::READY) {
        Some(ready) => format!(": {} ({})", printable(&ready.message, 400), ready.reason),
        None => ": no controller has looked at it".into(),
    }
}

/// An object by name; `None` when there is none.
async fn read<K>(
    call: &'static str,
    api: &Api<K>,
    name: &str,
    namespace: Option<&str>,
) -> anyhow::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let answer = api::read(call, api, name).await;
    answer.map_err(|error| explain::<K>(error, name, namespace))
}

/// Says which right is missing, when one is.
fn explain<K: Resource<DynamicType = ()>>(
    error: Error,
    name: &str,
    namespace: Option<&str>,
) -> anyhow::Error {
    let Some(refusal) = refusal(&error) else {
        // Its sentence has its source in it already.
        return anyhow!("{error}");
    };
    let resource = match K::group(&()).as_ref() {
        "" => K::plural(&()).into_owned(),
        group => format!("{}.{group}", K::plural(&())),
    };
    let place = match namespace {
        Some(namespace) => format!("in namespace {namespace}"),
        None => "for the whole cluster".to_owned(),
    };
    anyhow!("this needs the right to get {resource}/{name} {place}: {refusal}")
}

/// What the API server says when it forbids something.
fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Api { source, .. } => match source.as_ref() {
            kube::Error::Api(status) if status.code == 403 => Some(printable(&status.message, 400)),
            _ => None,
        },
        _ => None,
    }
}

/// Says what to do, when the guest cannot be reached from here.
pub fn advise(error: InteractiveError) -> anyhow::Error {
    let advice = match &error {
        InteractiveError::Guest(GuestError::Unreachable { .. }) => Some(
            "the twin's network leads nowhere: run this beside the hypervisor or on a machine that is routed to that network, and see `twin status` for whether the VM runs",
        ),
        InteractiveError::Guest(GuestError::LoginRefused { .. }) => {
            Some("something in the guest took the key away: its authorized_keys, or sshd's configuration")
        }
        _ => None,
    };
    match advice {
        Some(advice) => anyhow!("{error}; {advice}"),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower_test::mock;

    use super::*;

    const UID: &str = "9c1e2f00-1111-4222-8333-444455556666";

    /// What the API server has: path and object; a number is the status that it answers with.
    type Objects = Vec<(String, Value)>;

    fn client(objects: Objects) -> Client {
        let (service, mut asked) = mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            while let Some((request, answer)) = asked.next_request().await {
                let path = request.uri().path();
                let found = objects.iter().find(|(known, _)| known == path);
                let (code, body) = match found {
                    Some((_, Value::Number(code))) => (code.as_u64().unwrap(), refusal_of(path, code)),
                    Some((_, object)) => (200, object.clone()),
                    None => (404, refusal_of(path, &404.into())),
                };
                let code = u16::try_from(code).unwrap();
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                answer.send_response(Response::builder().status(code).body(body).unwrap());
            }
        });
        Client::new(service, "default")
    }

    fn refusal_of(path: &str, code: &serde_json::Number) -> Value {
        let reason = match code.as_u64() {
            Some(404) => "NotFound",
            _ => "Forbidden",
        };
        json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": code, "reason": reason, "message": format!("no to {path}"),
        })
    }

    fn twin(vm: Value) -> (String, Value) {
        let path = "/apis/safetytwin.com/v1alpha1/namespaces/ops/digitaltwins/web-01".to_owned();
        let ready = json!({
            "type": "Ready", "status": "Unknown", "reason": "Booting", "message": "the new VM does not answer yet",
            "lastTransitionTime": "2026-11-22T14:30:00Z",
        });
        let twin = json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": "web-01", "namespace": "ops", "uid": UID},
            "spec": {"hostRef": {"name": "web-01"}, "className": "lab"},
            "status": {"vm": vm, "conditions": [ready]},
        });
        (path, twin)
    }

    fn vm(address: Option<&str>) -> Value {
        json!({
            "domainUuid": UID, "domainName": "ops-web-01-9c1e2f00", "uri": "qemu:///system",
            "pool": "twins", "adopted": false, "address": address,
        })
    }

    fn class(origin: &str, value: Value) -> (String, Value) {
        let libvirt = json!({"uri": "qemu:///system", "pool": "twins", "network": "lab", origin: value});
        let class = json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinClass",
            "metadata": {"name": "lab"}, "spec": {"libvirt": libvirt},
        });
        ("/apis/safetytwin.com/v1alpha1/twinclasses/lab".into(), class)
    }

    fn made() -> (String, Value) {
        class("baseImage", "debian-12.qcow2".into())
    }

    fn secret_path(name: &str) -> String {
        format!("/api/v1/namespaces/safetytwin/secrets/{name}")
    }

    fn secret(name: &str) -> (String, Value) {
        // "private" and "public"
        let data = json!({"id_ed25519": "cHJpdmF0ZQ==", "ssh_host_key.pub": "cHVibGlj"});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
        (secret_path(name), secret)
    }

    async fn find(objects: Objects) -> Result<GuestAddress, String> {
        let target = Target {
            name: "web-01".into(),
            controller_namespace: "safetytwin".into(),
        };
        let found = target.find(&client(objects), "ops").await;
        found.map_err(|error| format!("{error:#}"))
    }

    fn refused(found: Result<GuestAddress, String>) -> String {
        found.err().unwrap()
    }

    #[tokio::test]
    async fn a_twin_is_found_where_it_answered_last_with_its_own_keys() {
        let objects = vec![
            twin(vm(Some("192.0.2.10"))),
            made(),
            secret(&format!("twin-{UID}")),
        ];
        let found = find(objects).await.unwrap();
        assert_eq!(
            found.addresses,
            ["192.0.2.10".parse::<std::net::IpAddr>().unwrap()]
        );
        assert_eq!((found.port, found.user.as_str()), (22, "root"));
        assert_eq!(
            (found.private_key.as_str(), found.host_key.as_str()),
            ("private", "public")
        );
    }

    #[tokio::test]
    async fn an_adopted_domain_is_entered_with_user_and_keys_of_its_class() {
        let adopt = json!({"domainUuid": UID, "user": "twin", "keyRef": {"name": "old-vm"}});
        let objects = vec![
            twin(vm(Some("192.0.2.10"))),
            class("adopt", adopt),
            secret("old-vm"),
        ];
        let found = find(objects).await.unwrap();
        assert_eq!(
            (found.user.as_str(), found.private_key.as_str()),
            ("twin", "private")
        );
    }

    #[tokio::test]
    async fn a_twin_without_vm_or_address_says_what_is_waited_for() {
        let error = refused(find(vec![twin(Value::Null), made()]).await);
        assert!(
            error.contains("twin ops/web-01 has no VM yet: the new VM does not"),
            "{error}"
        );
        let error = refused(find(vec![twin(vm(None)), made()]).await);
        assert!(
            error.contains("has no address yet: the new VM does not answer yet (Booting)"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_does_not_exist_is_named() {
        let error = refused(find(vec![]).await);
        assert!(error.contains("no twin ops/web-01"), "{error}");
        let error = refused(find(vec![twin(vm(Some("192.0.2.10")))]).await);
        assert!(error.contains("no class lab"), "{error}");
        let error = refused(find(vec![twin(vm(Some("192.0.2.10"))), made()]).await);
        assert!(
            error.contains(&format!("no Secret safetytwin/twin-{UID}")),
            "{error}"
        );
        assert!(error.contains("--controller-namespace"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_right_is_named_with_object_and_namespace() {
        let secret = (secret_path(&format!("twin-{UID}")), 403.into());
        let error = refused(find(vec![twin(vm(Some("192.0.2.10"))), made(), secret]).await);
        let expected = format!("the right to get secrets/twin-{UID} in namespace safetytwin: no to /api");
        assert!(error.contains(&expected), "{error}");
        let (path, _) = twin(Value::Null);
        let error = refused(find(vec![(path, 403.into())]).await);
        assert!(
            error.contains("get digitaltwins.safetytwin.com/web-01 in namespace ops"),
            "{error}"
        );
        let (path, _) = made();
        let error = refused(find(vec![twin(vm(Some("192.0.2.10"))), (path, 403.into())]).await);
        assert!(
            error.contains("get twinclasses.safetytwin.com/lab for the whole cluster"),
            "{error}"
        );
    }

    #[test]
    fn an_unreachable_guest_comes_with_advice_and_a_refused_host_key_with_none_but_its_own() {
        let unreachable = GuestError::Unreachable {
            address: "192.0.2.10:22".into(),
            message: "no answer within 5 s".into(),
        };
        let told = advise(unreachable.into()).to_string();
        assert!(
            told.contains("192.0.2.10:22") && told.contains("beside the hypervisor"),
            "{told}"
        );
        let refused = GuestError::HostKeyRefused {
            address: "192.0.2.10:22".into(),
            found: "SHA256:x".into(),
        };
        let told = advise(refused.into()).to_string();
        assert!(
            told.contains("SHA256:x") && !told.contains("hypervisor"),
            "{told}"
        );
    }
}
