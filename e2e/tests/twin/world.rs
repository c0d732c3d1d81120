//! The lab with the product in it, shared by all sentences.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use safetytwin_e2e::cache::Cache;
use safetytwin_e2e::lab::process::Process;
use safetytwin_e2e::lab::{Lab, Options};
use safetytwin_e2e::prepare::prepared;
use safetytwin_e2e::product::{self, AgentPlace};

/// Name of the lab of the tests; the demo's is another.
const NAME: &str = "twin-tests";

/// Whether the lab is to be kept for another run (`SAFETYTWIN_KEEP_LAB=1`): for work on single sentences.
fn keeps() -> bool {
    std::env::var_os("SAFETYTWIN_KEEP_LAB").is_some()
}

/// The lab, and the controller that runs in it.
#[derive(Clone)]
pub struct World {
    pub lab: Lab,
    controller: Arc<Mutex<Option<Process>>>,
}

/// By default the agent listens nowhere.
const METRICS_DROP_IN: &str = "/etc/systemd/system/twin-agent.service.d/metrics.conf";
const METRICS: &str = "[Service]\nEnvironment=TWIN_AGENT_METRICS_ADDRESS=127.0.0.1:9101\n";

impl World {
    /// Brings up the lab and installs the product.
    pub fn up() -> Result<Self> {
        if let Some(kept) = Self::kept() {
            return kept;
        }
        let lab = Lab::up(NAME, prepared()?, Options::default())?;
        // No sentence has a pod, and a kubelet that has none takes a fifth of an emulated processor.
        let installed = lab
            .host()
            .run("systemctl stop kubelet.service")
            .and_then(|_| lab.host().write(METRICS_DROP_IN, METRICS))
            .and_then(|_| product::install(&lab, AgentPlace::Service));
        match installed {
            Ok(controller) => Ok(Self {
                lab,
                controller: Arc::new(Mutex::new(Some(controller))),
            }),
            Err(error) => {
                let kept = lab.keep_diagnostics("install");
                Lab::down(&Cache::open()?, NAME)?;
                Err(error.context(kept))
            }
        }
    }

    /// The lab that an earlier run left, with the agent and the controller of this build.
    fn kept() -> Option<Result<Self>> {
        keeps().then_some(())?;
        let lab = Lab::attach(NAME, prepared().ok()?).ok()?;
        let again = || {
            // Its controller outlived the run that started it; none is no failure.
            let _ = lab
                .command("pkill")
                .args(["--signal", "KILL", "--exact", "twin"])
                .status();
            product::install_chart(&lab, AgentPlace::Service)?;
            let controller = product::start_controller(&lab)?;
            product::agent::install(&lab, AgentPlace::Service)?;
            Ok(controller)
        };
        let controller = again();
        Some(controller.map(|controller| Self {
            lab,
            controller: Arc::new(Mutex::new(Some(controller))),
        }))
    }

    /// Ends the lab; after a failure its logs and objects are kept first.
    pub fn end(&self, failed: bool) {
        if failed {
            eprintln!("{}", self.lab.keep_diagnostics("tests"));
        }
        if keeps() {
            eprintln!("the lab runs on: lab --name {NAME} shell");
            std::mem::forget(self.controller.lock().ok().and_then(|mut slot| slot.take()));
            return;
        }
        if let Err(error) = Cache::open().and_then(|cache| Lab::down(&cache, NAME)) {
            eprintln!("the lab did not end: {error:#}");
        }
    }

    /// Works on the controller process: `None` while it is stopped.
    pub fn with_controller<T>(&self, work: impl FnOnce(&mut Option<Process>) -> Result<T>) -> Result<T> {
        let mut slot = self
            .controller
            .lock()
            .map_err(|_| anyhow::anyhow!("a sentence panicked"))?;
        work(&mut slot)
    }

    /// Kills the controller as a crash would.
    pub fn crash_controller(&self) -> Result<()> {
        self.with_controller(|slot| slot.take().map_or(Ok(()), |mut process| process.crash()))
    }

    /// Starts the controller again.
    pub fn start_controller(&self) -> Result<()> {
        self.with_controller(|slot| {
            *slot = Some(product::start_controller(&self.lab)?);
            Ok(())
        })
    }
}
