//! The command line: one verb per file, each with its arguments and its `run`.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
//! 2 wrong use (clap); `twin ssh` has ssh's. A reader that goes away (`| head`) is no failure.

mod client;
mod completion;
mod controller;
mod crds;
mod enroll;
mod forward;
mod guest;
mod host;
pub mod output;
mod plan;
mod ssh;
mod status;
mod uninstall_check;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry;
use output::Format;

/// Keeps a live digital twin of a Linux host.
#[derive(Debug, Parser)]
#[command(name = "twin", bin_name = "twin", version, max_term_width = 100)]
pub struct Cli {
    /// How results are written.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Path of a kubeconfig; without it KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Namespace; without it the one of the kubeconfig.
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the controller.
    Controller(controller::Args),
    /// Says what of a host could be twinned, from a dump of its agent.
    Plan(plan::Args),
    /// Shows twins and what is not replicated.
    Status(status::Args),
    /// Shows hosts and what they run.
    #[command(subcommand)]
    Host(host::Verb),
    /// Invites a machine outside the cluster to be a monitored host.
    Enroll(enroll::Args),
    /// Runs a shell or a command in a twin.
    Ssh(ssh::Args),
    /// Forwards local ports to ports of a twin.
    Forward(forward::Args),
    /// Prints the CustomResourceDefinitions.
    Crds(crds::Args),
    /// Fails while twins exist, naming them.
    UninstallCheck(uninstall_check::Args),
    /// Prints a completion script for a shell.
    Completion(completion::Args),
}

/// Parses the command line, runs the verb and answers the exit code.
pub fn main() -> ExitCode {
    // kube and russh both bring rustls users; whoever is first would choose. Fails only when
    // something installed one before.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let level = match cli.verb {
        Verb::Controller(_) => "info",
        _ => "warn",
    };
    let failed = match cli.verb {
        Verb::Ssh(_) => ExitCode::from(ssh::FAILED),
        _ => ExitCode::FAILURE,
    };
    telemetry::init(level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start threads: {error}");
            return failed;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            failed
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let cluster = client::Cluster {
        kubeconfig: cli.kubeconfig,
        namespace: cli.namespace,
    };
    match cli.verb {
        Verb::Controller(args) => controller::run(args, cluster).await?,
        Verb::Plan(args) => plan::run(&args, cli.output)?,
        Verb::Status(args) => status::run(args, &cluster, cli.output).await?,
        Verb::Host(verb) => host::run(verb, &cluster, cli.output).await?,
        Verb::Enroll(args) => enroll::run(&args, &cluster).await?,
        Verb::Ssh(args) => return ssh::run(args, &cluster).await,
        Verb::Forward(args) => forward::run(args, &cluster).await?,
        Verb::Crds(args) => crds::run(&args, cli.output)?,
        Verb::UninstallCheck(args) => uninstall_check::run(&args, &cluster).await?,
        Verb::Completion(args) => completion::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("twin "), "{}", verb.get_name());
        }
    }
}
