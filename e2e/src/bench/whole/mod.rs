//! The whole loop: from a change on the host to the twin, each figure beside its goal and a peer from the same run.
//!
//! ```text
//! lab + product ─▶ changes (Disk, Full) ─▶ points ─▶ 20 units at once ─▶ nothing ─▶ the peers ─▶ sheet
//! ```
//! A step that fails leaves out its figures only.

mod by_hand;
mod changes;
mod conditions;
mod idle;
mod points;
mod probe;
mod push;
mod rows;
mod wire;

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use safetytwin_crds::twinclass::PointMode;
use serde_json::Value;

use super::Part;
use super::sheet::Sheet;
use super::watch::Watch;
use crate::lab::{Lab, Options, node};
use crate::prepare::prepare;
use crate::product::{self, AgentPlace, twin};
use rows::Measured;
use wire::Wire;

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

/// Brings a lab up, measures, and ends the lab.
///
/// # Errors
/// The lab or the product does not come up.
pub(super) fn run(name: &str, samples: usize) -> Result<Sheet> {
    let prepared = prepare()?;
    let cache = prepared.cache.clone();
    let lab = Lab::up(name, prepared, Options::default())?;
    let measured = measure(&lab, samples);
    let measured = measured.map_err(|error| error.context(lab.keep_diagnostics("bench")));
    Lab::down(&cache, name)?;
    measured
}

fn measure(lab: &Lab, samples: usize) -> Result<Sheet> {
    let controller = product::install(lab, AgentPlace::Service)?;
    let conditions = conditions::of(lab)?;
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
        name: Part::Loop.sheet().to_owned(),
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
