//! What the agent costs a full host, in a VM or on the machine's own processor: one after the other, the host without
//! any watcher, with the agent, with a straightforward program, and with node_exporter that is scraped. One at a time,
//! because all of them make process 1, the bus and the container engine work, which no control group tells apart.

mod latency;
mod load;
mod peers;
mod rows;
mod sample;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::sheet::Sheet;
use super::{Part, example, machine};
use crate::lab::{Lab, Monitored, Options, node};
use crate::prepare::{packages, prepare};
use crate::product::agent::{self, UNIT};
use crate::product::{self, AgentPlace};
use crate::progress::{note, stage};
use crate::wait::{self, Look};
use load::Load;
use rows::Measured;
use sample::Span;

/// A watcher that has just started is not yet what it will be: processes are listed after 30 s.
const SETTLE: Duration = Duration::from_secs(60);
/// The peers and the idle host are watched for this part of the agent's time: they have no rarer work than their
/// cycle.
const PEERS: u32 = 3;
/// An SSH connection that is not used ends after ten minutes.
const KEPT: Duration = Duration::from_secs(300);
/// An emulated host needs minutes to tell a thousand processes for the first time.
const FIRST_STATE: Duration = Duration::from_secs(600);

/// Brings a lab up, measures, and ends the lab.
///
/// # Errors
/// The lab does not come up, or the agent could not be measured.
pub(super) fn run(name: &str, part: Part, minutes: u64) -> Result<Sheet> {
    let naive = example("naive")?;
    let prepared = prepare()?;
    let exporter = stage("node_exporter from its Debian package", || {
        packages::unpacked(&prepared.cache, peers::EXPORTER_PACKAGE)
    });
    let cache = prepared.cache.clone();
    let options = match part {
        Part::Native => Options {
            host: Monitored::Native,
            hypervisor: false,
            ..Options::default()
        },
        _ => Options {
            node_memory: load::MEMORY,
            ..Options::default()
        },
    };
    let lab = Lab::up(name, prepared, options)?;
    let programs = Programs {
        part,
        naive: &naive,
        exporter: exporter.as_deref().ok(),
    };
    let measured = measure(&lab, Duration::from_secs(minutes * 60), &programs);
    let measured = measured.map_err(|error| error.context(lab.keep_diagnostics("bench")));
    Lab::down(&cache, name)?;
    let mut sheet = measured?;
    if let Err(error) = exporter {
        sheet.missing.push(format!("node_exporter: {error:#}"));
    }
    Ok(sheet)
}

/// What is measured, and the peers' programs.
struct Programs<'a> {
    part: Part,
    naive: &'a Path,
    exporter: Option<&'a Path>,
}

fn measure(lab: &Lab, length: Duration, programs: &Programs<'_>) -> Result<Sheet> {
    stage("chart", || product::install_chart(lab, AgentPlace::Service))?;
    // Lets the host write its objects.
    let _controller = stage("controller", || product::start_controller(lab))?;
    let load = load::fill(lab)?;
    note(&format!("{load:?}"));
    stage("the peers' programs", || bring(lab, programs))?;
    let native = programs.part == Part::Native;
    let mut missing = Vec::new();
    let short = (length / PEERS).max(Duration::from_secs(60));
    let without = watch(lab, None, short)?;
    let (agent, latency) = agent_alone(lab, length)?;
    let mut failed = |what: &str, error: anyhow::Error| {
        println!("            {what}: {error:#}; {}", lab.keep_diagnostics("bench"));
        missing.push(format!("{what}: {error:#}"));
    };
    let latency = latency
        .map_err(|error| failed("from change to publication", error))
        .unwrap_or_default();
    let mut peer = |what: &str, measured: Result<Span>| measured.map_err(|error| failed(what, error)).ok();
    let naive = peer("the straightforward program", naive_alone(lab, short));
    let exporter = programs
        .exporter
        .and_then(|_| peer("node_exporter", exporter_alone(lab, short)));
    let conditions = conditions(lab, native, load, [length, short])?;
    let measured = Measured {
        load,
        core: if native { "one core" } else { "one emulated core" },
        without,
        agent,
        latency,
        naive,
        exporter,
    };
    Ok(Sheet {
        name: programs.part.sheet().to_owned(),
        conditions,
        figures: measured.figures(),
        missing,
        samples: serde_json::to_value(&measured)?,
    })
}

fn bring(lab: &Lab, programs: &Programs<'_>) -> Result<()> {
    peers::bring(lab, "naive", programs.naive)?;
    programs.exporter.map_or(Ok(()), |exporter| {
        peers::bring(lab, peers::EXPORTER_PACKAGE, exporter)
    })
}

