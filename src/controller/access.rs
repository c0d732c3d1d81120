//! Gives a host's own account the right to write the host's objects: by name, because who may patch all objects of a
//! kind can read them ([`safetytwin_crds::access`]).
//!
//! An agent makes its HostState first, by the right to create, which admission holds to its own host. What is made here
//! belongs to that object and goes with it.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use safetytwin_crds::hoststate::Source;
use safetytwin_crds::names::CONTROLLER_MANAGER;
use safetytwin_crds::{HostState, access};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api;
use super::context::Context;
use super::error::Error;

/// Makes account, role and binding of a host: at the first look of this process, and at each at a silent host, which may
/// be so because somebody took them away. Writing what is there already costs the store nothing.
///
/// # Errors
/// The API server refuses, or is not reached.
pub async fn grant(ctx: &Context, host: &HostState, is_silent: bool) -> Result<(), Error> {
    let uid = host.uid().unwrap_or_default();
    if ctx.memory.has_access(&uid) && !is_silent {
        return Ok(());
    }
    let name = &host.spec.host;
    let owner = json!([host.owner_ref(&())]);
    if host.spec.source == Source::Node {
        let accounts: Api<ServiceAccount> = Api::namespaced(ctx.client.clone(), &ctx.accounts);
        apply(&accounts, &access::account(name, &ctx.accounts, &owner)).await?;
    }
    let roles: Api<ClusterRole> = Api::all(ctx.client.clone());
    apply(&roles, &access::role(name, &owner)).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(ctx.client.clone());
    apply(&bindings, &access::binding(name, &ctx.accounts, &owner)).await?;
    if ctx.memory.gave_access(&uid) {
        tracing::info!(host = %name, "the host's account may write the host's objects");
    }
    Ok(())
}

async fn apply<K>(api: &Api<K>, object: &Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let params = PatchParams::apply(CONTROLLER_MANAGER).force();
    api::within(
        "give a host's account its rights",
        api.patch(name, &params, &Patch::Apply(object)),
    )
    .await?;
    Ok(())
}
