//! What a container is started with beside the essentials, without what its engine does by itself:
//! a container that uses none of it says nothing of it. Defaults are those of Docker 20 to 29 and
//! Podman 3 to 5, whose compatible API spells them out.

use std::collections::BTreeMap;

use bollard::models::{ContainerConfig, ContainerInspectResponse, HostConfig, ImageInspect};
use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::container::{ContainerOptions, Engine, Pod, StaticAddress, Ulimit};

use super::others::Others;
use crate::redact::Tally;

/// Options of log drivers that say how much is kept and how it is named. Others hold addresses and
/// credentials of log servers.
const LOG_OPTIONS: [&str; 8] = [
    "compress",
    "labels",
    "max-buffer-size",
    "max-file",
    "max-size",
    "mode",
    "path",
    "tag",
];
/// `/dev/shm` of Docker (64 MiB) and of Podman (65536000, `shm_size` of containers.conf(5)).
const USUAL_SHM: [i64; 3] = [0, 64 * 1024 * 1024, 65_536_000];
/// What Podman sets by itself: `pids_limit` of containers.conf(5); the kernel's bounds of nofile and nproc.
const USUAL_PIDS: i64 = 2048;
const USUAL_ULIMITS: [i64; 2] = [1_048_576, 4_194_304];

/// Reads strings without what looks like a secret.
struct Reader<'a, 'b> {
    clean: &'a mut Tally<'b>,
}

impl Reader<'_, '_> {
    fn text(&mut self, text: &str) -> String {
        self.clean.text(text)
    }

    fn word(&mut self, text: Option<&String>) -> String {
        text.map(|text| self.text(text)).unwrap_or_default()
    }

    fn list(&mut self, list: Option<&Vec<String>>) -> Vec<String> {
        list.into_iter().flatten().map(|text| self.text(text)).collect()
    }

    fn sorted(&mut self, list: Option<&Vec<String>>) -> Vec<String> {
        let mut list = self.list(list);
        list.sort();
        list.dedup();
        list
    }

    fn map<'a>(
        &mut self,
        map: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> BTreeMap<String, String> {
        let pairs = map.into_iter();
        pairs.map(|(key, value)| self.clean.pair(key, value)).collect()
    }
}

/// The options of a container, redacted.
pub fn options(
    engine: Engine,
    details: &ContainerInspectResponse,
    image: Option<&ImageInspect>,
    others: &Others,
    clean: &mut Tally<'_>,
) -> ContainerOptions {
    let (no_config, no_host) = (ContainerConfig::default(), HostConfig::default());
    let config = details.config.as_ref().unwrap_or(&no_config);
    let host = details.host_config.as_ref().unwrap_or(&no_host);
    let id = details.id.as_deref().unwrap_or_default();
    let mut reader = Reader { clean };
    let mut options = ContainerOptions {
        image_digest: image_digest(config, image),
        tty: config.tty == Some(true),
        open_stdin: config.open_stdin == Some(true),
        hostname: reader.text(hostname(id, config, host)),
        domainname: reader.word(config.domainname.as_ref()),
        stop_signal: reader.text(stop_signal(config, image)),
        stop_timeout_seconds: config.stop_timeout.filter(|seconds| *seconds != 10),
        addresses: addresses(details, &mut reader),
        pod: pod(id, host, others, &mut reader),
        ..ContainerOptions::default()
    };
    limits(engine, host, &mut options, &mut reader);
    surroundings(host, others, &mut options, &mut reader);
    options
}

/// What it may use of the machine.
fn limits(engine: Engine, host: &HostConfig, options: &mut ContainerOptions, reader: &mut Reader<'_, '_>) {
    let memory = host.memory.unwrap_or(0);
    let usual_swap = [0, memory.saturating_mul(2)];
    let other = |value: Option<i64>, usual: &[i64]| value.filter(|v| !usual.contains(v)).unwrap_or(0);
    options.memory_swap_bytes = other(host.memory_swap, &usual_swap);
    options.memory_reservation_bytes = other(host.memory_reservation, &[0]).max(0);
    options.cpu_shares = other(host.cpu_shares, &[0]).max(0);
    options.cpuset_cpus = reader.word(host.cpuset_cpus.as_ref());
    options.pids_limit = match engine {
        Engine::Docker => host.pids_limit,
        Engine::Podman => host.pids_limit.filter(|limit| *limit != USUAL_PIDS),
    }
    .unwrap_or(0)
    .max(0);
    options.oom_score_adj = host.oom_score_adj.unwrap_or(0);
    options.shm_size_bytes = other(host.shm_size, &USUAL_SHM).max(0);
    options.ulimits = ulimits(engine, host, reader);
    options.restart_max_retries = host
        .restart_policy
        .as_ref()
        .and_then(|policy| policy.maximum_retry_count)
        .unwrap_or(0)
        .max(0);
}

/// Limits that a user gave: Podman lists its own two as well, by the kernel's names.
fn ulimits(engine: Engine, host: &HostConfig, reader: &mut Reader<'_, '_>) -> Vec<Ulimit> {
    let limits = host.ulimits.iter().flatten().map(|limit| {
        let name = limit.name.as_deref().unwrap_or_default().to_ascii_lowercase();
        Ulimit {
            name: reader.text(name.strip_prefix("rlimit_").unwrap_or(&name)),
            soft: limit.soft.unwrap_or(-1),
            hard: limit.hard.unwrap_or(-1),
        }
    });
    let usual = |limit: &Ulimit| {
        engine == Engine::Podman
            && matches!(limit.name.as_str(), "nofile" | "nproc")
            && limit.soft == limit.hard
            && USUAL_ULIMITS.contains(&limit.hard)
    };
    let mut limits: Vec<Ulimit> = limits.filter(|limit| !usual(limit)).collect();
    limits.sort();
    limits.dedup();
    limits
}

