//! `lab bench`: figures of the whole loop on real parts, each beside its goal and a peer from the same run.
//!
//! ```text
//! lab + product ─▶ changes (Disk, Full) ─▶ points ─▶ 20 units at once ─▶ nothing ─▶ the peers ─▶ sheet
//! ```
//! Nothing here is a test: a goal that is missed is printed, and a part that fails leaves out its figures only.

mod by_hand;
mod changes;
pub mod figure;
mod idle;
pub mod machine;
mod points;
mod probe;
mod push;
mod rows;
pub mod sheet;
mod stats;
mod watch;
mod wire;

use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use safetytwin_crds::twinclass::PointMode;
use serde_json::{Value, json};

use crate::lab::{Lab, Options, node};
use crate::prepare::prepare;
use crate::product::{self, AgentPlace, twin};
use rows::Measured;
use sheet::Sheet;
use watch::Watch;
use wire::Wire;

/// Name of the lab that is brought up for it, and ended after it.
pub const NAME: &str = "safetytwin-bench";
/// Name of its sheet.
pub const SHEET: &str = "loop";

/// A lab with the product in it, and what looks at them.
struct Bench<'a> {
    lab: &'a Lab,
    /// Samples of each change and each point.
    samples: usize,
    /// Address of the monitored host.
    host: IpAddr,
    guest: Guest,
    controller_log: &'a Path,
    watch: Watch,
    wire: Wire,
}

/// The twin's guest, as the twin's status names it.
struct Guest {
    address: IpAddr,
    uid: String,
    host_key: String,
}

/// Brings a lab up, measures, ends the lab, and prints the figures; `file` gets them as JSON, with all samples.
///
/// # Errors
/// The lab or the product does not come up, or the file cannot be written.
pub fn run(name: &str, samples: usize, file: &Path) -> Result<()> {
    let began = Instant::now();
    let prepared = prepare()?;
    let cache = prepared.cache.clone();
    let lab = Lab::up(name, prepared, Options::default())?;
    let measured = measure(&lab, samples.max(1));
    let measured = measured.map_err(|error| error.context(lab.keep_diagnostics("bench")));
    Lab::down(&cache, name)?;
    let sheet = measured?;
    sheet.save(file)?;
    println!("\n{}", sheet.table());
    println!(
        "measured in {:.0} s; all samples: {}",
        began.elapsed().as_secs_f64(),
        file.display()
    );
    Ok(())
}

fn measure(lab: &Lab, samples: usize) -> Result<Sheet> {
    let controller = product::install(lab, AgentPlace::Service)?;
    let conditions = machine::conditions(lab)?;
    let guest = guest(lab)?;
    let bench = Bench {
        lab,
        samples,
        host: node::ADDRESS.parse()?,
        controller_log: controller.log(),
        watch: Watch::start(lab),
        wire: Wire::start(lab, guest.address)?,
        guest,
    };
    let mut missing = Vec::new();
    let mut failed = |what: &str, error: anyhow::Error| {
        println!("            {what}: {error:#}; {}", lab.keep_diagnostics("bench"));
        missing.push(format!("{what}: {error:#}"));
    };
    let mut try_to = Attempts {
        bench: &bench,
        failed: &mut failed,
    };
    let measured = Measured {
        disk: try_to.measure("changes with Disk points", |b| {
            changes::measure(b, PointMode::Disk)
        }),
        full: try_to.measure("changes with Full points", |b| {
            changes::measure(b, PointMode::Full)
        }),
        points: try_to.measure("points", points::measure),
        push: try_to.measure("20 new units at once", push::measure),
        idle: try_to.measure("an idle host", idle::measure),
        by_hand: try_to.measure("the same by hand", by_hand::measure),
        virsh: try_to.measure("points by virsh", points::by_virsh),
    };
    Ok(Sheet {
        name: SHEET.to_owned(),
        conditions,
        figures: measured.figures(),
        missing,
        samples: serde_json::to_value(&measured)?,
    })
}

/// Measures one part after the other; what fails is told and left out.
struct Attempts<'a, 'b> {
    bench: &'a Bench<'b>,
    failed: &'a mut dyn FnMut(&str, anyhow::Error),
}

impl<'b> Attempts<'_, 'b> {
    fn measure<T>(&mut self, what: &str, work: impl FnOnce(&Bench<'b>) -> Result<T>) -> Option<T> {
        work(self.bench).map_err(|error| (self.failed)(what, error)).ok()
    }
}

fn guest(lab: &Lab) -> Result<Guest> {
    let object = twin::object(lab, "digitaltwin", twin::NAME)?;
    let text = |path: &str| {
        let found = object.pointer(path).and_then(Value::as_str);
        found.with_context(|| format!("the twin's object has no {path}"))
    };
    Ok(Guest {
        address: text("/status/vm/address")?.parse()?,
        uid: text("/metadata/uid")?.to_owned(),
        host_key: text("/status/vm/hostKey")?.to_owned(),
    })
}

/// Sets the class's mode of automatic points.
fn set_mode(lab: &Lab, mode: PointMode) -> Result<()> {
    let patch = json!({"spec": {"snapshots": {"mode": mode}}}).to_string();
    lab.kubectl(["patch", "twinclass", "lab", "--type=merge", "-p", &patch])?;
    twin::wait_settled(lab).map(|_| ())
}
