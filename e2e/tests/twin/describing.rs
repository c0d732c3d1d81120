//! What the agent publishes of the machine and its load, against what the system's own tools say there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::item::machine::Route;
use safetytwin_crds::item::{Machine, Observed};
use safetytwin_crds::section::{SectionName, decode_items};
use safetytwin_crds::{HostSection, HostState};
use safetytwin_e2e::wait::{self, Look};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Sentence;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "the_agent_describes_the_machine_as_lscpu_lsblk_ip_and_systemd_do",
        the_agent_describes_the_machine,
    ),
    (
        "the_agent_measures_load_and_services_as_procfs_and_systemctl_do",
        the_agent_measures_load,
    ),
];

const LOOK: &str = "RUST_LOG=warn /usr/local/bin/twin-agent --once -o json --node-name=web-01";
const SHOW: &str =
    "systemctl show '*.service' --no-pager --property=Id,MainPID,Slice,MemoryCurrent,CPUUsageNSec,TasksCurrent";
/// A kernel may be told to keep no pressure information.
const LOAD: &str = "cat /proc/meminfo /proc/loadavg; cd /proc/pressure && grep . cpu io memory || true";

/// What is compared, ours and theirs.
type Pairs = Vec<(String, String, String)>;

fn the_agent_describes_the_machine(world: &World) -> Result<()> {
    agree(world, "the agent to describe the machine as its tools do", |world| {
        let host = world.lab.host();
        let list: Value = serde_json::from_str(&host.run(LOOK)?)?;
        let machine: Machine = published(&list, SectionName::Machine)?;
        let head = list["items"][0].clone();
        let head: HostState = serde_json::from_value(head).context("the list begins with no head")?;
        let section = head.spec.section(SectionName::Machine).context("no machine section")?;
        let mut pairs = vec![pair("gaps", section.message.as_deref().unwrap_or(""), "")];
        pairs.extend(cpu(&machine, &host.run("LC_ALL=C lscpu")?));
        pairs.extend(system(&machine, world)?);
        let columns = "KNAME,TYPE,SIZE,ROTA,RO,FSTYPE,MOUNTPOINTS";
        pairs.extend(disks(&machine, &json(&host.run(&format!("lsblk -J -b -l -o {columns}"))?)?)?);
        let addresses = json(&host.run("ip -j -d address")?)?;
        pairs.extend(interfaces(&machine, &addresses)?);
        let (v4, v6) = (host.run("ip -j route")?, host.run("ip -j -6 route")?);
        pairs.push(routes(&machine, [("0.0.0.0/0", "/32", &v4), ("::/0", "/128", &v6)])?);
        Ok(pairs)
    })
}

/// Looks until all pairs agree: what moves while it is looked at says nothing.
fn agree(world: &World, what: &str, look: impl Fn(&World) -> Result<Pairs>) -> Result<()> {
    wait::until(what, Duration::from_secs(240), || {
        let pairs = look(world)?;
        ensure!(pairs.len() > 10, "only {} things were compared", pairs.len());
        let differing = pairs.iter().filter(|(_, ours, theirs)| ours != theirs);
        let told: Vec<String> = differing
            .map(|(what, ours, theirs)| format!("{what}: {ours:?}, the host's tools say {theirs:?}"))
            .collect();
        Ok(match told.is_empty() {
            true => Look::Ready(()),
            false => Look::NotYet(told.join("; ")),
        })
    })
}

fn pair(what: impl Into<String>, ours: impl ToString, theirs: impl ToString) -> (String, String, String) {
    (what.into(), ours.to_string(), theirs.to_string())
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("a tool wrote no JSON")
}

/// The only item of a section in the list that `twin-agent --once` writes.
fn published<T: DeserializeOwned>(list: &Value, name: SectionName) -> Result<T> {
    for object in list["items"].as_array().context("the agent's list has no items")? {
        if object["kind"] != "HostSection" {
            continue;
        }
        let section: HostSection = serde_json::from_value(object.clone())?;
        if section.spec.section == name {
            let (items, refused) = decode_items::<T>(section.spec.data.as_bytes())?;
            ensure!(refused.is_empty(), "{refused:?}");
            return items.into_iter().next().context("the section is empty");
        }
    }
    anyhow::bail!("there is no section {name}")
}

