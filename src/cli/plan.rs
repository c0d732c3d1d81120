//! `twin plan`: what of a host could be twinned, what not and why. Needs no cluster.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::output::{self, Format};
use crate::plan::offline;

/// Longest dump that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Arguments of `twin plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  twin-agent --once | twin plan -\n  twin plan host.yaml -o json")]
pub struct Args {
    /// Output of `twin-agent --once`, JSON or YAML; `-` is standard input.
    file: PathBuf,
}

/// Prints the report.
pub fn run(args: &Args, format: Format) -> anyhow::Result<()> {
    let text = read(args)?;
    // JSON first: it is what a pipe carries, and much faster to read.
    let list: serde_json::Value = match serde_json::from_str(&text) {
        Ok(list) => list,
        Err(_) => serde_yaml::from_str(&text)
            .with_context(|| format!("failed to read {} as JSON or YAML", args.file.display()))?,
    };
    let report = offline(&list)?;
    output::show(format, &report, || report.to_string())
}

fn read(args: &Args) -> anyhow::Result<String> {
    let mut text = String::new();
    let shown = args.file.display();
    if args.file.as_os_str() == "-" {
        std::io::stdin()
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .context("failed to read standard input")?;
    } else {
        std::fs::File::open(&args.file)
            .with_context(|| format!("failed to open {shown}"))?
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("failed to read {shown}"))?;
    }
    Ok(text)
}
