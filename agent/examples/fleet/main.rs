//! Many hosts in one process, for the figures of the control plane: each has a board with made-up content, and the
//! product's own publisher with a client and a token of its own. Built by `make bench`, run by `lab bench`, shipped
//! nowhere.

mod content;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use safetytwin_agent::collect::board::Board;
use safetytwin_agent::collect::optin::Chosen;
use safetytwin_agent::hostroot::HostRoot;
use safetytwin_agent::metrics::Counts;
use safetytwin_agent::publish::Publisher;
use safetytwin_agent::publish::api::{self, ClusterApi};
use safetytwin_agent::redact::Redactor;
use safetytwin_agent::settings::{HelperSlot, Level, SelfTest, Settings};
use safetytwin_crds::hoststate::Source;
use safetytwin_crds::names::HostName;
use serde::Deserialize;
use tokio::task::JoinSet;

use content::{Host, Shape};

/// Publishes the state of many hosts, until it is ended.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the API server is, and whom to trust; each host has its own token.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// JSON list of `{"name", "token", "shape"}`.
    #[arg(long)]
    hosts: PathBuf,
    /// Seconds between two beats.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Beats from one head to the next while nothing but the load of a host changes.
    #[arg(long, default_value_t = 1)]
    beats_per_head: u32,
    /// Beats after which one unit of a host changes; 0 means never.
    #[arg(long, default_value_t = 0)]
    change_beats: u32,
    /// Hosts that start in one second.
    #[arg(long, default_value_t = 20)]
    per_second: u32,
}

/// When a host says something.
#[derive(Clone, Copy)]
struct Habit {
    interval: Duration,
    beats_per_head: u32,
    change_beats: u32,
}

impl Arguments {
    fn habit(&self) -> Habit {
        Habit {
            interval: Duration::from_secs(self.interval),
            beats_per_head: self.beats_per_head,
            change_beats: self.change_beats,
        }
    }
}

/// One host of the list.
#[derive(Debug, Deserialize)]
struct Entry {
    name: HostName,
    token: String,
    shape: Shape,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("failed to choose the cryptography of TLS");
    }
    // A connection for each host.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    )?;
    let text = std::fs::read_to_string(&arguments.hosts).context("failed to read the list of hosts")?;
    let entries: Vec<Entry> = serde_json::from_str(&text).context("the list of hosts is broken")?;
    let config = config(&arguments.kubeconfig).await?;
    let pause = Duration::from_secs(1) / arguments.per_second.max(1);
    let mut hosts = JoinSet::new();
    let all = entries.len();
    for entry in entries {
        hosts.spawn(run(entry, config.clone(), arguments.habit()));
        tokio::time::sleep(pause).await;
    }
    println!("{all} hosts publish");
    match hosts.join_next().await {
        Some(ended) => ended?,
        None => bail!("the list of hosts is empty"),
    }
}

async fn config(file: &Path) -> anyhow::Result<Config> {
    let file = Kubeconfig::read_from(file).context("failed to read the kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.auth_info = kube::config::AuthInfo::default();
    config.default_retry = false;
    Ok(config)
}

/// One host: its load moves each beat, and now and then one of its units changes.
async fn run(entry: Entry, mut config: Config, habit: Habit) -> anyhow::Result<()> {
    config.auth_info.token = Some(entry.token.into());
    let (client, brake) = api::client(&config)?;
    let proc = PathBuf::from("/proc");
    let settings = Settings {
        host: entry.name.clone(),
        source: Source::Enrolled,
        root: HostRoot::new("/", &proc, "/sys"),
        redactor: Redactor::default(),
        opt_in: Chosen::default(),
        dbus_socket: PathBuf::new(),
        docker_socket: PathBuf::new(),
        podman_socket: PathBuf::new(),
        level: Level::Basic,
        helper: HelperSlot::new(None, proc),
        min_age: Duration::from_secs(30),
        interval: habit.interval,
        beats_per_head: habit.beats_per_head,
    };
    let board = Board::default();
    let mut host = Host::new(entry.shape);
    host.post_all(&board);
    let publisher = Publisher::new(
        settings,
        board.clone(),
        (ClusterApi::new(client, None), brake),
        SelfTest::Require,
        Counts::default(),
    );
    let moves = async {
        for beat in 1_u32.. {
            tokio::time::sleep(habit.interval).await;
            host.post_load(&board);
            if habit.change_beats > 0 && beat.is_multiple_of(habit.change_beats) {
                host.change_a_unit(&board);
            }
        }
    };
    tokio::select! {
        error = publisher.run() => Err(error).with_context(|| format!("{} may not publish", entry.name)),
        () = moves => Ok(()),
    }
}
