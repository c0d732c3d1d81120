//! The product in a lab, as a user installs it: chart, agent on the monitored host, controller beside the
//! hypervisor, one class and one twin.
//!
//! Used by the tests and by the demo, so both see the same thing.

pub mod agent;
pub mod chart;
pub mod images;
pub mod package;
pub mod twin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::output_within;
use crate::lab::Lab;
use crate::lab::process::Process;
use crate::progress::stage;

/// Namespace of the release.
pub const NAMESPACE: &str = "safetytwin";
/// Namespace of the twins.
pub const TWINS: &str = "ops";
/// Settings of the agent's pod: the node has both engines.
pub const AGENT: &[&str] = &[
    "agent.level=full",
    "agent.containers.docker=true",
    "agent.containers.podman=true",
];
/// Where the installed controller answers.
const METRICS: &str = "127.0.0.1:8080";

/// Where the agent runs on the monitored host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentPlace {
    /// A systemd service with a token bound to the node.
    Service,
    /// The chart's DaemonSet.
    DaemonSet,
}

/// Installs the chart: kinds, rights, service accounts, and with [`AgentPlace::DaemonSet`] the agent.
///
/// # Errors
/// Helm refuses.
pub fn install_chart(lab: &Lab, place: AgentPlace) -> Result<()> {
    let mut settings = [AGENT, &["controller.mode=External"]].concat();
    if place == AgentPlace::Service {
        // Its service account and rights, but no pod; and no image for the hook.
        settings.push("agent.nodeSelector.safetytwin\\.com/agent=pod");
        settings.push("uninstall.check=false");
    }
    chart::install(lab, &settings)
}

/// Starts `twin controller` beside the hypervisor, with a token of the chart's service account.
///
/// # Errors
/// The binary is not built or does not start.
pub fn start_controller(lab: &Lab) -> Result<Process> {
    let kubeconfig = lab.service_account_kubeconfig(NAMESPACE, "safetytwin-controller")?;
    let environment = BTreeMap::from([
        ("KUBECONFIG", kubeconfig.display().to_string()),
        ("RUST_LOG", "info".to_owned()),
    ]);
    lab.spawn_controller(
        &["--namespace", NAMESPACE, "--metrics-addr", METRICS],
        &environment,
    )
}

/// Everything from the chart to a twin that follows its host.
///
/// # Errors
/// A part does not come up; the message says what was last seen.
pub fn install(lab: &Lab, place: AgentPlace) -> Result<Process> {
    if place == AgentPlace::DaemonSet {
        images::load(lab)?;
    }
    stage("chart", || install_chart(lab, place))?;
    let controller = stage("controller", || start_controller(lab))?;
    stage("agent", || agent::install(lab, place))?;
    stage("class and twin", || twin::create(lab))?;
    stage("twin: boot and first apply", || {
        twin::wait_following(lab, twin::NAME, Duration::from_secs(300))
    })?;
    Ok(controller)
}

/// The root of the checkout.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, PathBuf::from)
}

/// A copy of a built binary without debug information: a tenth of the size, for slow virtual disks.
///
/// # Errors
/// It is not built or strip fails.
pub fn stripped(lab: &Lab, name: &str) -> Result<PathBuf> {
    strip(lab, name, &crate::lab::process::built_agent(name)?)
}

/// The same of any built program.
///
/// # Errors
/// strip fails.
pub fn strip(lab: &Lab, name: &str, built: &Path) -> Result<PathBuf> {
    let target = lab.path(&format!("{name}.stripped"));
    let mut strip = Command::new("strip");
    output_within(
        strip.arg("-o").arg(&target).arg(built),
        &[],
        Duration::from_secs(120),
    )
    .context("strip is in the package binutils")?;
    Ok(target)
}
