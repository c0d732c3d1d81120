//! What the agent publishes of the machine, against what the system's own tools say there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use safetytwin_crds::item::Machine;
use safetytwin_crds::item::machine::{PciDevice, Route};
use safetytwin_crds::section::SectionName;
use serde_json::Value;

use crate::Sentence;
use crate::dump::{self, Dump};
use crate::measuring::numbers;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "the_agent_describes_the_machine_as_lscpu_lsblk_ip_and_systemd_do",
    the_agent_describes_the_machine,
)];

/// What udev says of each PCI device: slot, class, vendor and device, driver.
const PCI: &str = r#"for device in /sys/bus/pci/devices/*; do
  eval "$(udevadm info --query=property --export --path=$device | grep -E '^(PCI_CLASS|PCI_ID|PCI_SLOT_NAME|DRIVER)=')"
  printf '%s %06x %s %s\n' "$PCI_SLOT_NAME" "0x$PCI_CLASS" "$PCI_ID" "$DRIVER"
  unset DRIVER
done | tr 'A-Z' 'a-z' | sed 's/ *$//'"#;

/// What is compared, ours and theirs.
pub type Pairs = Vec<(String, String, String)>;

fn the_agent_describes_the_machine(world: &World) -> Result<()> {
    agree(
        world,
        "the agent to describe the machine as its tools do",
        |world| {
            let host = world.lab.host();
            let dump = Dump::look(world, "")?;
            let machine: Machine = dump.only(SectionName::Machine)?;
            let section = dump
                .head
                .spec
                .section(SectionName::Machine)
                .context("no machine section")?;
            let mut pairs = vec![pair("gaps", section.message.as_deref().unwrap_or(""), "")];
            pairs.extend(cpu(&machine, &host.run("LC_ALL=C lscpu")?));
            pairs.extend(system(&machine, world)?);
            let columns = "KNAME,TYPE,SIZE,ROTA,RO,FSTYPE,MOUNTPOINTS";
            pairs.extend(disks(
                &machine,
                &json(&host.run(&format!("lsblk -J -b -l -o {columns}"))?)?,
            )?);
            let addresses = json(&host.run("ip -j -d address")?)?;
            pairs.extend(interfaces(&machine, &addresses)?);
            let (v4, v6) = (host.run("ip -j route")?, host.run("ip -j -6 route")?);
            pairs.push(routes(
                &machine,
                [("0.0.0.0/0", "/32", &v4), ("::/0", "/128", &v6)],
            )?);
            Ok(pairs)
        },
    )
}

/// Looks until all pairs agree.
pub fn agree(world: &World, what: &str, look: impl Fn(&World) -> Result<Pairs>) -> Result<()> {
    dump::agree(what, dump::LIMIT, || {
        let pairs = look(world)?;
        ensure!(pairs.len() > 10, "only {} things were compared", pairs.len());
        let differing = pairs.iter().filter(|(_, ours, theirs)| ours != theirs);
        let told = differing
            .map(|(what, ours, theirs)| format!("{what}: {ours:?}, the host's tools say {theirs:?}"));
        Ok(told.collect())
    })
}

pub fn pair(what: impl Into<String>, ours: impl ToString, theirs: impl ToString) -> (String, String, String) {
    (what.into(), ours.to_string(), theirs.to_string())
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("a tool wrote no JSON")
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
        pair(
            "cores",
            cpu.cores,
            number("Socket(s)") * number("Core(s) per socket"),
        ),
        pair("NUMA node(s)", cpu.numa_nodes, number("NUMA node(s)")),
        pair("Vendor ID", &cpu.vendor, theirs("Vendor ID")),
        pair("Model name", &cpu.model, theirs("Model name")),
        pair(
            "Flags",
            cpu.flags.join(" "),
            flags.into_iter().collect::<Vec<_>>().join(" "),
        ),
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
        pair(
            "os",
            &machine.os.version_id,
            say(". /etc/os-release; echo $VERSION_ID")?,
        ),
        pair(
            "systemd",
            machine.systemd,
            say("systemctl --version | head -n 1 | cut -d ' ' -f 2")?,
        ),
        pair("MemTotal", machine.memory_bytes, bytes("MemTotal")),
        pair("SwapTotal", machine.swap_bytes, bytes("SwapTotal")),
        pair(
            "virtualization",
            virtualization,
            say("systemd-detect-virt || true")?,
        ),
        pair(
            "PCI devices",
            machine.pci.iter().map(pci).collect::<Vec<_>>().join("\n"),
            say(PCI)?,
        ),
    ])
}

