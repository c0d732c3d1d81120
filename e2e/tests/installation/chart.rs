//! Images on the node, and the chart by Helm.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use safetytwin_e2e::command::{Output, finish_within, output_within};
use safetytwin_e2e::images::{self, Archives};
use safetytwin_e2e::lab::Lab;
use safetytwin_e2e::prepare::preconditions;
use safetytwin_e2e::progress::stage;

/// Name of the Helm release.
pub const RELEASE: &str = "safetytwin";
/// Its namespace.
pub const NAMESPACE: &str = "safetytwin-system";

/// Unpacking of an image under software emulation takes most of a minute.
const IMPORT: Duration = Duration::from_secs(600);
const HELM: Duration = Duration::from_secs(300);

/// Compiles both binaries and makes images of them.
///
/// # Errors
/// A build fails.
pub fn build(lab: &Lab) -> Result<Archives> {
    let release = preconditions::check()?;
    let binaries = stage("twin and twin-agent", || images::compile(false))?;
    images::build(&lab.prepared().cache, &release, &binaries)
}

/// Puts an image on the node.
///
/// # Errors
/// containerd refuses it.
pub fn import(lab: &Lab, archive: &Path) -> Result<()> {
    let bytes = std::fs::read(archive).with_context(|| format!("failed to read {}", archive.display()))?;
    let mut command = lab.host().command("ctr --namespace k8s.io images import -");
    output_within(&mut command, &bytes, IMPORT).map(|_| ())
}

/// Installs the chart, or brings an installed one to these settings (`agent.level=full`).
///
/// # Errors
/// Helm or the API server refuses.
pub fn install(lab: &Lab, settings: &[&str]) -> Result<()> {
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        },
    });
    lab.kubectl_with(["apply", "-f", "-"], &namespace.to_string())?;
    let mut helm = helm(lab, &["upgrade", "--install", RELEASE]);
    helm.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/safetytwin"));
    let repository = format!("image.repository={},image.pullPolicy=Never", images::REPOSITORY);
    for setting in std::iter::once(repository.as_str()).chain(settings.iter().copied()) {
        helm.args(["--set", setting]);
    }
    output_within(&mut helm, &[], HELM).map(|_| ())
}

/// Uninstalls the chart; a refusal of its hook is in the answer.
///
/// # Errors
/// Helm does not end.
pub fn uninstall(lab: &Lab) -> Result<Output> {
    finish_within(&mut helm(lab, &["uninstall", RELEASE]), &[], HELM)
}

fn helm(lab: &Lab, verb: &[&str]) -> Command {
    let mut helm = lab.command("helm");
    helm.args(verb).args(["--namespace", NAMESPACE]);
    helm
}
