//! `lab demo`: the whole loop on real parts, told as it happens.
//!
//! ```text
//! announce ─▶ prepare ─▶ container images ─▶ lab ─▶ product ─▶ four changes of the host, each with its timeline
//!                                                                       └─▶ restore ─▶ summary
//! ```
//! It leaves everything running until `lab down`.

mod changes;
mod restore;
pub mod timeline;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::{Lab, Options};
use crate::prepare::prepare;
use crate::product::{self, AgentPlace, twin};
use crate::progress::stage;
use timeline::Timeline;

const ANNOUNCEMENT: &str = "\
SafetyTwin demo: a host changes, its twin follows, and goes back.

  takes    about 6 minutes; the first time about 20 more, to install packages, to build the control
           plane (from Go modules), two machine images, and the product with its container images
  disk     about 7 GB under ~/.cache/safetytwin, and the Rust build
  installs Debian packages, named before they are installed: QEMU, libvirt, mmdebstrap, buildah ...
  touches  nothing else: all of it runs in network, mount and process namespaces of its own, without
           a way out. libvirt domains and clusters that are on this machine are not seen.
";

/// Runs the demo in the lab of that name.
///
/// # Errors
/// A part does not come up, or a change does not arrive; the message says what was last seen.
pub fn run(name: &str) -> Result<()> {
    let began = Instant::now();
    println!("{ANNOUNCEMENT}");
    heading("Preparation: packages, control plane, machine images; then container images of this build");
    let prepared = prepare()?;
    product::images::of_this_build(&prepared.cache)?;
    heading("The lab: a control plane, a node (web-01), a hypervisor");
    let lab = Lab::up(name, prepared, Options::default())?;
    heading(
        "The product: chart, the agent's pod on web-01, controller beside the hypervisor, one class, one twin",
    );
    let controller = product::install(&lab, AgentPlace::DaemonSet).map_err(|error| {
        let kept = lab.keep_diagnostics("demo");
        error.context(kept)
    })?;
    // It outlives this process; `lab down` ends it.
    std::mem::forget(controller);
    show(&lab, &["get", "hosts"])?;
    show(&lab, &["get", "twins", "-n", product::TWINS])?;
    heading("Four changes on the host");
    let timelines = changes::run(&lab)?;
    show(&lab, &["get", "twins", "-n", product::TWINS])?;
    show(&lab, &["get", "snapshots", "-n", product::TWINS])?;
    heading("Back to before the first change, and held there");
    restore::run(&lab)?;
    summary(name, &timelines, began.elapsed());
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// Shows a kubectl command and what it prints.
fn show(lab: &Lab, words: &[&str]) -> Result<()> {
    println!("\n  $ kubectl {}", words.join(" "));
    for line in lab.kubectl(words.iter().copied())?.lines() {
        println!("  {line}");
    }
    Ok(())
}

fn summary(name: &str, timelines: &[Timeline], took: Duration) {
    heading("Summary: seconds from the host's change, by this machine's clock");
    println!(
        "  {:<34} {:>9} {:>9} {:>9}",
        "CHANGE", "PUBLISHED", "SNAPSHOT", "IN TWIN"
    );
    for line in timelines {
        println!("  {}", line.row());
    }
    let lab = format!("lab --name {name}");
    println!(
        "\n  The demo took {:.0} s and runs on. Look around:\n\
         \n    make demo-shell                                 kubectl, virsh and twin inside the lab\
         \n    kubectl describe twin {} -n {}             conditions, last changes, what is not replicated\
         \n    kubectl get snapshots,revisions -n {}\
         \n    {lab} ssh                     a shell on the host; change something\
         \n    make demo-down                                  removes all of it\n",
        took.as_secs_f64(),
        twin::NAME,
        product::TWINS,
        product::TWINS,
    );
}

/// Runs one stage of the demo and answers how long it took.
fn timed(name: &str, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    stage(name, work)?;
    Ok(began.elapsed())
}
