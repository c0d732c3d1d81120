//! What many hosts cost the control plane: simulated hosts that publish with the product's own code through a real
//! kube-apiserver into a real etcd, then kubelets that write what kubelets write. Needs neither node nor hypervisor.
//!
//! ```text
//! API server, chart, controller ─▶ no hosts ─▶ hosts of each habit ─▶ kubelets ─▶ very many hosts
//! ```

mod etcd;
mod habit;
mod hosts;
mod kubelets;
mod program;
mod rows;
mod window;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use super::sheet::Sheet;
use super::{Part, Settings, example, machine};
use crate::api_server::ApiServer;
use crate::cache::Cache;
use crate::command::output_within;
use crate::lab::process::built_binary;
use crate::prepare::control_plane::ControlPlane;
use crate::prepare::{alone, preconditions};
use crate::product::{NAMESPACE, repository};
use crate::progress::{note, stage};
use crate::wait::{self, Look};
use habit::Habit;
use kubelets::Kubelets;
use program::Program;
use rows::{Many, Measured, Sizes};
use window::{Window, watch};

/// What the hosts do, one window after the other.
const HABITS: [Habit; 4] = [
    Habit::EACH_BEAT,
    Habit::EACH_BEAT.with_changes(),
    Habit::SPARING,
    Habit::SPARING.with_changes(),
];
/// Windows of one run: these, and the peer's.
const WINDOWS: u32 = 5;
/// Hosts that are only there for the size of their heads.
const MESSAGES: &str = "ext-messages";
const LARGE: &str = "ext-large";
/// A window without hosts, and one of very many.
const BARE: Duration = Duration::from_secs(60);
const MANY: Duration = Duration::from_secs(180);
/// First beats write all sections; a window begins after them.
const SETTLE: Duration = Duration::from_secs(30);
/// Hosts that start in one second: each makes about ten requests at its start.
const STARTS: u64 = 12;

/// Starts the API server, measures, and removes its files.
///
/// # Errors
/// The API server, the chart or the fleet does not start, or one of them ends.
pub(super) fn run(settings: &Settings) -> Result<Sheet> {
    let programs = Programs {
        fleet: example("fleet")?,
        controller: built_binary("twin")?,
    };
    preconditions::check()?;
    let cache = Cache::open()?;
    {
        let _alone = alone(&cache)?;
        ControlPlane::new(&cache)?.build(&cache)?;
    }
    let state = cache.root().join("fleet");
    if state.exists() {
        std::fs::remove_dir_all(&state)?;
    }
    std::fs::create_dir_all(&state)?;
    let fleet = Fleet {
        server: Arc::new(stage("etcd and kube-apiserver", || ApiServer::start(&state))?),
        programs,
    };
    let measured = fleet.measure(settings);
    measured.with_context(|| format!("logs are in {}", state.display()))
}

/// A client of the API server, on this thread.
fn with_client<T, F>(server: &ApiServer, work: impl FnOnce(Client) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    // Fails when a provider is installed already, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let file = Kubeconfig::read_from(server.kubeconfig()).context("failed to read the kubeconfig")?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        work(Client::try_from(config)?).await
    })
}

struct Programs {
    fleet: PathBuf,
    controller: PathBuf,
}

/// The API server and what runs beside it.
struct Fleet {
    server: Arc<ApiServer>,
    programs: Programs,
}

impl Fleet {
    fn measure(&self, settings: &Settings) -> Result<Sheet> {
        stage("chart", || self.install())?;
        let minutes = Duration::from_secs(settings.fleet_minutes * 60);
        let hosts = settings.fleet_hosts;
        let mut controller = stage("controller", || self.controller())?;
        let bare = self.window("no hosts", 0, BARE, || controller.check())?;
        let length = minutes / WINDOWS;
        let mut windows = Vec::new();
        for habit in HABITS {
            windows.push((habit, self.hosts(hosts, habit, length, &mut controller)?));
        }
        let sizes = self.sizes()?;
        drop(controller);
        let mut missing = Vec::new();
        let mut optional = |what: &str, error: anyhow::Error| {
            println!("            {what}: {error:#}");
            missing.push(format!("{what}: {error:#}"));
        };
        let kubelets = self.kubelets(hosts, length);
        let kubelets = kubelets.map_err(|error| optional("kubelets", error)).ok();
        let many = (settings.fleet_many > 0).then(|| self.many(settings.fleet_many));
        let many = many.and_then(|many| many.map_err(|error| optional("very many hosts", error)).ok());
        let measured = Measured {
            bare,
            windows,
            sizes,
            kubelets,
            many,
        };
        Ok(Sheet {
            name: Part::Fleet.sheet().to_owned(),
            conditions: self.conditions(hosts, length)?,
            figures: measured.figures(),
            missing,
            samples: serde_json::to_value(&measured)?,
        })
    }

