//! The lab of all sentences: what runs on its host, which images are on its node, what is installed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use safetytwin_e2e::cache::Cache;
use safetytwin_e2e::images::Archives;
use safetytwin_e2e::lab::process::{Process, built_binary};
use safetytwin_e2e::lab::{Lab, Options, node};
use safetytwin_e2e::prepare::prepared;
use safetytwin_e2e::product::{self, AgentPlace, NAMESPACE, chart, images};
use safetytwin_e2e::progress::stage;
use serde_json::Value;

/// Name of the lab.
const NAME: &str = "installation-tests";

/// What runs on the host beside what every Debian has.
const SCENE: &str = "\
printf '[Service]\\nExecStart=/bin/false\\n' > /etc/systemd/system/broken.service
printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/idle.service
systemctl daemon-reload
systemctl start broken.service
cd /srv && setsid --fork sleep 987654 < /dev/null > /dev/null 2>&1
docker load --quiet --input /usr/share/lab/busybox.tar
docker run --detach --name web --network none localhost/busybox:1 httpd -f -p 8080";

/// What of the chart is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The agent's pod; the controller runs beside the cluster.
    Agent,
    /// The agent's pod, and the controller's on the same node.
    Both,
}

/// The lab and its state.
#[derive(Clone)]
pub struct World {
    pub lab: Lab,
    /// What the cluster held before the chart.
    pub before: Arc<BTreeSet<String>>,
    installed: Arc<Mutex<Option<Installed>>>,
    /// The controller beside the cluster.
    controller: Arc<Mutex<Option<Process>>>,
    /// The import of the controller's image: it goes on while the agent is tested.
    controller_image: Arc<Mutex<Option<JoinHandle<Result<()>>>>>,
}

impl World {
    /// Brings up the lab with both images.
    pub fn up() -> Result<Self> {
        let prepared = prepared()?;
        let cache = prepared.cache.clone();
        // While the host boots.
        let building = std::thread::spawn(move || images::of_this_build(&cache));
        let lab = Lab::up(NAME, prepared, Options::default())?;
        let built = building
            .join()
            .map_err(|_| anyhow!("the build of the images panicked"));
        match built.and_then(|built| Self::set(&lab, &built?)) {
            Ok(world) => Ok(world),
            Err(error) => {
                let kept = lab.keep_diagnostics("images");
                Lab::down(&Cache::open()?, NAME)?;
                Err(error.context(kept))
            }
        }
    }

    fn set(lab: &Lab, archives: &Archives) -> Result<Self> {
        stage("what runs on the host", || lab.host().run(SCENE))?;
        stage("image of the agent: onto the node", || {
            lab.import_image(&archives.agent)
        })?;
        let before = Arc::new(objects(lab)?);
        let (importer, archive) = (lab.clone(), archives.controller.clone());
        let import = std::thread::spawn(move || importer.import_image(&archive));
        Ok(Self {
            lab: lab.clone(),
            before,
            installed: Arc::default(),
            controller: Arc::default(),
            controller_image: Arc::new(Mutex::new(Some(import))),
        })
    }

    /// Installs the chart unless it is, and waits for the agent's first beat.
    pub fn install(&self, what: Installed) -> Result<()> {
        if *held(&self.installed) == Some(what) {
            return Ok(());
        }
        let own: &[&str] = match what {
            Installed::Agent => &["controller.mode=External"],
            Installed::Both => {
                self.wait_for_controller_image()?;
                &["controller.allowOnMonitoredHost=true"]
            }
        };
        chart::install(&self.lab, &[product::AGENT, own].concat())?;
        *held(&self.controller) = match what {
            Installed::Agent => Some(product::start_controller(&self.lab)?),
            Installed::Both => None,
        };
        *held(&self.installed) = Some(what);
        product::agent::install(&self.lab, AgentPlace::DaemonSet)
    }

    /// Says that the chart is gone.
    pub fn uninstalled(&self) {
        *held(&self.installed) = None;
    }

    fn wait_for_controller_image(&self) -> Result<()> {
        match held(&self.controller_image).take() {
            Some(import) => import
                .join()
                .map_err(|_| anyhow!("the import of the controller's image panicked"))?,
            None => Ok(()),
        }
    }

    /// The pods of one of the chart's components.
    pub fn pods(&self, component: &str) -> Result<Vec<Value>> {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let text = self
            .lab
            .kubectl(["get", "pods", "-n", NAMESPACE, &selector, "-o", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list.get("items").and_then(Value::as_array);
        Ok(items.cloned().unwrap_or_default())
    }

    /// The items of a section, decoded by `twin host show`.
    pub fn section(&self, name: &str) -> Result<Vec<Value>> {
        let mut twin = self.lab.command(built_binary("twin")?);
        twin.args(["host", "show", node::NAME, "--section", name, "-o", "json"]);
        let text = safetytwin_e2e::command::output(&mut twin)?;
        serde_json::from_str(&text).with_context(|| format!("section {name} is no list: {text}"))
    }

    /// Ends the lab; after a failure its logs and objects are kept first.
    pub fn end(&self, failed: bool) {
        if let Err(error) = self.wait_for_controller_image() {
            eprintln!("{error:#}");
        }
        if failed {
            eprintln!("{}", self.lab.keep_diagnostics("tests"));
            if std::env::var_os("SAFETYTWIN_KEEP_LAB").is_some() {
                eprintln!("the lab runs on: lab --name {NAME} shell");
                return;
            }
        }
        if let Err(error) = Cache::open().and_then(|cache| Lab::down(&cache, NAME)) {
            eprintln!("the lab did not end: {error:#}");
        }
    }
}

/// Every object of the cluster as `Kind/namespace/name`, except what comes and goes by itself.
pub fn objects(lab: &Lab) -> Result<BTreeSet<String>> {
    let kinds = lab.kubectl(["api-resources", "--verbs=list", "-o", "name"])?;
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && *kind != "componentstatuses")
        .collect();
    let line = r#"jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{"\n"}{end}"#;
    let text = lab.kubectl(["get", &kinds.join(","), "--all-namespaces", "-o", line])?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// A text at a path of an object; empty when there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
