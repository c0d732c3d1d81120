//! Options of `create` for [`ContainerOptions`]: each is taken over, or left out and named. Every
//! value is checked against the grammar of its kind, so that none can mean something else.

use std::net::IpAddr;

use safetytwin_crds::item::container::{ContainerOptions, Engine};
use safetytwin_crds::item::{ContainerItem, Reason};
use safetytwin_crds::names::printable;

use crate::render::Rendered;
use crate::render::process::is_clean_path;
use crate::render::unit::is_account_name;

/// Names that `--ulimit` takes (github.com/docker/go-units, ulimit.go).
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// Kernel settings that are a namespace's own (namespaces(7)); all others are the twin's.
const SYSCTLS: &[&str] = &["net.", "kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."];
/// Options of tmpfs that mean the same to both engines; the rest are their own defaults.
const TMPFS: &[&str] = &["ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev"];
const TMPFS_VALUES: &[&str] = &["size=", "mode=", "uid=", "gid=", "nr_inodes="];

/// Words of options, and what was left out.
struct Out<'a> {
    words: Vec<String>,
    rendered: &'a mut Rendered,
}

impl Out<'_> {
    fn option(&mut self, name: &str, value: impl std::fmt::Display) {
        self.words.push(format!("--{name}={value}"));
    }

    fn leave(&mut self, what: &str, why: &str) {
        let detail = format!("{} left out: {why}", printable(what, 80));
        self.rendered.substitute(Reason::NotPermitted, detail);
    }

    /// An option for each value that is of its kind.
    fn each<T: AsRef<str>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
        is_good: impl Fn(&str) -> bool,
    ) {
        for value in values {
            let value = value.as_ref();
            match is_good(value) {
                true => self.option(name, value),
                false => self.leave(&format!("{name} {value}"), "it is not of its kind"),
            }
        }
    }
}

/// Options as whole words; what is left out is noted in `rendered`.
pub(super) fn settings(item: &ContainerItem, engine: Engine, rendered: &mut Rendered) -> Vec<String> {
    let options = &item.options;
    if *options == ContainerOptions::default() {
        return Vec::new();
    }
    let mut out = Out {
        words: Vec::new(),
        rendered,
    };
    limits(options, &mut out);
    identity(options, engine, &mut out);
    names(options, &mut out);
    security(options, &mut out);
    files(options, &mut out);
    log(item, engine, &mut out);
    namespaces(options, &mut out);
    out.words
}

/// Seconds that `stop` waits; at most what systemd waits for `stop`.
pub(super) fn stop_timeout(options: &ContainerOptions) -> i64 {
    options.stop_timeout_seconds.map_or(20, |s| s.clamp(0, 30))
}

fn limits(options: &ContainerOptions, out: &mut Out<'_>) {
    if options.memory_swap_bytes != 0 {
        out.option("memory-swap", options.memory_swap_bytes.max(-1));
    }
    for (name, value) in [
        ("memory-reservation", options.memory_reservation_bytes),
        ("cpu-shares", options.cpu_shares),
        ("pids-limit", options.pids_limit),
        ("shm-size", options.shm_size_bytes),
    ] {
        if value > 0 {
            out.option(name, value);
        }
    }
    match options.oom_score_adj {
        0 => {}
        adj @ 1..=1000 => out.option("oom-score-adj", adj),
        adj => out.leave(
            &format!("oom-score-adj {adj}"),
            "the twin's own services come first",
        ),
    }
    if !options.cpuset_cpus.is_empty() {
        let cpus = format!("CPUs {}", options.cpuset_cpus);
        out.leave(&cpus, "a twin has CPUs of its own");
    }
    for limit in &options.ulimits {
        if ULIMITS.contains(&limit.name.as_str()) && limit.soft >= -1 && limit.hard >= -1 {
            out.option(
                "ulimit",
                format_args!("{}={}:{}", limit.name, limit.soft, limit.hard),
            );
        } else {
            out.leave(&format!("ulimit {}", limit.name), "engines do not know it");
        }
    }
    for (key, value) in &options.sysctls {
        if is_sysctl(key) && is_plain(value, b" ._-") {
            out.option("sysctl", format_args!("{key}={value}"));
        } else {
            out.leave(&format!("sysctl {key}"), "it is not a namespace's own");
        }
    }
}

fn identity(options: &ContainerOptions, engine: Engine, out: &mut Out<'_>) {
    for (flag, is_set) in [
        ("tty", options.tty),
        ("interactive", options.open_stdin),
        ("init", options.init),
        ("read-only", options.read_only_rootfs),
    ] {
        if is_set {
            out.words.push(format!("--{flag}"));
        }
    }
    out.each("hostname", given(&options.hostname), is_host_name);
    match engine {
        Engine::Docker => out.each("domainname", given(&options.domainname), is_host_name),
        Engine::Podman if options.domainname.is_empty() => {}
        Engine::Podman => out.leave("domain name", "podman has none"),
    }
    out.each("stop-signal", given(&options.stop_signal), |s| is_plain(s, b"+-"));
    if options.stop_timeout_seconds.is_some() {
        out.option("stop-timeout", stop_timeout(options));
    }
    if options.stop_timeout_seconds.is_some_and(|s| s > 30) {
        out.leave("the rest of its time to stop", "30 s are the most");
    }
    out.each("group-add", &options.group_add, |group| {
        group != "keep-groups" && is_account_name(group)
    });
}