    fn install(&self) -> Result<()> {
        self.server.text(&["create", "namespace", NAMESPACE])?;
        let mut helm = self.server.command("helm")?;
        helm.args(["install", "safetytwin", "--namespace", NAMESPACE])
            .arg(repository().join("charts/safetytwin"))
            .args(["--set", "image.repository=localhost/safetytwin"])
            .args([
                "--set",
                "enrolled.enabled=true,controller.mode=External,uninstall.check=false",
            ]);
        output_within(&mut helm, &[], Duration::from_secs(120))?;
        wait::until("the kinds of the product", Duration::from_secs(60), || {
            self.heads().map(Look::Ready)
        })?;
        Ok(())
    }

    /// `twin controller` with a token of its service account, after its first look at the cluster.
    fn controller(&self) -> Result<Program> {
        let account = [
            "create",
            "token",
            "safetytwin-controller",
            "--namespace",
            NAMESPACE,
        ];
        let token = self.server.text(&[&account[..], &["--duration=24h"]].concat())?;
        let kubeconfig = self.server.kubeconfig_of("controller", token.trim())?;
        let environment = BTreeMap::from([
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("RUST_LOG", "info".to_owned()),
        ]);
        let mut controller = self.program(
            "controller",
            &self.programs.controller,
            &["controller", "--namespace", NAMESPACE],
            &environment,
        )?;
        std::thread::sleep(Duration::from_secs(15));
        controller.check()?;
        Ok(controller)
    }

    fn program(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &BTreeMap<&str, String>,
    ) -> Result<Program> {
        let log = self.server.path(&format!("{name}.log"));
        Program::start(name, program, arguments, environment, &log)
    }

    /// Starts simulated hosts and waits until the heads of all are there, and have come to rest.
    fn start(&self, list: &str, hosts: &[(String, &str)], habit: Habit) -> Result<Program> {
        let file = self.server.path(&format!("{list}.json"));
        let fresh = !file.exists();
        if fresh {
            stage(&format!("accounts of {} hosts", hosts.len()), || {
                hosts::enrol(&self.server, list, hosts)
            })?;
        }
        let before = self.heads()?;
        let (kubeconfig, file) = (
            self.server.kubeconfig().display().to_string(),
            file.display().to_string(),
        );
        let words = [
            "--kubeconfig",
            &kubeconfig,
            "--hosts",
            &file,
            "--change-beats",
            &habit.change_beats.to_string(),
            "--beats-per-head",
            &habit.beats_per_head.to_string(),
            "--per-second",
            &STARTS.to_string(),
        ];
        let mut fleet = self.program("fleet", &self.programs.fleet, &words, &BTreeMap::new())?;
        let all = u64::try_from(hosts.len())?;
        let due = if fresh { before + all } else { before };
        // Ten requests each, on a machine that may take a hundredth of a second for one.
        let limit = Duration::from_secs(120 + all / 2);
        stage(&format!("{all} hosts begin to publish"), || {
            wait::until("the heads of all hosts", limit, || {
                fleet.check()?;
                let heads = self.heads()?;
                Ok(if heads >= due {
                    Look::Ready(())
                } else {
                    Look::NotYet(format!("{heads} of {due}"))
                })
            })?;
            // Hosts whose heads were there before are not seen to begin.
            let begin = if due == before { all / STARTS } else { 0 };
            std::thread::sleep(SETTLE + Duration::from_secs(begin));
            fleet.check()
        })?;
        Ok(fleet)
    }

    /// Heads in the cluster.
    fn heads(&self) -> Result<u64> {
        let path = "/apis/safetytwin.com/v1alpha1/hoststates?limit=1";
        let list: Value = serde_json::from_str(&self.server.text(&["get", "--raw", path])?)?;
        count(&list).context("the list of heads has no items")
    }