fn pci(device: &PciDevice) -> String {
    let fields = [&device.slot, &device.class, &device.id, &device.driver];
    fields
        .map(|field| field.to_lowercase())
        .join(" ")
        .trim_end()
        .to_owned()
}

fn disks(machine: &Machine, lsblk: &Value) -> Result<Pairs> {
    let rows = lsblk["blockdevices"]
        .as_array()
        .context("lsblk lists no devices")?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut theirs = BTreeMap::new();
    for row in rows.iter().filter(|row| row["size"].as_u64() > Some(0)) {
        theirs.insert(text(row, "kname"), row);
    }
    let ours: Vec<&str> = machine.disks.iter().map(|disk| disk.name.as_str()).collect();
    let names: Vec<&str> = theirs.keys().map(String::as_str).collect();
    let mut pairs = vec![pair("block devices", ours.join(" "), names.join(" "))];
    for disk in &machine.disks {
        let Some(row) = theirs.get(&disk.name) else {
            continue;
        };
        let of = |what: &str| format!("{} of {}", what, disk.name);
        pairs.extend([
            pair(of("type"), &disk.kind, text(row, "type")),
            pair(of("size"), disk.size_bytes, &row["size"]),
            pair(of("rotation"), disk.rotational, &row["rota"]),
            pair(of("read-only"), disk.read_only, &row["ro"]),
            pair(of("file system"), &disk.filesystem, text(row, "fstype")),
        ]);
        // lsblk also shows the binds of a part of a file system.
        let points: Vec<&str> = row["mountpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let unknown: Vec<&String> = disk
            .mountpoints
            .iter()
            .filter(|p| !points.contains(&p.as_str()))
            .collect();
        pairs.push(pair(
            of("mount points unknown to lsblk"),
            format!("{unknown:?}"),
            "[]",
        ));
        pairs.push(pair(
            of("root"),
            disk.mountpoints.iter().any(|p| p == "/"),
            points.contains(&"/"),
        ));
    }
    Ok(pairs)
}

fn interfaces(machine: &Machine, all: &Value) -> Result<Pairs> {
    let lasting = ["bond", "bridge", "vlan", "wireguard"];
    let listed = |link: &&Value| match link.pointer("/linkinfo/info_kind").and_then(Value::as_str) {
        Some(kind) => lasting.contains(&kind),
        None => link.get("link_type").is_some_and(|kind| kind == "ether"),
    };
    let links = all
        .as_array()
        .context("ip lists no interfaces")?
        .iter()
        .filter(listed);
    let theirs: BTreeMap<&str, &Value> = links
        .filter_map(|link| Some((link["ifname"].as_str()?, link)))
        .collect();
    let ours: Vec<&str> = machine.interfaces.iter().map(|i| i.name.as_str()).collect();
    let names: Vec<&str> = theirs.keys().copied().collect();
    let mut pairs = vec![pair("interfaces", ours.join(" "), names.join(" "))];
    for interface in &machine.interfaces {
        let Some(link) = theirs.get(interface.name.as_str()) else {
            continue;
        };
        let global = |address: &&Value| address["scope"] == "global" && address["temporary"] != true;
        let addresses = link["addr_info"].as_array().into_iter().flatten().filter(global);
        let mut addresses: Vec<String> = addresses
            .map(|a| format!("{}/{}", a["local"].as_str().unwrap_or_default(), a["prefixlen"]))
            .collect();
        addresses.sort();
        pairs.extend([
            pair(
                &interface.name,
                interface.addresses.join(" "),
                addresses.join(" "),
            ),
            pair(
                &interface.name,
                &interface.mac,
                link["address"].as_str().unwrap_or_default(),
            ),
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
                metric: route["metric"]
                    .as_u64()
                    .and_then(|m| u32::try_from(m).ok())
                    .unwrap_or(0),
            });
        }
    }
    ensure!(
        !theirs.is_empty(),
        "ip lists no route over {:?}",
        machine.interfaces
    );
    let ours: BTreeSet<Route> = machine.routes.iter().cloned().collect();
    Ok(pair("routes", format!("{ours:?}"), format!("{theirs:?}")))
}