fn cpu(machine: &Machine, lscpu: &str) -> Pairs {
    let rows: BTreeMap<&str, &str> = lscpu
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let theirs = |key: &str| rows.get(key).copied().unwrap_or_default();
    let number = |key: &str| theirs(key).parse::<i32>().unwrap_or(-1);
    let flags: BTreeSet<&str> = theirs("Flags").split_whitespace().collect();
    let cpu = &machine.cpu;
    vec![
        pair("CPU(s)", cpu.threads, number("CPU(s)")),
        pair("Socket(s)", cpu.sockets, number("Socket(s)")),
        pair("cores", cpu.cores, number("Socket(s)") * number("Core(s) per socket")),
        pair("NUMA node(s)", cpu.numa_nodes, number("NUMA node(s)")),
        pair("Vendor ID", &cpu.vendor, theirs("Vendor ID")),
        pair("Model name", &cpu.model, theirs("Model name")),
        pair("Flags", cpu.flags.join(" "), flags.into_iter().collect::<Vec<_>>().join(" ")),
    ]
}

fn system(machine: &Machine, world: &World) -> Result<Pairs> {
    let say = |line: &str| world.lab.host().run(line).map(|text| text.trim().to_owned());
    let memory = numbers(&say("cat /proc/meminfo")?);
    let bytes = |key: &str| memory.get(key).map_or("nothing".to_owned(), u64::to_string);
    let virtualization = match machine.virtualization.as_str() {
        "" => "none",
        name => name,
    };
    Ok(vec![
        pair("kernel", &machine.kernel, say("uname -r")?),
        pair("architecture", &machine.architecture, say("uname -m")?),
        pair("host name", &machine.hostname, say("cat /etc/hostname")?),
        pair("os", &machine.os.version_id, say(". /etc/os-release; echo $VERSION_ID")?),
        pair("systemd", machine.systemd, say("systemctl --version | head -n 1 | cut -d ' ' -f 2")?),
        pair("MemTotal", machine.memory_bytes, bytes("MemTotal")),
        pair("SwapTotal", machine.swap_bytes, bytes("SwapTotal")),
        pair("virtualization", virtualization, say("systemd-detect-virt || true")?),
        pair("PCI devices", machine.pci.len(), say("ls /sys/bus/pci/devices | wc -l")?),
    ])
}

