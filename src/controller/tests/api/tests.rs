//! The server keeps the rules that the controller counts on.

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use safetytwin_crds::{DigitalTwin, HostState, TwinClass, TwinSnapshot};
use serde_json::json;

use super::super::fate::Fate;
use super::super::time::Time;
use super::{Server, Store};

fn server() -> Server {
    let time = Time::new("2026-11-24T08:00:00Z".parse().unwrap());
    Server::new(Store::default(), Fate::default(), time)
}

fn snapshot(name: &str, twin: &str) -> TwinSnapshot {
    serde_json::from_value(json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "TwinSnapshot",
        "metadata": {"name": name, "namespace": "ops"},
        "spec": {"twinRef": {"name": twin}},
        "status": {"point": "not for the main resource to write"},
    }))
    .unwrap()
}

fn snapshots(client: &Client) -> Api<TwinSnapshot> {
    Api::namespaced(client.clone(), "ops")
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result.unwrap_err() {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_object_is_stored_without_its_status_and_once_only() {
    let api = snapshots(&server().client());
    let made = api
        .create(&PostParams::default(), &snapshot("a", "web"))
        .await
        .unwrap();
    assert_eq!((made.metadata.generation, made.status.is_none()), (Some(1), true));
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = api.create(&PostParams::default(), &snapshot("a", "web")).await;
    assert_eq!(code(again), 409);
    assert!(api.get_opt("b").await.unwrap().is_none());
}

#[tokio::test]
async fn a_status_is_written_under_the_version_that_was_read_and_equal_content_is_no_write() {
    let api = snapshots(&server().client());
    let first = api
        .create(&PostParams::default(), &snapshot("a", "web"))
        .await
        .unwrap();
    let mut changed = first.clone();
    changed.spec.description = "not for the status to write".into();
    changed.status = Some(Default::default());
    let second = api
        .replace_status("a", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_ne!(second.resource_version(), first.resource_version());
    assert_eq!(
        (second.metadata.generation, second.spec.description.as_str()),
        (Some(1), "")
    );
    let same = api
        .replace_status("a", &PostParams::default(), &second)
        .await
        .unwrap();
    assert_eq!(same.resource_version(), second.resource_version());
    assert_eq!(
        code(api.replace_status("a", &PostParams::default(), &first).await),
        409
    );
}

#[tokio::test]
async fn a_finalizer_keeps_an_object_until_it_is_taken_off_and_none_can_be_added_then() {
    let api = snapshots(&server().client());
    let mut object = snapshot("a", "web");
    object.metadata.finalizers = Some(vec!["safetytwin.com/point".into()]);
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    let going = api
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(going.metadata.deletion_timestamp.is_some());
    assert_eq!(going.metadata.generation, Some(2));
    let merge = |finalizers: &[&str], version: Option<String>| {
        Patch::Merge(json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}}))
    };
    let added = merge(&["safetytwin.com/point", "x.example/y"], None);
    assert_eq!(code(api.patch("a", &PatchParams::default(), &added).await), 422);
    let stale = merge(&[], made.resource_version());
    assert_eq!(code(api.patch("a", &PatchParams::default(), &stale).await), 409);
    let last = merge(&[], going.resource_version());
    api.patch("a", &PatchParams::default(), &last).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_deletion_can_be_bound_to_a_uid() {
    let api = snapshots(&server().client());
    let made = api
        .create(&PostParams::default(), &snapshot("a", "web"))
        .await
        .unwrap();
    let of = |uid: Option<String>| DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(code(api.delete("a", &of(Some("another".into()))).await), 409);
    assert!(api.delete("a", &of(made.uid())).await.unwrap().is_right());
    assert_eq!(code(api.delete("a", &of(made.uid())).await), 404);
}

#[tokio::test]
async fn lists_are_selected_by_the_fields_that_the_kind_allows() {
    let client = server().client();
    let api = snapshots(&client);
    for (name, twin) in [("a", "web"), ("b", "db"), ("c", "web")] {
        api.create(&PostParams::default(), &snapshot(name, twin))
            .await
            .unwrap();
    }
    let of_web = ListParams::default().fields("spec.twinRef.name=web");
    let names = |list: kube::api::ObjectList<TwinSnapshot>| -> Vec<String> {
        list.iter().map(kube::ResourceExt::name_any).collect()
    };
    assert_eq!(names(api.list(&of_web).await.unwrap()), ["a", "c"]);
    assert_eq!(api.list_metadata(&of_web).await.unwrap().items.len(), 2);
    assert_eq!(
        code(api.list(&ListParams::default().fields("spec.pinned=true")).await),
        400
    );
    let elsewhere: Api<TwinSnapshot> = Api::namespaced(client, "dev");
    assert!(elsewhere.list(&of_web).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn what_an_object_owns_goes_with_it() {
    let client = server().client();
    let twins: Api<DigitalTwin> = Api::namespaced(client.clone(), "ops");
    let twin: DigitalTwin = serde_json::from_value(json!({
        "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
        "metadata": {"name": "web", "namespace": "ops"},
        "spec": {"hostRef": {"name": "web"}, "className": "lab"},
    }))
    .unwrap();
    let twin = twins.create(&PostParams::default(), &twin).await.unwrap();
    let api = snapshots(&client);
    for (name, finalizers) in [("free", vec![]), ("held", vec!["x.example/y".to_owned()])] {
        let mut owned = snapshot(name, "web");
        owned.metadata.owner_references = Some(
            kube::Resource::controller_owner_ref(&twin, &())
                .into_iter()
                .collect(),
        );
        owned.metadata.finalizers = Some(finalizers);
        api.create(&PostParams::default(), &owned).await.unwrap();
    }
    twins.delete("web", &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt("free").await.unwrap().is_none());
    assert!(
        api.get("held")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_every_write() {
    let server = server();
    let client = server.client();
    let api = snapshots(&client);
    api.create(&PostParams::default(), &snapshot("a", "web"))
        .await
        .unwrap();
    let mut seen = watcher(api.clone(), watcher::Config::default())
        .touched_objects()
        .boxed();
    assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "a");
    api.create(&PostParams::default(), &snapshot("b", "web"))
        .await
        .unwrap();
    assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "b");
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(seen.try_next().await.unwrap().unwrap().name_any(), "a");
}

#[tokio::test]
async fn an_applied_status_replaces_the_one_before_for_the_same_object_only() {
    let server = server();
    let hosts: Api<HostState> = Api::all(server.client());
    super::super::host::publish(&server, &server.time, &[]);
    let host = hosts.get("web-01").await.unwrap();
    let apply = |uid: Option<String>, status: serde_json::Value| {
        Patch::Apply(json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "HostState",
            "metadata": {"name": "web-01", "uid": uid}, "status": status,
        }))
    };
    let params = PatchParams::apply("twin-controller").force();
    let twins = apply(host.uid(), json!({"twins": ["ops/web-01"]}));
    let written = hosts.patch_status("web-01", &params, &twins).await.unwrap();
    assert_eq!(written.status.unwrap().twins, ["ops/web-01"]);
    let none = apply(host.uid(), json!({}));
    let written = hosts.patch_status("web-01", &params, &none).await.unwrap();
    assert!(written.status.unwrap().twins.is_empty());
    let other = apply(Some("another".into()), json!({}));
    assert_eq!(code(hosts.patch_status("web-01", &params, &other).await), 409);
}

#[tokio::test]
async fn what_the_server_does_not_know_it_refuses() {
    let client = server().client();
    let classes: Api<TwinClass> = Api::all(client.clone());
    let labels = ListParams::default().labels("a=b");
    assert_eq!(code(classes.list(&labels).await), 501);
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, "ops");
    assert_eq!(code(pods.list(&ListParams::default()).await), 501);
}
