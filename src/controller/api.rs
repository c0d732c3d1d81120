//! Calls to the API server: each with a deadline, each named.

use std::future::Future;
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use safetytwin_crds::names::CONTROLLER_MANAGER;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, status_code};

/// Longest wait for one answer; shorter than the lease, so that a leader that hangs has lost it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for an answer at most [`DEADLINE`]; the client's own retries happen within it.
pub async fn within<T>(
    call: &'static str,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Api {
            call,
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Deadline {
            call,
            seconds: DEADLINE.as_secs(),
        }),
    }
}

/// Quorum read by name; `None` when there is no such object.
pub async fn read<K>(call: &'static str, api: &Api<K>, name: &str) -> Result<Option<K>, Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    within(call, api.get_opt(name)).await
}

/// Creates an object; answers false when one of this name exists.
pub async fn create<K>(call: &'static str, api: &Api<K>, object: &K) -> Result<bool, Error>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    match within(call, api.create(&post(), object)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes the object of this name and UID; a missing one is success. Answers whether there was one.
pub async fn delete<K>(call: &'static str, api: &Api<K>, name: &str, uid: Option<&str>) -> Result<bool, Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = kube::api::DeleteParams {
        preconditions: uid.map(|uid| kube::api::Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..kube::api::DeleteParams::default()
    };
    match within(call, api.delete(name, &params)).await {
        Ok(_) => Ok(true),
        Err(Error::Api { source, .. }) if matches!(status_code(&source), Some(404)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the status of `object` under its resourceVersion: refused (409) when anybody wrote
/// meanwhile. Answers the object as it is now. Equal content is no write in the store.
pub async fn write_status<K>(call: &'static str, api: &Api<K>, object: &K) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    within(call, api.replace_status(&object.name_any(), &post(), object)).await
}

/// Adds or removes a finalizer under the object's resourceVersion. Answers the object as it is now.
pub async fn set_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str, present: bool) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers: Vec<String> = object.finalizers().to_vec();
    if finalizers.iter().any(|f| f == finalizer) == present {
        return Ok(object.clone());
    }
    finalizers.retain(|f| f != finalizer);
    if present {
        finalizers.push(finalizer.to_owned());
    }
    let body = serde_json::json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    }});
    within(
        "write a finalizer",
        api.patch(&object.name_any(), &patch(), &Patch::Merge(&body)),
    )
    .await
}

/// Parameters of a patch that does not apply.
pub fn patch() -> PatchParams {
    PatchParams {
        field_manager: Some(CONTROLLER_MANAGER.into()),
        ..PatchParams::default()
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(CONTROLLER_MANAGER.into()),
        ..PostParams::default()
    }
}
