//! The chart, installed and uninstalled by Helm as a user does it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{NAMESPACE, repository};
use crate::command::{Output, finish_within, output, output_within};
use crate::images;
use crate::lab::Lab;

/// Name of the Helm release.
pub const RELEASE: &str = "safetytwin";

/// Longer than Helm itself waits, which is five minutes: a hook's pod starts slowly on an emulated node.
const LIMIT: Duration = Duration::from_secs(400);

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
    helm.arg(repository().join("charts/safetytwin"));
    let repository = format!("image.repository={}", images::REPOSITORY);
    let images = [repository.as_str(), "image.pullPolicy=Never"];
    for setting in images.iter().chain(settings) {
        helm.args(["--set", setting]);
    }
    output_within(&mut helm, &[], LIMIT).map(|_| ())
}

/// Uninstalls the chart; a refusal is in the answer.
///
/// # Errors
/// Helm does not end.
pub fn uninstall(lab: &Lab) -> Result<Output> {
    finish_within(&mut helm(lab, &["uninstall", RELEASE]), &[], LIMIT)
}

/// Keeps a release whose uninstall was refused: Helm upgrades none that is being uninstalled, until it is rolled
/// back to what it was.
///
/// # Errors
/// Helm refuses.
pub fn keep(lab: &Lab) -> Result<()> {
    let mut last = helm(lab, &["history", RELEASE]);
    let history = output(last.args(["--max", "1", "--output", "json"]))?;
    let history: serde_json::Value = serde_json::from_str(&history)?;
    let revision = history
        .pointer("/0/revision")
        .context("the release has no revision")?;
    output_within(
        &mut helm(lab, &["rollback", RELEASE, &revision.to_string()]),
        &[],
        LIMIT,
    )
    .map(|_| ())
}

fn helm(lab: &Lab, verb: &[&str]) -> Command {
    let mut helm = lab.command("helm");
    helm.args(verb).args(["--namespace", NAMESPACE]);
    helm
}
