//! `twin completion`: a completion script for a shell.

use clap::CommandFactory as _;

use super::{Cli, output};

/// Arguments of `twin completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  twin completion bash > /etc/bash_completion.d/twin")]
pub struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "twin", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}
