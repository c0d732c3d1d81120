//! The command line of `twin-agent`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use safetytwin_crds::hoststate::Source;
use safetytwin_crds::names::{HostName, InvalidName};

use crate::collect::optin::{Choice, Chosen, Pattern};
use crate::collect::processes::helper::Helper;
use crate::enroll;
use crate::hostroot::HostRoot;
use crate::privileges::Place;
use crate::redact::{Allowed, Redactor};
use crate::settings::{HelperSlot, Level, SelfTest, Settings};

const EXAMPLES: &str = "\
Examples:
  twin-agent --once -o yaml                  what this host runs, on standard output; needs no cluster
  twin-agent --once -o json | twin plan -    what of it could be twinned
  twin-agent --node-name web-01 --kubeconfig /etc/safetytwin/kubeconfig --level full
  twin-agent --node-name \"$NODE_NAME\" --root /host    in a pod; the host's directories below /host
  twin-agent --print-privileges --level full    what the service may do, and why";

/// Publishes what this Linux host runs: services, containers, independent processes, the machine.
#[derive(Debug, Parser)]
#[command(name = "twin-agent", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Something else than publishing.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Name of this host: the node's name, or ext-NAME for an enrolled machine.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// Where the host's file tree is mounted.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// The host's procfs.
    #[arg(long, default_value = "/proc", global = true)]
    pub proc: PathBuf,
    /// The host's sysfs.
    #[arg(long, default_value = "/sys")]
    pub sys: PathBuf,
    /// The host's system bus [default: ROOT/run/dbus/system_bus_socket].
    #[arg(long)]
    pub dbus_socket: Option<PathBuf>,
    /// Docker's API socket [default: ROOT/run/docker.sock].
    #[arg(long)]
    pub docker_socket: Option<PathBuf>,
    /// Podman's API socket [default: ROOT/run/podman/podman.sock].
    #[arg(long)]
    pub podman_socket: Option<PathBuf>,
    /// What to read of other users' processes [default: basic; with --once full, as far as the caller may].
    #[arg(long, value_enum)]
    pub level: Option<Level>,
    /// Seconds between two beats.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Seconds within which a head is written although nothing but the load has changed, in whole beats, at least one.
    /// More than one spares the cluster of a large fleet: a change is still published at once, the load and the end
    /// of a host are seen so much later [default: each beat].
    #[arg(long, env = "TWIN_AGENT_HEARTBEAT", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub heartbeat: Option<u64>,
    /// Seconds that a process must live to be listed, and be gone to leave.
    #[arg(long, default_value_t = 30)]
    pub min_age: u64,
    /// Opt-in sections to publish too, separated by commas or repeated.
    #[arg(long, value_enum, value_delimiter = ',', env = "TWIN_AGENT_SECTIONS")]
    pub section: Vec<Choice>,
    /// What the section `files` is of: an absolute path in which * stands for any text within one
    /// name; separated by commas or repeated.
    #[arg(
        long,
        value_name = "PATTERN",
        value_delimiter = ',',
        env = "TWIN_AGENT_FILES",
        required_if_eq("section", "files")
    )]
    pub file: Vec<Pattern>,
    /// Variables of which the value may be published when a unit file sets it, beside those of a kind that holds no
    /// secret; `*` at the end stands for any rest; separated by commas or repeated.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        env = "TWIN_AGENT_ENVIRONMENT"
    )]
    pub environment: Vec<String>,
    /// Kubeconfig to reach the cluster with [default: KUBECONFIG, else the pod's service account].
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// File with the token to present, read again when it changes.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Namespace of the hosts' accounts: the agent of a node takes a token of its host's account there, and the token that
    /// it begins with makes the HostState only [default: the token that it begins with is the host's own].
    #[arg(long, value_name = "NAME", env = "TWIN_AGENT_ACCOUNTS")]
    pub accounts: Option<String>,
    /// What to do when the cluster lets this agent write another host's objects.
    #[arg(long, value_enum, default_value = "require")]
    pub admission_self_test: SelfTest,
    /// Serve Prometheus metrics over HTTP at this address, without authentication [default: nowhere].
    #[arg(long, value_name = "IP:PORT", env = "TWIN_AGENT_METRICS_ADDRESS")]
    pub metrics_address: Option<SocketAddr>,
    /// Look once, print a v1 List and end.
    #[arg(long)]
    pub once: bool,
    /// Say what the agent may do where it runs (a pod when --root is given, else a service), why, and end.
    #[arg(long, conflicts_with = "once")]
    pub print_privileges: bool,
    /// Format of --once [default: yaml] and --print-privileges [default: a table].
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// What else it can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes this machine a monitored host of a cluster that it is not a node of.
    Enroll(enroll::Args),
}

/// Formats for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Cli {
    /// The host's name: the flag, else the machine's own.
    pub fn host(&self) -> Result<HostName, InvalidName> {
        match &self.node_name {
            Some(name) => name.parse(),
            None => std::fs::read_to_string(self.proc.join("sys/kernel/hostname"))
                .unwrap_or_default()
                .trim()
                .to_lowercase()
                .parse(),
        }
    }

    /// The level of this run.
    pub fn level(&self) -> Level {
        let default = if self.once { Level::Full } else { Level::Basic };
        self.level.unwrap_or(default)
    }

    /// Where this agent runs.
    pub fn place(&self) -> Place {
        if self.root == std::path::Path::new("/") {
            Place::Service
        } else {
            Place::Pod
        }
    }

    /// Settings of this run; `helper` is the process of level full.
    pub fn settings(&self, helper: Option<Helper>) -> Result<Settings, InvalidName> {
        let host = self.host()?;
        let below =
            |given: &Option<PathBuf>, path: &str| given.clone().unwrap_or_else(|| self.root.join(path));
        let source = if host.as_str().starts_with("ext-") {
            Source::Enrolled
        } else {
            Source::Node
        };
        let root = HostRoot::new(&self.root, &self.proc, &self.sys);
        Ok(Settings {
            host,
            source,
            redactor: Redactor::of_host(&root).allowing(Allowed::new(&self.environment)),
            root,
            dbus_socket: below(&self.dbus_socket, "run/dbus/system_bus_socket"),
            docker_socket: below(&self.docker_socket, "run/docker.sock"),
            podman_socket: below(&self.podman_socket, "run/podman/podman.sock"),
            level: self.level(),
            helper: HelperSlot::new(helper, self.proc.clone()),
            min_age: Duration::from_secs(self.min_age),
            interval: Duration::from_secs(self.interval),
            beats_per_head: u32::try_from(self.heartbeat.unwrap_or(0) / self.interval.max(1))
                .unwrap_or(u32::MAX)
                .max(1),
            opt_in: Chosen {
                sections: self.section.clone(),
                files: self.file.clone(),
            },
        })
    }
}