    fn window(
        &self,
        what: &str,
        hosts: u32,
        length: Duration,
        check: impl FnMut() -> Result<()>,
    ) -> Result<Window> {
        stage(&format!("{what}: watched for {} s", length.as_secs()), || {
            watch(&self.server, hosts, length, check)
        })
    }

    fn hosts(&self, count: u32, habit: Habit, length: Duration, controller: &mut Program) -> Result<Window> {
        let typical = (0..count).map(|number| (format!("ext-host-{number:04}"), "typical"));
        let special = [(MESSAGES.to_owned(), "messages"), (LARGE.to_owned(), "large")];
        let all: Vec<(String, &str)> = typical.chain(special).collect();
        let mut fleet = self.start("hosts", &all, habit)?;
        let what = format!("{count} hosts, {}", habit.what());
        let window = self.window(&what, u32::try_from(all.len())?, length, || {
            controller.check()?;
            fleet.check()
        })?;
        note(&format!("{:.1} heads for 100 beats", window.cadence()));
        Ok(window)
    }

    fn sizes(&self) -> Result<Sizes> {
        let head = |host: &str| etcd::head(self.server.etcd(), host);
        Ok(Sizes {
            typical: head("ext-host-0000")?,
            messages: head(MESSAGES)?,
            large: head(LARGE)?,
        })
    }

    fn kubelets(&self, count: u32, length: Duration) -> Result<Window> {
        let kubelets = stage(&format!("{count} nodes with leases"), || {
            Kubelets::start(&self.server, count)
        })?;
        std::thread::sleep(SETTLE);
        self.window(&format!("{count} kubelets"), count, length, || kubelets.check())
    }

    fn many(&self, count: u32) -> Result<Many> {
        let mut controller = stage("controller", || self.controller())?;
        let before = controller.usage()?;
        let names = (0..count).map(|number| (format!("ext-many-{number:05}"), "small"));
        let mut fleet = self.start("many", &names.collect::<Vec<_>>(), Habit::EACH_BEAT)?;
        let begun = controller.usage()?;
        let window = self.window(&format!("{count} hosts"), count, MANY, || {
            controller.check()?;
            fleet.check()
        })?;
        let after = controller.usage()?;
        ensure!(window.heads > 0.0, "no head was written");
        Ok(Many {
            hosts: count,
            window,
            before,
            begun,
            after,
        })
    }

    fn conditions(&self, hosts: u32, length: Duration) -> Result<Vec<(String, String)>> {
        let version: Value = serde_json::from_str(&self.server.text(&["version", "-o", "json"])?)?;
        let version = version
            .pointer("/serverVersion/gitVersion")
            .and_then(Value::as_str)
            .unwrap_or("unknown");
        let entries = [
            (
                "cluster",
                format!(
                    "Kubernetes {version} and etcd on this machine, not emulated, beside what writes; etcd without \
                     fsync, compacted every 5 minutes"
                ),
            ),
            (
                "fleet",
                format!(
                    "{hosts} simulated hosts of 120 units, 10 containers and 5 processes, and two large ones, each \
                     with an account and a token of its own under the admission policy; beat 10 s"
                ),
            ),
            (
                "watched",
                format!(
                    "{} s with each habit of the hosts, the peer for as long",
                    length.as_secs()
                ),
            ),
        ];
        let own = entries.map(|(title, text)| (title.to_owned(), text));
        Ok(machine::run()?.into_iter().chain(own).collect())
    }
}

/// How many objects there are, of a list that was asked for one.
fn count(list: &Value) -> Option<u64> {
    let first = u64::try_from(list.pointer("/items")?.as_array()?.len()).ok()?;
    let rest = list
        .pointer("/metadata/remainingItemCount")
        .and_then(Value::as_u64);
    Some(first + rest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_one_tells_how_many_there_are() {
        let list = json!({"metadata": {"remainingItemCount": 101}, "items": [{}]});
        assert_eq!(count(&list), Some(102));
        assert_eq!(count(&json!({"metadata": {}, "items": []})), Some(0));
        assert_eq!(count(&json!({})), None);
    }
}