/// What it sees of its surroundings.
fn surroundings(
    host: &HostConfig,
    others: &Others,
    options: &mut ContainerOptions,
    reader: &mut Reader<'_, '_>,
) {
    options.init = host.init == Some(true);
    options.read_only_rootfs = host.readonly_rootfs == Some(true);
    options.security_opt = security(host, reader);
    options.sysctls = reader.map(host.sysctls.iter().flatten());
    options.tmpfs = reader.map(host.tmpfs.iter().flatten());
    options.group_add = reader.sorted(host.group_add.as_ref());
    options.dns = reader.list(host.dns.as_ref());
    options.dns_search = reader.list(host.dns_search.as_ref());
    options.dns_options = reader.list(host.dns_options.as_ref());
    options.extra_hosts = reader.list(host.extra_hosts.as_ref());
    let mut mode = |mode: Option<&String>| {
        let mode = mode.map(String::as_str).unwrap_or_default();
        match mode {
            "" | "private" | "shareable" => String::new(),
            mode if others.is_pods(mode) => String::new(),
            mode => others.mode(mode, reader.clean),
        }
    };
    options.pid_mode = mode(host.pid_mode.as_ref());
    options.ipc_mode = mode(host.ipc_mode.as_ref());
    options.uts_mode = mode(host.uts_mode.as_ref());
    options.userns_mode = mode(host.userns_mode.as_ref());
    let runtime = host.runtime.as_deref().unwrap_or_default();
    if !matches!(runtime, "" | "runc" | "crun" | "oci") {
        options.runtime = reader.text(runtime);
    }
    let log = host.log_config.iter().flat_map(|log| log.config.iter().flatten());
    options.log_options = reader.map(log.filter(|(name, _)| LOG_OPTIONS.contains(&name.as_str())));
}

/// The digest by which the repository of the reference knows the image.
fn image_digest(config: &ContainerConfig, image: Option<&ImageInspect>) -> String {
    let repository = repository(config.image.as_deref().unwrap_or_default());
    let digests = image.iter().flat_map(|image| image.repo_digests.iter().flatten());
    let of_it = digests.filter_map(|entry| {
        let (name, digest) = entry.rsplit_once('@')?;
        (self::repository(name) == repository && is_digest(digest)).then_some(digest)
    });
    of_it.min().unwrap_or_default().to_owned()
}

fn is_digest(text: &str) -> bool {
    let hex = text.split_once(':').map(|(_, hex)| hex);
    hex.is_some_and(|hex| hex.len() <= 128 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A reference without tag, digest and what Docker leaves out of names of its own hub.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// The name that a user gave: engines give the short id, of the container or of the one whose
/// network it shares, or the host's name together with the host's network.
fn hostname<'a>(id: &str, config: &'a ContainerConfig, host: &HostConfig) -> &'a str {
    let name = config.hostname.as_deref().unwrap_or_default();
    let network = host.network_mode.as_deref().unwrap_or_default();
    let short_id = name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if (!name.is_empty() && id.starts_with(name))
        || short_id
        || network == "host"
        || network.starts_with("container:")
    {
        return "";
    }
    name
}

fn stop_signal<'a>(config: &'a ContainerConfig, image: Option<&ImageInspect>) -> &'a str {
    let of_image = image.and_then(|image| image.config.as_ref()?.stop_signal.as_deref());
    match config.stop_signal.as_deref() {
        None | Some("" | "SIGTERM" | "15") => "",
        own if own == of_image => "",
        Some(own) => own,
    }
}

/// Security options; of a seccomp profile, which Docker's client sends as a whole, its digest.
fn security(host: &HostConfig, reader: &mut Reader<'_, '_>) -> Vec<String> {
    let options = host.security_opt.iter().flatten();
    let mut list: Vec<String> = options
        .map(|option| match option.split_once("seccomp=") {
            Some(("", profile)) if profile.trim_start().starts_with('{') => {
                format!("seccomp=profile:{}", Digest::of(profile.as_bytes()))
            }
            _ => reader.text(option),
        })
        .collect();
    list.sort();
    list.dedup();
    list
}

fn addresses(
    details: &ContainerInspectResponse,
    reader: &mut Reader<'_, '_>,
) -> BTreeMap<String, StaticAddress> {
    let networks = details
        .network_settings
        .iter()
        .flat_map(|s| s.networks.iter().flatten());
    networks
        .filter_map(|(network, endpoint)| {
            let given = endpoint.ipam_config.as_ref()?;
            let address = StaticAddress {
                ipv4: reader.word(given.ipv4_address.as_ref()),
                ipv6: reader.word(given.ipv6_address.as_ref()),
            };
            (address != StaticAddress::default()).then(|| (reader.clean.name(network), address))
        })
        .collect()
}

/// The pod and which of its namespaces the container shares.
fn pod(id: &str, host: &HostConfig, others: &Others, reader: &mut Reader<'_, '_>) -> Option<Pod> {
    let name = others.pod(id)?;
    let modes = [
        ("ipc", &host.ipc_mode),
        ("net", &host.network_mode),
        ("pid", &host.pid_mode),
        ("user", &host.userns_mode),
        ("uts", &host.uts_mode),
    ];
    let shared = modes
        .iter()
        .filter(|(_, mode)| mode.as_deref().is_some_and(|m| others.is_pods(m)));
    Some(Pod {
        name: reader.clean.name(name),
        shares: shared.map(|(what, _)| (*what).to_owned()).collect(),
    })
}
