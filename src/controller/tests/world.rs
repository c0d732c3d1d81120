//! Everything that is there besides the controller: API server, host, hypervisor, guest, time; and
//! the processes of the controller that live in it, one after the other.

use std::time::Duration;

use safetytwin_crds::DigitalTwin;
use safetytwin_crds::item::UnitItem;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::api::{Server, Store, is_going};
use super::fate::{Fate, Trouble};
use super::host;
use super::machines::Machines;
use super::time::Time;
use crate::controller::run::{self, Ports, Settings};
use crate::guest::fake::FakeGuest;

/// Namespace of the twin.
pub const NAMESPACE: &str = "ops";
/// Name of the twin.
pub const TWIN: &str = "web-01";

/// Time without an effect after which nothing more is expected.
const QUIET: Duration = Duration::from_secs(30);
/// Longest that a process may be busy.
const PATIENCE: Duration = Duration::from_secs(1200);
/// How long a guest cannot be reached after a fault; a longer silence would count as a lost channel.
const OUTAGE: Duration = Duration::from_millis(300);
/// Time between the death of a process and the start of the next one.
const RESTART: Duration = Duration::from_secs(3);

/// A world.
pub struct World {
    pub server: Server,
    pub machines: Machines,
    pub time: Time,
    /// The host does not beat.
    pub is_host_silent: bool,
    fate: Fate,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It died.
    Died,
    /// It was ended, because it has nothing more to do or its time is up.
    Ended,
}

impl World {
    /// A world without objects; the guest's image has these executables.
    pub fn new(executables: &[&str]) -> Self {
        let guest = FakeGuest::new();
        for executable in executables {
            guest.add_executable(executable);
        }
        let fate = Fate::default();
        let time = Time::new("2026-11-24T08:00:00Z".parse().unwrap());
        Self {
            server: Server::new(Store::default(), fate.clone(), time.clone()),
            machines: Machines::new(guest, fate.clone()),
            time,
            is_host_silent: false,
            fate,
        }
    }

    /// The same world, with a future of its own. No process runs.
    pub fn fork(&self) -> Self {
        let fate = Fate::default();
        let time = self.time.fork();
        Self {
            server: Server::new(self.server.look(Store::fork), fate.clone(), time.clone()),
            machines: self.machines.fork(fate.clone()),
            time,
            is_host_silent: self.is_host_silent,
            fate,
        }
    }

    /// The host runs these units from now on.
    pub fn host_runs(&self, units: &[UnitItem]) {
        host::publish(&self.server, &self.time, units);
    }

    /// One process of the controller, from its start until it dies or has nothing more to do. A
    /// process is a runtime of its own: when it ends, nothing of it is left.
    pub fn run_controller(&self, trouble: Option<Trouble>) -> Exit {
        self.run_until(trouble, self.quiet())
    }

    /// One process that runs for so long.
    pub fn run_for(&self, time: Duration) {
        let end = async { tokio::time::sleep(time).await };
        assert_eq!(self.run_until(None, end), Exit::Ended);
    }

    /// One process that gets to the end.
    pub fn settle(&self) {
        assert_eq!(self.run_controller(None), Exit::Ended);
    }

    fn run_until(&self, trouble: Option<Trouble>, end: impl Future<Output = ()>) -> Exit {
        self.fate.begin(trouble);
        self.machines.begin_process();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            self.time.start();
            if !self.is_host_silent {
                tokio::spawn(host::beat(self.server.clone(), self.time.clone()));
            }
            tokio::spawn(reconnect(self.fate.clone(), self.machines.clone()));
            let (_stop, stopped) = watch::channel(false);
            let controller = run::run(self.server.client(), settings(), self.ports(), stopped);
            let exit = tokio::select! {
                biased;
                () = self.death() => Exit::Died,
                () = end => Exit::Ended,
                ended = controller => panic!("the controller ended by itself: {ended:?}"),
            };
            self.time.stop();
            if exit == Exit::Died {
                self.time.pass(RESTART);
            }
            exit
        })
    }

    async fn death(&self) {
        self.fate.struck().await;
        if !self.fate.is_dead() {
            std::future::pending().await
        }
    }

    /// Whether the trouble of the last process came.
    pub fn was_struck(&self) -> bool {
        self.fate.is_struck()
    }

    /// Status of the twin; null when there is none.
    pub fn twin_status(&self) -> Value {
        let twin = self.server.read::<DigitalTwin>(NAMESPACE, TWIN);
        twin.map(|twin| twin["status"].clone()).unwrap_or_default()
    }

    /// What the last effects of the last process were.
    pub fn last_effects(&self, n: usize) -> Vec<String> {
        self.fate.last(n)
    }

    fn ports(&self) -> Ports {
        Ports {
            hypervisors: std::sync::Arc::new(self.machines.clone()),
            doors: std::sync::Arc::new(self.machines.clone()),
            clock: std::sync::Arc::new(self.time.clone()),
        }
    }

    async fn quiet(&self) {
        let began = tokio::time::Instant::now();
        let (mut seen, mut since) = (0, began);
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let count = self.fate.count();
            if count != seen || !self.under_way().is_empty() {
                (seen, since) = (count, tokio::time::Instant::now());
            }
            if since.elapsed() >= QUIET {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "still busy: {:#?}\n{:#?}",
                self.fate.last(12),
                self.under_way()
            );
        }
    }

    /// What was begun and must come to an end.
    fn under_way(&self) -> Vec<String> {
        let is_begun = |object: &Value| {
            let status = &object["status"];
            is_going(object) || !status["operation"].is_null() || !status["pendingRemoval"].is_null()
        };
        self.server.look(|store| {
            let begun = store.objects().iter().filter(|(_, object)| is_begun(object));
            begun.map(|(key, _)| key.to_string()).collect()
        })
    }
}

/// After a fault the guest can be reached again soon.
async fn reconnect(fate: Fate, machines: Machines) {
    fate.struck().await;
    if !fate.is_dead() {
        tokio::time::sleep(OUTAGE).await;
        machines.begin_process();
    }
}

fn settings() -> Settings {
    Settings {
        namespace: "safetytwin".into(),
        accounts: safetytwin_crds::access::ACCOUNTS.into(),
        metrics_address: None,
        concurrency: 4,
        elect: false,
        identity: "controller".into(),
    }
}
