//! Options of `create`: what of a container's settings a twin takes over, and what it leaves out.

use std::collections::BTreeSet;

use safetytwin_crds::item::container::{Engine, HealthCheck, Mount, PortMapping};
use safetytwin_crds::item::{ContainerItem, Reason};
use safetytwin_crds::names::{ContainerName, printable};

use super::Network;
use crate::render::directives::CHANNEL_PORT;
use crate::render::process::is_clean_path;
use crate::render::{Refusal, Rendered};

/// Capabilities that reach beyond a container into the twin's kernel (capabilities(7)): never added.
const NEVER_ADDED: &[&str] = &[
    "ALL",
    "BPF",
    "DAC_READ_SEARCH",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "WAKE_ALARM",
];

/// Options as whole words; what is left out is noted in `rendered`.
pub(super) fn options(
    item: &ContainerItem,
    engine: Engine,
    rendered: &mut Rendered,
) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let text = |what: &str, value: &str| -> Result<(), Refusal> {
        if value.len() <= 4096 && !value.chars().any(char::is_control) {
            Ok(())
        } else {
            Err(Refusal::invalid(format!(
                "its {what} has control characters or is too long"
            )))
        }
    };
    text("user", &item.user)?;
    if !item.user.is_empty() {
        words.push(format!("--user={}", item.user));
    }
    text("working directory", &item.working_directory)?;
    if !item.working_directory.is_empty() {
        words.push(format!("--workdir={}", item.working_directory));
    }
    if item.memory_bytes > 0 {
        words.push(format!("--memory={}", item.memory_bytes));
    }
    if item.cpu_milli > 0 {
        words.push(format!(
            "--cpus={}.{:03}",
            item.cpu_milli / 1000,
            item.cpu_milli % 1000
        ));
    }
    if item.privileged {
        rendered.substitute(Reason::NotPermitted, "runs without privileged");
    }
    devices(item, rendered);
    log(item, rendered, &mut words);
    if let Some(check) = &item.health_check {
        health(check, rendered, &mut words);
    }
    capabilities(item, rendered, &mut words);
    for (key, value) in &item.labels {
        text("label", key)?;
        if !key.is_empty() && !key.contains('=') {
            words.push(format!("--label={key}={value}"));
        }
    }
    ports(item, engine, rendered, &mut words);
    for mount in &item.mounts {
        match mount_option(mount) {
            Ok(word) => words.push(word),
            Err(why) => rendered.substitute(
                Reason::NotPermitted,
                format!("mount at {} left out: {why}", printable(&mount.target, 60)),
            ),
        }
    }
    Ok(words)
}

fn devices(item: &ContainerItem, rendered: &mut Rendered) {
    for device in &item.devices {
        let detail = format!(
            "{} left out: a twin has no devices of its host",
            printable(device, 120)
        );
        rendered.substitute(Reason::NotPermitted, detail);
    }
}

/// A log stays in the twin, as its engine keeps it; another driver would send it elsewhere.
fn log(item: &ContainerItem, rendered: &mut Rendered, words: &mut Vec<String>) {
    match item.log_driver.as_str() {
        "" | "local" => {}
        "none" => words.push("--log-driver=none".to_owned()),
        other => {
            let detail = format!(
                "log driver {} left out: it leads out of the twin",
                printable(other, 40)
            );
            rendered.substitute(Reason::NotPermitted, detail);
        }
    }
}

/// The command line knows health checks as one line for a shell in the container.
fn health(check: &HealthCheck, rendered: &mut Rendered, words: &mut Vec<String>) {
    let texts: Option<Vec<&str>> = check
        .test
        .iter()
        .map(|t| std::str::from_utf8(&t.0).ok())
        .collect();
    let plain = |text: &&str| text.len() <= 4096 && !text.chars().any(char::is_control);
    let line = match texts.as_deref() {
        Some(["NONE"]) => {
            words.push("--no-healthcheck".to_owned());
            return;
        }
        Some(["CMD-SHELL", line]) => Some((*line).to_owned()),
        Some(["CMD", words @ ..]) if !words.is_empty() => {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            Some(quoted.join(" "))
        }
        _ => None,
    };
    let Some(line) = line.filter(|line| plain(&line.as_str())) else {
        rendered.substitute(
            Reason::InvalidItem,
            "health check left out: it is no plain command",
        );
        return;
    };
    words.push(format!("--health-cmd={line}"));
    for (option, milliseconds) in [
        ("interval", check.interval_ms),
        ("timeout", check.timeout_ms),
        ("start-period", check.start_period_ms),
    ] {
        if milliseconds > 0 {
            words.push(format!("--health-{option}={milliseconds}ms"));
        }
    }
    if check.retries > 0 {
        words.push(format!("--health-retries={}", check.retries));
    }
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn capabilities(item: &ContainerItem, rendered: &mut Rendered, words: &mut Vec<String>) {
    let short = |name: &str| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
    let known = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit())
    };
    for name in item.cap_add.iter().map(|n| short(n)) {
        if known(&name) && !NEVER_ADDED.contains(&name.as_str()) {
            words.push(format!("--cap-add={name}"));
        } else {
            let detail = format!("capability {} left out", printable(&name, 40));
            rendered.substitute(Reason::NotPermitted, detail);
        }
    }
    for name in item.cap_drop.iter().map(|n| short(n)).filter(|n| known(n)) {
        words.push(format!("--cap-drop={name}"));
    }
}

