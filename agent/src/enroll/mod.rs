//! `twin-agent enroll`: makes this machine a monitored host of a cluster that it is not a node of.
//!
//! ```text
//! twin enroll NAME (administrator) ──invitation on standard input──▶ checked
//!     └─▶ a token of this host's own ─▶ kubeconfig, token, environment ─▶ twin-agent.service
//! ```
//! The invitation is a kubeconfig whose token lives for minutes. It says who this host is: the name of the
//! service account is the name of the host, and the API server has signed it. Afterwards the agent renews its
//! token by itself ([`renew`]); deleting the account ends its access.

mod files;
mod invitation;
pub mod renew;
mod service;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};
use kube::Config;
use kube::config::KubeConfigOptions;

pub use files::Places;
use invitation::Invitation;

use crate::publish::api;

/// An invitation is one cluster with its authority and one token.
const LONGEST_INVITATION: u64 = 256 * 1024;

/// Arguments of `twin-agent enroll`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twin enroll web-09 | ssh root@web-09 twin-agent enroll     by an administrator of the cluster, in one line
  twin-agent enroll < invitation                             within the minutes that the invitation is valid
  twin-agent enroll --no-start < invitation                  without the systemd service of the package

Writes kubeconfig and agent.env below --config-dir and the token below --state-dir, all readable by root only.
The host appears as ext-NAME. It is revoked by deleting its account in the cluster.")]
pub struct Args {
    /// Where kubeconfig and agent.env are written.
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/safetytwin")]
    config_dir: PathBuf,
    /// Where the token is kept; the agent renews it there.
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/safetytwin")]
    state_dir: PathBuf,
    /// Take the place of another name that this machine was enrolled under.
    #[arg(long)]
    replace: bool,
    /// Do not enable and start twin-agent.service.
    #[arg(long)]
    no_start: bool,
}

/// Enrols this machine with the invitation on standard input.
///
/// # Errors
/// The invitation is refused or expired, the cluster is not reached, or a file cannot be written; nothing was
/// changed on the machine unless the message says so.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        eprintln!("reading the invitation of `twin enroll NAME` from standard input; end it with Ctrl-D");
    }
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST_INVITATION)
        .read_to_string(&mut text)
        .context("failed to read the invitation")?;
    let invitation = Invitation::read(&text)?;
    let host = invitation.token.host.clone();
    let places = Places::new(&args.config_dir, &args.state_dir);
    if let Some(before) = places.enrolled_as()
        && before != host.as_str()
        && !args.replace
    {
        bail!("this machine is enrolled as {before}: give --replace to make it {host}");
    }
    let config = Config::from_custom_kubeconfig(invitation.config.clone(), &KubeConfigOptions::default())
        .await
        .context("failed to use the invitation")?;
    let (client, _) = api::client(&config).context("failed to make a client of the cluster")?;
    let own = renew::request(&client, &invitation.token)
        .await
        .context("failed to get a token of this host's own: is the invitation still valid?")?;
    places.write(&invitation, &own)?;
    println!(
        "{host} is enrolled at {}; its token is valid until {}",
        invitation.server, own.expires
    );
    if args.no_start {
        println!(
            "start it: twin-agent --node-name {host} --kubeconfig {}",
            places.kubeconfig().display()
        );
        return Ok(());
    }
    service::start().await?;
    println!("{} runs", service::UNIT);
    Ok(())
}