fn disks(machine: &Machine, lsblk: &Value) -> Result<Pairs> {
    let rows = lsblk["blockdevices"].as_array().context("lsblk lists no devices")?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut theirs = BTreeMap::new();
    for row in rows.iter().filter(|row| row["size"].as_u64() > Some(0)) {
        theirs.insert(text(row, "kname"), row);
    }
    let ours: Vec<&str> = machine.disks.iter().map(|disk| disk.name.as_str()).collect();
    let names: Vec<&str> = theirs.keys().map(String::as_str).collect();
    let mut pairs = vec![pair("block devices", ours.join(" "), names.join(" "))];
    for disk in &machine.disks {
        let Some(row) = theirs.get(&disk.name) else { continue };
        let of = |what: &str| format!("{} of {}", what, disk.name);
        pairs.extend([
            pair(of("type"), &disk.kind, text(row, "type")),
            pair(of("size"), disk.size_bytes, &row["size"]),
            pair(of("rotation"), disk.rotational, &row["rota"]),
            pair(of("read-only"), disk.read_only, &row["ro"]),
            pair(of("file system"), &disk.filesystem, text(row, "fstype")),
        ]);
        // lsblk also shows the binds of a part of a file system.
        let points: Vec<&str> = row["mountpoints"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let unknown: Vec<&String> = disk.mountpoints.iter().filter(|p| !points.contains(&p.as_str())).collect();
        pairs.push(pair(of("mount points unknown to lsblk"), format!("{unknown:?}"), "[]"));
        pairs.push(pair(of("root"), disk.mountpoints.iter().any(|p| p == "/"), points.contains(&"/")));
    }
    Ok(pairs)
}

fn interfaces(machine: &Machine, all: &Value) -> Result<Pairs> {
    let lasting = ["bond", "bridge", "vlan", "wireguard"];
    let listed = |link: &&Value| match link["linkinfo"]["info_kind"].as_str() {
        Some(kind) => lasting.contains(&kind),
        None => link["link_type"] == "ether",
    };
    let links = all.as_array().context("ip lists no interfaces")?.iter().filter(listed);
    let theirs: BTreeMap<&str, &Value> = links.filter_map(|link| Some((link["ifname"].as_str()?, link))).collect();
    let ours: Vec<&str> = machine.interfaces.iter().map(|i| i.name.as_str()).collect();
    let names: Vec<&str> = theirs.keys().copied().collect();
    let mut pairs = vec![pair("interfaces", ours.join(" "), names.join(" "))];
    for interface in &machine.interfaces {
        let Some(link) = theirs.get(interface.name.as_str()) else { continue };
        let global = |address: &&Value| address["scope"] == "global" && address["temporary"] != true;
        let addresses = link["addr_info"].as_array().into_iter().flatten().filter(global);
        let mut addresses: Vec<String> = addresses
            .map(|a| format!("{}/{}", a["local"].as_str().unwrap_or_default(), a["prefixlen"]))
            .collect();
        addresses.sort();
        pairs.extend([
            pair(&interface.name, interface.addresses.join(" "), addresses.join(" ")),
            pair(&interface.name, &interface.mac, link["address"].as_str().unwrap_or_default()),
            pair(&interface.name, interface.mtu, &link["mtu"]),
        ]);
    }
    Ok(pairs)
}

/// Routes over the interfaces that are listed; by family what `ip` leaves out of a destination.
fn routes(machine: &Machine, families: [(&str, &str, &String); 2]) -> Result<(String, String, String)> {
    let mut theirs = BTreeSet::new();
    for (default, host, text) in families {
        for route in json(text)?.as_array().into_iter().flatten() {
            let get = |key: &str| route[key].as_str().unwrap_or_default().to_owned();
            if !machine.interfaces.iter().any(|i| i.name == get("dev")) {
                continue;
            }
            let destination = match get("dst").as_str() {
                "default" => default.to_owned(),
                net if net.contains('/') => net.to_owned(),
                address => format!("{address}{host}"),
            };
            theirs.insert(Route {
                destination,
                gateway: route["gateway"].as_str().map(str::to_owned),
                device: get("dev"),
                metric: route["metric"].as_u64().and_then(|m| u32::try_from(m).ok()).unwrap_or(0),
            });
        }
    }
    ensure!(!theirs.is_empty(), "ip lists no route over {:?}", machine.interfaces);
    let ours: BTreeSet<Route> = machine.routes.iter().cloned().collect();
    Ok(pair("routes", format!("{ours:?}"), format!("{theirs:?}")))
}

fn the_agent_measures_load(world: &World) -> Result<()> {
    agree(world, "the agent to measure load as the host does", |world| {
        let host = world.lab.host();
        let (load, services) = (host.run(LOAD)?, host.run(SHOW)?);
        let list: Value = serde_json::from_str(&host.run(LOOK)?)?;
        let observed: Observed = published(&list, SectionName::Observed)?;
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
fn numbers(text: &str) -> BTreeMap<String, u64> {
    let centi = |number: &str| number.parse::<f64>().map_or(0, |n| (n * 100.0).round() as u64);
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [key, number, "kB"] => {
                all.insert(key.trim_end_matches(':').to_owned(), number.parse().unwrap_or(0) * 1024);
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

fn of_machine(observed: &Observed, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Result<Pairs> {
    const MIB: u64 = 1024 * 1024;
    let load = observed.load.as_ref().context("no load is published")?;
    let get = |of: &BTreeMap<String, u64>, key: &str| of.get(key).copied().unwrap_or(0);
    let used = |of: &BTreeMap<String, u64>| get(of, "MemTotal") - get(of, "MemAvailable");
    let mut pairs = vec![
        bracket("memory".into(), load.memory_used_bytes, used(before), used(after), 4 * MIB),
    ];
    for (at, key) in ["load 1", "load 5", "load 15"].into_iter().enumerate() {
        let ours = load.load_centi.get(at).copied();
        pairs.push(bracket(key.into(), ours, get(before, key), get(after, key), 5));
    }
    for resource in ["cpu", "io", "memory"] {
        let ours = load.pressure.iter().find(|p| p.resource == resource);
        for (who, ours) in [("some", ours.and_then(|p| p.some_centi)), ("full", ours.and_then(|p| p.full_centi))] {
            let key = format!("{resource}:{who}");
            if ours.is_none() && !after.contains_key(&key) {
                continue;
            }
            pairs.push(bracket(key.clone(), ours, get(before, &key), get(after, &key), 100));
        }
    }
    Ok(pairs)
}

/// Properties of services by name.
fn shown(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter_map(|line| line.split_once('='));
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
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
        let Some(earlier) = before.get(name).filter(|b| get(b, "MainPID") == get(service, "MainPID")) else {
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
