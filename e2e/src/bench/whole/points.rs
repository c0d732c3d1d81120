//! Restore points of a running guest: how long it stood still, and how long the point took in all; beside
//! libvirt's own client on a guest of the same image and size.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::PostParams;
use safetytwin_crds::TwinSnapshot;
use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::{TwinRef, TwinSnapshotSpec};
use serde::Serialize;
use serde_json::Value;

use super::{Bench, probe};
use crate::bench::watch::Seen;
use crate::lab::Lab;
use crate::lab::hypervisor::POOL_DIRECTORY;
use crate::lab::scratch::BOOT;
use crate::product::{TWINS, twin};
use crate::progress::stage;

/// Memory of the peer's guest in MiB, as the class of `examples/` gives a twin.
pub(super) const MEMORY: u32 = 512;
/// Name of the peer's guest.
const PEER: &str = "peer";
/// A guest that has just booted is busy.
const REST: Duration = Duration::from_secs(15);

/// One point; both in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sample {
    /// Full or Disk.
    pub(super) mode: PointMode,
    /// Longest time without a heartbeat of the guest.
    pub(super) gap: f64,
    /// In all: as its status says, of the peer the time of the command.
    pub(super) total: f64,
}

/// What was measured of points.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Points {
    /// Longest time without a heartbeat in three seconds in which nothing was done.
    pub(super) undisturbed: f64,
    /// Points on request.
    pub(super) samples: Vec<Sample>,
}

/// Takes points on request.
///
/// # Errors
/// A point is not taken.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Points> {
    twin::wait_settled(bench.lab)?;
    let (undisturbed, ()) = probe::longest_gap(bench.lab, bench.guest.address, || {
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    })?;
    let mut samples = Vec::new();
    for mode in [PointMode::Disk, PointMode::Full] {
        stage(&format!("{mode:?} points, {} times", bench.samples), || {
            for number in 0..bench.samples {
                samples.push(take(bench, mode, number)?);
            }
            Ok(())
        })?;
    }
    Ok(Points {
        undisturbed: undisturbed.as_secs_f64(),
        samples,
    })
}

fn take(bench: &Bench<'_>, mode: PointMode, number: usize) -> Result<Sample> {
    let name = format!(
        "bench-{}-{number}",
        if mode == PointMode::Full { "full" } else { "disk" }
    );
    let ready = Seen::PointReady(name.clone());
    let (gap, _) = probe::longest_gap(bench.lab, bench.guest.address, || {
        let since = Instant::now();
        request(bench.lab, &name, mode)?;
        bench
            .watch
            .wait(&name, since, Duration::from_secs(120), |seen| *seen == ready)
    })?;
    twin::wait_settled(bench.lab)?;
    let point = twin::object(bench.lab, "twinsnapshot", &name)?;
    let taken = point.pointer("/status/mode").and_then(Value::as_str);
    ensure!(
        taken == Some(format!("{mode:?}").as_str()),
        "{name} was to be {mode:?}: {point:#}"
    );
    let milliseconds = point.pointer("/status/pauseMilliseconds").and_then(Value::as_f64);
    Ok(Sample {
        mode,
        gap: gap.as_secs_f64(),
        total: milliseconds.with_context(|| format!("{name} does not say how long it took"))? / 1000.0,
    })
}

/// Not by kubectl: on a machine with few processors its start would disturb what is measured.
fn request(lab: &Lab, name: &str, mode: PointMode) -> Result<()> {
    let spec = TwinSnapshotSpec {
        twin_ref: TwinRef {
            name: twin::NAME.to_owned(),
        },
        description: "a figure".to_owned(),
        pinned: false,
        mode,
    };
    let point = TwinSnapshot::new(name, spec);
    lab.with_client(|client| async move {
        let points: Api<TwinSnapshot> = Api::namespaced(client, TWINS);
        points.create(&PostParams::default(), &point).await?;
        Ok(())
    })
}

/// The same by virsh, on a guest of its own: the chain of a twin is not to be touched by hand.
///
/// # Errors
/// The guest does not boot, or libvirt refuses.
pub(super) fn by_virsh(bench: &Bench<'_>) -> Result<Vec<Sample>> {
    let lab = bench.lab;
    let peer = stage("a second guest of the same image", || {
        let peer = lab.boot_scratch(PEER, MEMORY)?;
        let address: IpAddr = peer.address.parse()?;
        probe::answers(lab, &[(address, 22).into()], BOOT)?;
        std::thread::sleep(REST);
        Ok(address)
    })?;
    let mut samples = Vec::new();
    for mode in [PointMode::Disk, PointMode::Full] {
        stage(
            &format!("{mode:?} points by virsh, {} times", bench.samples),
            || {
                for number in 0..bench.samples {
                    samples.push(virsh(lab, peer, mode, number)?);
                }
                Ok(())
            },
        )?;
    }
    Ok(samples)
}

fn virsh(lab: &Lab, peer: IpAddr, mode: PointMode, number: usize) -> Result<Sample> {
    let name = format!("{mode:?}{number}").to_lowercase();
    let file = |end: &str| format!("{POOL_DIRECTORY}/{PEER}.{name}.{end}");
    let memory = format!("file={},snapshot=external", file("mem"));
    let disk = format!("vda,snapshot=external,file={}", file("qcow2"));
    let mut words = vec!["snapshot-create-as", PEER, &name, "--atomic"];
    words.extend(["--diskspec", &disk, "--diskspec", "vdb,snapshot=no"]);
    match mode {
        PointMode::Full => words.extend(["--live", "--memspec", &memory]),
        _ => words.push("--disk-only"),
    }
    let (gap, total) = probe::longest_gap(lab, peer, || {
        let began = Instant::now();
        lab.virsh(words.iter().copied())?;
        Ok(began.elapsed())
    })?;
    Ok(Sample {
        mode,
        gap: gap.as_secs_f64(),
        total: total.as_secs_f64(),
    })
}
