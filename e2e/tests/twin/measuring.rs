//! What the agent publishes of load and of what services use, against procfs and systemctl.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::item::Observed;

use crate::Sentence;
use crate::describing::{Pairs, agree, pair};
use crate::dump::Dump;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "the_agent_measures_load_and_services_as_procfs_and_systemctl_do",
    the_agent_measures_load,
)];

const SHOW: &str = "systemctl show '*.service' --no-pager --property=Id,MainPID,Slice,MemoryCurrent,CPUUsageNSec,TasksCurrent";
/// A kernel may be told to keep no pressure information.
const LOAD: &str = "cat /proc/meminfo /proc/loadavg; cd /proc/pressure && grep . cpu io memory || true";

fn the_agent_measures_load(world: &World) -> Result<()> {
    agree(world, "the agent to measure load as the host does", |world| {
        let host = world.lab.host();
        let (load, services) = (host.run(LOAD)?, host.run(SHOW)?);
        let observed = Dump::look(world, "")?.observed()?;
        let (load, services) = ((load, host.run(LOAD)?), (services, host.run(SHOW)?));
        let mut pairs = vec![pair("unknown", observed.unknown.join("; "), "")];
        pairs.extend(of_machine(&observed, &numbers(&load.0), &numbers(&load.1))?);
        pairs.extend(of_services(&observed, &shown(&services.0), &shown(&services.1)));
        ensure!(observed.usage.len() > 5, "only {:?} run", observed.usage);
        Ok(pairs)
    })
}

/// A number is right when it is within 5 % of what was there before or after, or between; `grain` is
/// the least step that means something.
fn bracket(what: String, ours: Option<u64>, before: u64, after: u64, grain: u64) -> (String, String, String) {
    let (low, high) = (before.min(after), before.max(after));
    let (low, high) = ((low - low / 20).saturating_sub(grain), high + high / 20 + grain);
    let told = ours.map_or("nothing".to_owned(), |n| n.to_string());
    let range = format!("{low} to {high}");
    match ours.is_some_and(|n| (low..=high).contains(&n)) {
        true => (what, range.clone(), range),
        false => (what, told, range),
    }
}

/// Numbers in procfs by name: bytes, and hundredths of averages.
pub fn numbers(text: &str) -> BTreeMap<String, u64> {
    let centi = |number: &str| number.parse::<f64>().map_or(0, |n| (n * 100.0).round() as u64);
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [key, number, "kB"] => {
                all.insert(
                    key.trim_end_matches(':').to_owned(),
                    number.parse().unwrap_or(0) * 1024,
                );
            }
            [one, five, fifteen, _, _] if !one.contains(':') => {
                for (key, number) in [("load 1", one), ("load 5", five), ("load 15", fifteen)] {
                    all.insert(key.to_owned(), centi(number));
                }
            }
            [who, _, avg60, ..] if avg60.starts_with("avg60=") => {
                all.insert((*who).to_owned(), centi(avg60.trim_start_matches("avg60=")));
            }
            _ => {}
        }
    }
    all
}

fn of_machine(
    observed: &Observed,
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Result<Pairs> {
    const MIB: u64 = 1024 * 1024;
    let load = observed.load.as_ref().context("no load is published")?;
    let get = |of: &BTreeMap<String, u64>, key: &str| of.get(key).copied().unwrap_or(0);
    let used = |of: &BTreeMap<String, u64>| get(of, "MemTotal") - get(of, "MemAvailable");
    let mut pairs = vec![bracket(
        "memory".into(),
        load.memory_used_bytes,
        used(before),
        used(after),
        4 * MIB,
    )];
    for (at, key) in ["load 1", "load 5", "load 15"].into_iter().enumerate() {
        let ours = load.load_centi.get(at).copied();
        pairs.push(bracket(key.into(), ours, get(before, key), get(after, key), 5));
    }
    for resource in ["cpu", "io", "memory"] {
        let ours = load.pressure.iter().find(|p| p.resource == resource);
        for (who, ours) in [
            ("some", ours.and_then(|p| p.some_centi)),
            ("full", ours.and_then(|p| p.full_centi)),
        ] {
            let key = format!("{resource}:{who}");
            if ours.is_none() && !after.contains_key(&key) {
                continue;
            }
            pairs.push(bracket(
                key.clone(),
                ours,
                get(before, &key),
                get(after, &key),
                100,
            ));
        }
    }
    Ok(pairs)
}

/// Properties of services by name.
fn shown(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter_map(|line| line.split_once('='));
        lines
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    });
    blocks
        .filter_map(|block: BTreeMap<String, String>| Some((block.get("Id")?.clone(), block)))
        .collect()
}

fn of_services(
    observed: &Observed,
    before: &BTreeMap<String, BTreeMap<String, String>>,
    after: &BTreeMap<String, BTreeMap<String, String>>,
) -> Pairs {
    let mut pairs = Vec::new();
    for (name, service) in after {
        let get = |of: &BTreeMap<String, String>, key: &str| of.get(key).cloned().unwrap_or_default();
        let Some(earlier) = before
            .get(name)
            .filter(|b| get(b, "MainPID") == get(service, "MainPID"))
        else {
            continue;
        };
        // Logins and containers are no services of the machine.
        if get(service, "MainPID") == "0" || get(service, "Slice").starts_with("user-") {
            continue;
        }
        let ours = observed.usage.iter().find(|usage| usage.name == *name);
        for (key, number, grain) in [
            ("MemoryCurrent", ours.and_then(|u| u.memory_current), 1024 * 1024),
            ("CPUUsageNSec", ours.and_then(|u| u.cpu_usage_nsec), 1_000_000),
            ("TasksCurrent", ours.and_then(|u| u.tasks_current), 2),
        ] {
            let theirs = |of| get(of, key).parse::<u64>().ok().filter(|n| *n != u64::MAX);
            if let (Some(first), Some(last)) = (theirs(earlier), theirs(service)) {
                pairs.push(bracket(format!("{key} of {name}"), number, first, last, grain));
            }
        }
    }
    pairs
}