fn names(options: &ContainerOptions, out: &mut Out<'_>) {
    out.each("dns", &options.dns, |address| address.parse::<IpAddr>().is_ok());
    out.each("dns-search", &options.dns_search, |domain| {
        domain == "." || is_host_name(domain)
    });
    out.each("dns-option", &options.dns_options, |option| {
        is_plain(option, b":-")
    });
    out.each("add-host", &options.extra_hosts, |line| {
        line.split_once([':', '=']).is_some_and(|(name, address)| {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            is_host_name(name) && (address == "host-gateway" || address.parse::<IpAddr>().is_ok())
        })
    });
    for (network, address) in &options.addresses {
        let given = [address.ipv4.as_str(), address.ipv6.as_str()];
        let given = given.iter().filter(|a| !a.is_empty()).copied();
        let what = format!("address {} in {network}", given.collect::<Vec<_>>().join(" and "));
        // A range that a host chooses could be the one through which the twin is reached.
        out.leave(&what, "networks of a twin choose their own");
    }
}

fn security(options: &ContainerOptions, out: &mut Out<'_>) {
    for option in &options.security_opt {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
                out.words.push("--security-opt=no-new-privileges".to_owned());
            }
            "no-new-privileges:false" | "no-new-privileges=false" => {}
            other => out.leave(
                &format!("security option {other}"),
                "the twin keeps its engine's own",
            ),
        }
    }
}

fn files(options: &ContainerOptions, out: &mut Out<'_>) {
    for (target, given) in &options.tmpfs {
        if !is_clean_path(target) || target.contains([':', ',']) || target == "/" {
            out.leave(&format!("tmpfs at {target}"), "it is not a plain absolute path");
            continue;
        }
        let known = |option: &&str| {
            let value = TMPFS_VALUES.iter().find_map(|key| option.strip_prefix(key));
            TMPFS.contains(option) || value.is_some_and(|value| is_plain(value, b"%"))
        };
        let kept: Vec<&str> = given.split(',').filter(known).collect();
        match kept.is_empty() {
            true => out.option("tmpfs", target),
            false => out.option("tmpfs", format_args!("{target}:{}", kept.join(","))),
        }
    }
}

/// How much of the log is kept. The driver is named, because the engine's default may be another.
fn log(item: &ContainerItem, engine: Engine, out: &mut Out<'_>) {
    let options = &item.options.log_options;
    let own = match (engine, item.log_driver.as_str()) {
        (Engine::Docker, "") => "json-file",
        (Engine::Podman, "" | "local") => "k8s-file",
        (Engine::Docker, "local") => "local",
        _ => return,
    };
    let known: &[&str] = match engine {
        Engine::Docker => &["compress", "max-file", "max-size"],
        Engine::Podman => &["max-size"],
    };
    let mut kept = Vec::new();
    for (name, value) in options {
        match known.contains(&name.as_str()) && is_plain(value, b"") {
            true => kept.push(format!("--log-opt={name}={value}")),
            false => out.leave(&format!("log option {name}"), "the twin's engine keeps its logs"),
        }
    }
    if !kept.is_empty() {
        out.option("log-driver", own);
        out.words.append(&mut kept);
    }
}

fn namespaces(options: &ContainerOptions, out: &mut Out<'_>) {
    for (what, mode) in [
        ("pid", &options.pid_mode),
        ("ipc", &options.ipc_mode),
        ("uts", &options.uts_mode),
        ("userns", &options.userns_mode),
    ] {
        match mode.as_str() {
            "" => {}
            "none" if what == "ipc" => out.option("ipc", "none"),
            mode => out.leave(&format!("{what} {mode}"), "it has namespaces of its own"),
        }
    }
    if !options.runtime.is_empty() {
        let runtime = format!("runtime {}", options.runtime);
        out.leave(&runtime, "the twin's engine has its own");
    }
    if let Some(pod) = &options.pod {
        let what = format!("pod {}, with its {},", pod.name, pod.shares.join(" and "));
        out.leave(&what, "it has namespaces of its own");
    }
}

/// A text that is not empty.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn is_plain(value: &str, also: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
        && !value.starts_with('-')
}

fn is_sysctl(key: &str) -> bool {
    is_plain(key, b"._-") && SYSCTLS.iter().any(|prefix| key.starts_with(prefix))
}

fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(['-', '.'])
}
