//! What a container is started with beside the essentials: settings that most containers leave as
//! they are. Each is absent at its engine's default, so that it costs such containers nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Options of `docker create`, named as in the engine's API (`HostConfig`, `Config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerOptions {
    /// Digest of the image in the registry that its reference names (`sha256:…`).
    #[serde(skip_serializing_if = "unset")]
    pub image_digest: String,
    /// Retries of restart policy on-failure; 0 means without end.
    #[serde(skip_serializing_if = "unset")]
    pub restart_max_retries: i64,
    /// Memory and swap together in bytes, -1 for no limit; 0 is twice the memory.
    #[serde(skip_serializing_if = "unset")]
    pub memory_swap_bytes: i64,
    /// Soft memory limit in bytes.
    #[serde(skip_serializing_if = "unset")]
    pub memory_reservation_bytes: i64,
    /// Relative weight of its CPU time.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_shares: i64,
    /// CPUs that it may run on, such as `0-3,7`.
    #[serde(skip_serializing_if = "unset")]
    pub cpuset_cpus: String,
    /// Most processes.
    #[serde(skip_serializing_if = "unset")]
    pub pids_limit: i64,
    /// -1000 to 1000, see proc_pid_oom_score_adj(5).
    #[serde(skip_serializing_if = "unset")]
    pub oom_score_adj: i64,
    /// Size of `/dev/shm` in bytes.
    #[serde(skip_serializing_if = "unset")]
    pub shm_size_bytes: i64,
    /// Resource limits, sorted by name.
    #[serde(skip_serializing_if = "unset")]
    pub ulimits: Vec<Ulimit>,
    /// Kernel settings of its namespaces.
    #[serde(skip_serializing_if = "unset")]
    pub sysctls: BTreeMap<String, String>,
    /// Host name, when it is not the container's id.
    #[serde(skip_serializing_if = "unset")]
    pub hostname: String,
    /// Domain name.
    #[serde(skip_serializing_if = "unset")]
    pub domainname: String,
    /// Has a terminal.
    #[serde(skip_serializing_if = "unset")]
    pub tty: bool,
    /// Its standard input stays open.
    #[serde(skip_serializing_if = "unset")]
    pub open_stdin: bool,
    /// An init process of the engine's reaps its children.
    #[serde(skip_serializing_if = "unset")]
    pub init: bool,
    /// Its root file system is read-only.
    #[serde(skip_serializing_if = "unset")]
    pub read_only_rootfs: bool,
    /// `no-new-privileges`, `seccomp=…`, `apparmor=…`, `label=…`, sorted. A seccomp profile is its digest.
    #[serde(skip_serializing_if = "unset")]
    pub security_opt: Vec<String>,
    /// tmpfs mounts: path to mount options.
    #[serde(skip_serializing_if = "unset")]
    pub tmpfs: BTreeMap<String, String>,
    /// Supplementary groups, sorted.
    #[serde(skip_serializing_if = "unset")]
    pub group_add: Vec<String>,
    /// Name servers, in order.
    #[serde(skip_serializing_if = "unset")]
    pub dns: Vec<String>,
    /// Search domains, in order.
    #[serde(skip_serializing_if = "unset")]
    pub dns_search: Vec<String>,
    /// Resolver options, in order.
    #[serde(skip_serializing_if = "unset")]
    pub dns_options: Vec<String>,
    /// Lines of `/etc/hosts` as `name:address`, in order.
    #[serde(skip_serializing_if = "unset")]
    pub extra_hosts: Vec<String>,
    /// Static addresses by network.
    #[serde(skip_serializing_if = "unset")]
    pub addresses: BTreeMap<String, StaticAddress>,
    /// Signal that stops it, when it is not the image's.
    #[serde(skip_serializing_if = "unset")]
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL.
    #[serde(skip_serializing_if = "unset")]
    pub stop_timeout_seconds: Option<i64>,
    /// PID namespace: `host`, `container:NAME`.
    #[serde(skip_serializing_if = "unset")]
    pub pid_mode: String,
    /// IPC namespace: `host`, `none`, `container:NAME`.
    #[serde(skip_serializing_if = "unset")]
    pub ipc_mode: String,
    /// UTS namespace: `host`.
    #[serde(skip_serializing_if = "unset")]
    pub uts_mode: String,
    /// User namespace: `host`, `keep-id`, `auto` …
    #[serde(skip_serializing_if = "unset")]
    pub userns_mode: String,
    /// OCI runtime, when it is not the engine's usual one.
    #[serde(skip_serializing_if = "unset")]
    pub runtime: String,
    /// Options of the log driver that say how much is kept and under which tag; no others are read.
    #[serde(skip_serializing_if = "unset")]
    pub log_options: BTreeMap<String, String>,
    /// The pod of Podman's that it belongs to.
    #[serde(skip_serializing_if = "unset")]
    pub pod: Option<Pod>,
}

/// A resource limit (setrlimit(2)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// Soft limit; -1 means none.
    pub soft: i64,
    /// Hard limit; -1 means none.
    pub hard: i64,
}

/// Addresses that a user chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StaticAddress {
    /// IPv4 address.
    #[serde(skip_serializing_if = "unset")]
    pub ipv4: String,
    /// IPv6 address.
    #[serde(skip_serializing_if = "unset")]
    pub ipv6: String,
}

/// A pod: containers of Podman's that share namespaces. Those that name the same pod are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Namespaces that this container shares with the pod: ipc, net, pid, user, uts.
    pub shares: Vec<String>,
}

/// Whether a value is its type's default. For `skip_serializing_if`.
pub(super) fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
