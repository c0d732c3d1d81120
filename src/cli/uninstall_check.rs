//! `twin uninstall-check`: fails while twins exist, naming them and what becomes of their VMs.
//!
//! The chart's pre-delete hook runs it, so that `helm uninstall` cannot take away the controller
//! that must clear the twins' finalizers.

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::DigitalTwin;
use safetytwin_crds::digitaltwin::DeletionPolicy;

use super::client::Cluster;
use super::output;

/// How many twins are named.
const NAMED: usize = 50;

/// Arguments of `twin uninstall-check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  twin uninstall-check && helm uninstall safetytwin")]
pub struct Args {}

/// Fails when there is a twin in any namespace, or when that cannot be found out.
pub async fn run(_: &Args, cluster: &Cluster) -> anyhow::Result<()> {
    let (client, _) = cluster.connect().await?;
    // A twin that does not decode is one all the same.
    let twins: Api<DeserializeGuard<DigitalTwin>> = Api::all(client);
    let list = match twins.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(error).context("failed to list twins"),
    };
    if list.is_empty() {
        return output::write("No twins: nothing stays behind on a hypervisor.\n");
    }
    let mut lines: Vec<String> = list.iter().take(NAMED).map(line).collect();
    if list.len() > NAMED {
        lines.push(format!("  and {} more", list.len() - NAMED));
    }
    bail!(
        "there are still twins ({}); delete them first, while the controller that removes their VMs still runs:\n{}",
        list.len(),
        lines.join("\n")
    )
}

fn line(twin: &DeserializeGuard<DigitalTwin>) -> String {
    let fate = match &twin.0 {
        Err(_) => "cannot be read: see `kubectl describe`",
        Ok(twin) => fate(twin),
    };
    format!(
        "  kubectl delete twin -n {} {}   # {fate}",
        twin.namespace().unwrap_or_default(),
        twin.name_any()
    )
}

fn fate(twin: &DigitalTwin) -> &'static str {
    let adopted = twin
        .status
        .as_ref()
        .and_then(|status| status.vm.as_ref())
        .is_some_and(|vm| vm.adopted);
    match (adopted, twin.spec.deletion_policy) {
        (true, _) => "its domain was adopted and stays",
        (false, DeletionPolicy::Retain) => "its VM and disks stay",
        (false, DeletionPolicy::Delete) => "its VM, disks and automatic points go",
    }
}
