//! `twin controller`: runs the controller until SIGTERM or SIGINT.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use safetytwin_crds::access;

use super::client::Cluster;
use crate::controller::run::{Ports, Settings, run as run_controller};

/// Arguments of `twin controller`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  twin controller --namespace safetytwin --metrics-addr 127.0.0.1:8080\n\n--namespace is the controller's own: keys of twins, credentials of classes, and the lease."
)]
pub struct Args {
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS:PORT", env = "TWIN_METRICS_ADDR")]
    metrics_addr: Option<SocketAddr>,
    /// Reconciles at the same time, per kind.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Namespace of the hosts' accounts: each may write its own host's objects.
    #[arg(long, value_name = "NAME", default_value = access::ACCOUNTS)]
    accounts: String,
    /// Act without a lease. For tests: two controllers would fight.
    #[arg(long)]
    no_leader_election: bool,
    /// Name of this process in the lease and in events.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
}

/// Runs the controller.
pub async fn run(args: Args, cluster: Cluster) -> anyhow::Result<()> {
    let ports = ports()?;
    let (client, namespace) = cluster.connect().await?;
    let settings = Settings {
        namespace,
        accounts: args.accounts,
        metrics_address: args.metrics_addr,
        concurrency: args.concurrency,
        elect: !args.no_leader_election,
        identity: args
            .identity
            .unwrap_or_else(|| format!("twin-controller-{}", std::process::id())),
    };
    run_controller(client, settings, ports, stop_signal()?).await?;
    Ok(())
}

/// Turns true at the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        // Nobody listens when the controller has ended already.
        let _unheard = tell.send(true);
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    Ok(told)
}

#[cfg(not(feature = "libvirt"))]
fn ports() -> anyhow::Result<Ports> {
    anyhow::bail!(
        "this build has no hypervisor backend. Build one with: cargo build --release --features libvirt (needs libvirt's headers: apt-get install libvirt-dev)"
    )
}

#[cfg(feature = "libvirt")]
fn ports() -> anyhow::Result<Ports> {
    Ok(crate::controller::backends::ports())
}