/// Published ports. An address of the host does not exist in the twin; only loopback keeps its
/// meaning. Port 22 is the twin's own.
fn ports(item: &ContainerItem, engine: Engine, rendered: &mut Rendered, words: &mut Vec<String>) {
    let mut published = BTreeSet::new();
    for port in &item.ports {
        let protocol = port.protocol.as_str();
        let is_range = port.host_port != 0 && port.host_port < port.last_host_port;
        let why = if !matches!(protocol, "tcp" | "udp" | "sctp")
            || port.container_port == 0
            || (port.last_host_port != 0 && !is_range)
        {
            Some("not a port that can be published")
        } else if protocol == "tcp" && may_be(port, CHANNEL_PORT) {
            Some("it is the twin's own way in")
        } else {
            None
        };
        if let Some(why) = why {
            let number = port.fixed().unwrap_or(port.container_port);
            rendered.substitute(Reason::NotPermitted, format!("port {number} left out: {why}"));
            continue;
        }
        let address = match port.host_ip.as_str() {
            "127.0.0.1" => "127.0.0.1:",
            "::1" => "[::1]:",
            _ => "",
        };
        let host = match (port.host_port, port.last_host_port) {
            // Between two colons where an address stands first: `127.0.0.1::80`.
            (0, _) if address.is_empty() => String::new(),
            (0, _) => ":".to_owned(),
            (port, 0) => format!("{port}:"),
            (first, last) if engine == Engine::Docker => format!("{first}-{last}:"),
            // Podman takes as many ports of the host as of the container.
            (first, last) => {
                let detail = format!("port {first} instead of one up to {last}");
                rendered.substitute(Reason::EngineSubstituted, detail);
                format!("{first}:")
            }
        };
        // Docker lists a port once for each family.
        published.insert(format!(
            "--publish={address}{host}{}/{protocol}",
            port.container_port
        ));
    }
    words.extend(published);
}

/// Whether a mapping's port of the host may be this one.
fn may_be(port: &PortMapping, number: &str) -> bool {
    let ports = port.host_port..=port.last_host_port.max(port.host_port);
    number.parse().is_ok_and(|number| ports.contains(&number))
}

fn mount_option(mount: &Mount) -> Result<String, &'static str> {
    // The option's value is read as CSV.
    if !is_clean_path(&mount.target) || mount.target.contains([',', '"', '=']) || mount.target == "/" {
        return Err("its target is not a plain absolute path");
    }
    let read_only = if mount.read_only { ",readonly" } else { "" };
    match mount.kind.as_str() {
        "volume" if !mount.driver.is_empty() => Err("its volume has a driver of its own"),
        "volume" if mount.source.parse::<ContainerName>().is_ok() => Ok(format!(
            "--mount=type=volume,source={},target={}{read_only}",
            mount.source, mount.target
        )),
        "volume" => Err("its volume has no acceptable name"),
        "tmpfs" => Ok(format!("--mount=type=tmpfs,target={}", mount.target)),
        "bind" => Err("files of the host do not exist in the twin"),
        _ => Err("an unknown kind of mount"),
    }
}

/// Networks to make and to join, the one of `network_mode` first. The host's own network and
/// another container's are left out.
pub(super) fn networks<'a>(item: &'a ContainerItem, rendered: &mut Rendered) -> Vec<Network<'a>> {
    let mode = item.network_mode.as_str();
    if mode == "host" || mode.starts_with("container:") {
        rendered.substitute(
            Reason::NotPermitted,
            format!("network {} left out", printable(mode, 60)),
        );
        return Vec::new();
    }
    if matches!(mode, "none" | "pod") {
        return Vec::new();
    }
    let builtin = |name: &str| matches!(name, "bridge" | "default" | "podman" | "host" | "none");
    let mut networks: Vec<Network<'a>> = item
        .networks
        .iter()
        .filter(|(name, _)| !builtin(name) && name.parse::<ContainerName>().is_ok())
        .map(|(name, aliases)| Network {
            name,
            aliases: aliases
                .iter()
                .map(String::as_str)
                .filter(|a| a.parse::<ContainerName>().is_ok())
                .collect(),
        })
        .collect();
    networks.sort_by_key(|n| (n.name != mode, n.name));
    networks
}