/// The agent's cost, and how soon it tells what changes.
fn agent_alone(lab: &Lab, length: Duration) -> Result<(Span, Result<Vec<latency::Sample>>)> {
    stage("agent", || agent::install(lab, AgentPlace::Service))?;
    let complete = stage("agent: all of the host is published", || wait_published(lab))?;
    note(&format!("complete: {complete}"));
    let span = watch(lab, Some(UNIT), length);
    let latency = latency::measure(lab);
    stop(lab, UNIT)?;
    Ok((span?, latency))
}

/// Waits until the head counts what runs on the host; answers how many sections are complete.
fn wait_published(lab: &Lab) -> Result<String> {
    wait::until("a head that counts all of the host", FIRST_STATE, || {
        let text = lab.kubectl(["get", "hoststate", node::NAME, "-o", "json"])?;
        let head: Value = serde_json::from_str(&text)?;
        let count = |what: &str| {
            head.pointer(&format!("/spec/counts/{what}"))
                .and_then(Value::as_u64)
        };
        let all = [
            ("services", load::UNITS),
            ("containers", load::CONTAINERS),
            ("processes", load::PROCESSES),
        ];
        let complete = head.pointer("/spec/complete").and_then(Value::as_str);
        let counted = |(what, least): (&str, u32)| count(what).is_some_and(|n| n >= u64::from(least));
        Ok(if all.into_iter().all(counted) {
            Look::Ready(complete.unwrap_or("unknown").to_owned())
        } else {
            Look::NotYet(format!("{:?}", head.pointer("/spec/counts")))
        })
    })
}

fn naive_alone(lab: &Lab, length: Duration) -> Result<Span> {
    stage("the straightforward program", || peers::start_naive(lab))?;
    let span = watch(lab, Some(peers::NAIVE), length);
    let seen = peers::check_naive(lab);
    stop(lab, peers::NAIVE)?;
    note(&seen?);
    span
}

fn exporter_alone(lab: &Lab, length: Duration) -> Result<Span> {
    stage("node_exporter", || peers::start_exporter(lab))?;
    // It listens at once; the first scrape then has no need to be tried again.
    std::thread::sleep(Duration::from_secs(5));
    let span = peers::scraped(lab, || watch(lab, Some(peers::EXPORTER), length));
    stop(lab, peers::EXPORTER)?;
    span
}

fn stop(lab: &Lab, unit: &str) -> Result<()> {
    lab.host().run(&format!("systemctl stop {unit}")).map(|_| ())
}

/// Looks at the host before and after a time; only then, because looking costs the host something, too.
fn watch(lab: &Lab, service: Option<&str>, length: Duration) -> Result<Span> {
    let what = service.unwrap_or("the host without a watcher");
    stage(&format!("{what}: comes to rest"), || {
        std::thread::sleep(SETTLE);
        Ok(())
    })?;
    stage(&format!("{what}: watched for {} s", length.as_secs()), || {
        let before = sample::take(&lab.host(), service)?;
        sleep(lab, length)?;
        let after = sample::take(&lab.host(), service)?;
        Ok(Span { before, after })
    })
    .with_context(|| format!("failed to watch {what}"))
}

/// Sleeps, and keeps the SSH connection: a new one makes process 1 start a session, which would count as its work.
fn sleep(lab: &Lab, length: Duration) -> Result<()> {
    let mut left = length;
    while left > KEPT {
        std::thread::sleep(KEPT);
        left -= KEPT;
        lab.host().run("true")?;
    }
    std::thread::sleep(left);
    Ok(())
}

fn conditions(
    lab: &Lab,
    native: bool,
    load: Load,
    [length, short]: [Duration; 2],
) -> Result<Vec<(String, String)>> {
    let host = match native {
        true => "systemd in namespaces on this machine's own processor and kernel".to_owned(),
        false => format!(
            "a Kubernetes node in a VM, 2 processors, {} MiB; {}",
            load::MEMORY,
            lab.prepared().acceleration.describe()
        ),
    };
    let entries = [
        (
            "host",
            format!(
                "{host}: {} processes ({} of them independent), {} units ({} \
                 of them services with a file of their own), {} running containers",
                load.processes,
                load::PROCESSES,
                load.units,
                load::UNITS,
                load.containers
            ),
        ),
        (
            "cluster",
            format!("Kubernetes {} on the same machine", machine::kubernetes(lab)?),
        ),
        (
            "watched",
            format!(
                "the agent for {} s, each peer and the host without any for {} s; every 10 s each",
                length.as_secs(),
                short.as_secs()
            ),
        ),
    ];
    let own = entries.map(|(title, text)| (title.to_owned(), text));
    Ok(machine::run()?.into_iter().chain(own).collect())
}
