//! Settings that collectors and the publisher share, after the command line is read.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use safetytwin_crds::hoststate::Source;
use safetytwin_crds::names::HostName;

use crate::collect::optin::Chosen;
use crate::collect::processes::helper::Helper;
use crate::collect::processes::helper::end::{End, HelperEnded};
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

/// The helper process, handed once to the collector that speaks with it.
#[derive(Clone)]
pub struct HelperSlot {
    helper: Arc<Mutex<Option<Helper>>>,
    end: Option<End>,
    proc: PathBuf,
}

impl HelperSlot {
    /// Holds `helper`.
    pub fn new(helper: Option<Helper>, proc: PathBuf) -> Self {
        Self {
            end: helper.as_ref().and_then(Helper::end),
            helper: Arc::new(Mutex::new(helper)),
            proc,
        }
    }

    /// Resolves when the agent is to end because the helper did; never without one.
    pub async fn ended(&self) -> HelperEnded {
        match &self.end {
            Some(end) => end.wait().await,
            None => std::future::pending().await,
        }
    }

    /// The helper; afterwards, or without one, what this process may read itself.
    pub fn take(&self) -> Helper {
        let held = self.helper.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.unwrap_or_else(|| Helper::none(&self.proc))
    }
}

/// How much the agent may see of processes that are not its own user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// No CAP_SYS_PTRACE: comm, argv, user and cgroup.
    Basic,
    /// A helper process with CAP_SYS_PTRACE adds executable, working directory and sockets.
    Full,
}

/// What to do when the cluster lets this agent write another host's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SelfTest {
    /// Refuse to publish.
    Require,
    /// Warn and publish.
    Warn,
}

/// Settings of one run.
#[derive(Clone)]
pub struct Settings {
    /// Name of this host.
    pub host: HostName,
    /// How the agent proves who it is.
    pub source: Source,
    /// The host's tree.
    pub root: HostRoot,
    /// What takes secrets out of all that is published.
    pub redactor: Redactor,
    /// The host's system bus socket, as this process sees it.
    pub dbus_socket: PathBuf,
    /// The Docker socket, as this process sees it.
    pub docker_socket: PathBuf,
    /// Podman's API socket, as this process sees it.
    pub podman_socket: PathBuf,
    /// What of other users' processes to read.
    pub level: Level,
    /// The helper of level full.
    pub helper: HelperSlot,
    /// How long an identity must live to be an independent process, and be gone to leave.
    pub min_age: Duration,
    /// Time between two beats: looks at what does not tell of its changes.
    pub interval: Duration,
    /// Beats from one head to the next while nothing but the load changes; at least one.
    pub beats_per_head: u32,
    /// What the administrator chose beyond what every host publishes.
    pub opt_in: Chosen,
}

impl Settings {
    /// Longest time between two heads.
    pub fn heartbeat(&self) -> Duration {
        self.interval * self.beats_per_head
    }
}
