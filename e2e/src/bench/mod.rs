//! `lab bench`: figures on real parts, each beside its goal and a peer from the same run.
//!
//! ```text
//! loop (lab with a twin)            ─┐
//! agent (lab, full host in a VM)    ─┼─▶ a sheet each: printed, kept as JSON, written into docs/performance.md
//! native (lab, host in namespaces)  ─┤
//! fleet (API server only)           ─┘
//! ```
//! Nothing here is a test: a goal that is missed is printed, and a part that fails leaves out its figures only.

mod agent;
pub mod figure;
mod fleet;
mod http;
mod machine;
mod placed;
mod prometheus;
pub mod sheet;
mod stats;
mod watch;
mod whole;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::lab::process::built_binary;
use sheet::Sheet;

/// Name of the lab that is brought up for each part, and ended after it.
pub const NAME: &str = "safetytwin-bench";

/// What is measured on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// From a change on the host to the twin: changes, points, pushes, an idle host.
    Loop,
    /// What the agent costs a full host, beside a straightforward program and node_exporter: on a node in a VM.
    Agent,
    /// The same on this machine's own processor, on a host in namespaces.
    Native,
    /// What many hosts cost the control plane, beside kubelets.
    Fleet,
}

/// How much is measured.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Parts to measure; without it all of them.
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Samples of each change and each point of the loop.
    #[arg(long, default_value_t = 7)]
    pub samples: usize,
    /// Minutes in which the agent is watched; each of its peers and the host without any gets a third.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=240))]
    pub agent_minutes: u64,
    /// Minutes in which the fleet is watched: a fifth of them for each habit of its hosts, and for the peer.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=1440))]
    pub fleet_minutes: u64,
    /// Hosts of the fleet.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub fleet_hosts: u32,
    /// Hosts that beat for three minutes at the end, for the controller's share of each; 0 leaves it out.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(0..=5000))]
    pub fleet_many: u32,
    /// Directory that gets the figures and all samples as JSON, one file for each part.
    #[arg(long, default_value = "target/figures")]
    pub figures: PathBuf,
}

impl Part {
    const ALL: [Self; 4] = [Self::Loop, Self::Agent, Self::Native, Self::Fleet];

    /// Name of its sheet, and of its place in docs/performance.md.
    fn sheet(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Agent => "agent",
            Self::Native => "native",
            Self::Fleet => "fleet",
        }
    }

    fn measure(self, name: &str, settings: &Settings) -> Result<Sheet> {
        match self {
            Self::Loop => whole::run(name, settings.samples.max(1)),
            Self::Agent | Self::Native => agent::run(name, self, settings.agent_minutes),
            Self::Fleet => fleet::run(settings),
        }
    }
}

/// Measures the parts one after the other, prints the figures of each, and keeps them.
///
/// # Errors
/// A part could not be measured at all, or its file not be written; the others were measured.
pub fn run(name: &str, settings: &Settings) -> Result<()> {
    let asked = |part: &Part| settings.only.is_empty() || settings.only.contains(part);
    let mut failed = Vec::new();
    for part in Part::ALL.into_iter().filter(asked) {
        println!("\n== {}", part.sheet());
        let began = Instant::now();
        let measured = part
            .measure(name, settings)
            .and_then(|sheet| keep(&sheet, &settings.figures, began));
        if let Err(error) = measured {
            println!("\nnot measured: {}: {error:#}", part.sheet());
            failed.push(part.sheet());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("not measured, see above: {}", failed.join(", "))
}

fn keep(sheet: &Sheet, directory: &Path, began: Instant) -> Result<()> {
    let file = directory.join(format!("{}.json", sheet.name));
    sheet.save(&file)?;
    println!("\n{}", sheet.table());
    println!(
        "measured in {:.0} s; all samples: {}",
        began.elapsed().as_secs_f64(),
        file.display()
    );
    Ok(())
}

/// A program of `agent/examples/` from the build that this process belongs to.
///
/// # Errors
/// It is not built; the message says how.
fn example(name: &str) -> Result<PathBuf> {
    let lab = built_binary("lab")?;
    let folder = lab.parent().context("the build has no folder")?;
    let path = folder.join("examples").join(name);
    if !path.is_file() {
        bail!(
            "{} is not built; run `cargo build -p safetytwin-agent --examples`, with --release if this is a release build",
            path.display()
        );
    }
    Ok(path)
}
