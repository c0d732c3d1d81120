//! `twin forward`: local ports that lead to ports of a twin.

use std::fmt::Write as _;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::client::Cluster;
use super::guest::{Target, advise};
use super::output;
use crate::guest::ssh::interactive::{Forward, PortPair};

/// Arguments of `twin forward`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twin forward web-01 -n ops 8080:80         http://127.0.0.1:8080 is port 80 of the twin
  twin forward web-01 -n ops 5432 8080:80    5432 here is 5432 there
  twin forward web-01 -n ops :80             any free port here

It listens on 127.0.0.1 and leads to the loopback of the twin, until Ctrl-C.
Needs the right to get the twin, its class, and the Secret twin-UID in the controller's namespace.")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Port here and port of the twin; one number is both.
    #[arg(required = true, value_name = "[LOCAL:]REMOTE", value_parser = pair)]
    ports: Vec<PortPair>,
}

/// Forwards until Ctrl-C or SIGTERM, which are success.
pub async fn run(args: Args, cluster: &Cluster) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let forwarding = async {
        let address = args.target.address(cluster).await?;
        let forward = Forward::open(&address, &args.ports).await.map_err(advise)?;
        let mut lines = String::new();
        for (local, remote) in forward.ports() {
            // Writing into a String does not fail.
            let _infallible = writeln!(lines, "Forwarding from {local} -> {remote}");
        }
        output::write(&lines)?;
        Err(advise(forward.serve().await))
    };
    tokio::select! {
        ended = forwarding => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// `LOCAL:REMOTE`, `REMOTE` (the same here), or `:REMOTE` (any free port here), as `kubectl port-forward` has it.
fn pair(text: &str) -> Result<PortPair, String> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let number = |what: &str, text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|_| digits);
        number.ok_or_else(|| format!("{what} port {text:?} is no number from 1 to 65535"))
    };
    let local = match local {
        "" => 0,
        local => number("local", local)?,
    };
    match number("remote", remote)? {
        0 => Err("remote port 0 does not exist".into()),
        guest => Ok(PortPair { local, guest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_for_kubectl_port_forward() {
        for (text, local, guest) in [
            ("8080:80", 8080, 80),
            ("80", 80, 80),
            (":80", 0, 80),
            ("0:80", 0, 80),
            ("65535:65535", 65535, 65535),
        ] {
            assert_eq!(pair(text), Ok(PortPair { local, guest }), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_by_name() {
        for (text, part) in [
            ("", "remote port \"\""),
            ("80:", "remote port \"\""),
            ("80:0", "remote port 0"),
            ("0", "remote port 0"),
            ("http", "port \"http\""),
            ("8080:http", "remote port \"http\""),
            ("70000:80", "local port \"70000\""),
            ("1:2:3", "remote port \"2:3\""),
            ("-1:80", "local port \"-1\""),
            ("+1:80", "local port \"+1\""),
        ] {
            let error = pair(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
