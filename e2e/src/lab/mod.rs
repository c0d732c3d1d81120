//! One running lab: what starts it, ends it, and what a test or a person does with it.
//!
//! A lab has a name and a directory `~/.cache/safetytwin/labs/NAME/` (keys, kubeconfigs, logs, libvirt's state);
//! labs of different names run side by side. Processes outlive the one that started them; [`Lab::attach`] finds a
//! running lab again. Commands run inside by `nsenter`; a client in this process enters the network by
//! [`Lab::with_client`].

pub mod client;
pub mod control_plane;
pub mod diagnostics;
pub mod guest;
pub mod host;
pub mod hypervisor;
mod namespaces;
mod native;
pub mod node;
pub mod node_images;
pub mod pki;
pub mod process;
pub mod scratch;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Lock};
use crate::command::{append, output, output_within};
use crate::prepare::Prepared;
use crate::progress::{note, stage};
use host::Host;
use namespaces::Namespaces;
use pki::Authority;

/// Name of the lab that the demo and people use.
pub const DEFAULT_NAME: &str = "safetytwin-lab";

/// Name of the lab that the tests share.
pub const TEST_NAME: &str = "safetytwin-test";

/// Marks a lab that is up; holds what it was made from.
const UP: &str = "up";

/// What the monitored host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitored {
    /// There is none.
    Nothing,
    /// A VM that is a Kubernetes node.
    Vm,
    /// systemd in namespaces, on this machine's own processor; no kubelet.
    Native,
}

/// What of a lab is to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The monitored host.
    pub host: Monitored,
    /// libvirt with the pool of twins; a host that is a VM needs it.
    pub hypervisor: bool,
    /// Memory of the monitored host in MiB, if it is a VM.
    pub node_memory: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: Monitored::Vm,
            hypervisor: true,
            node_memory: 1536,
        }
    }
}

/// A running lab.
#[derive(Debug, Clone)]
pub struct Lab {
    name: String,
    state: PathBuf,
    namespaces: Namespaces,
    prepared: Prepared,
}

impl Lab {
    /// Starts a lab; a leftover of that name is cleaned away first. On failure its logs are kept under
    /// `~/.cache/safetytwin/failed/`, and nothing of it runs on.
    ///
    /// # Errors
    /// A part does not start; the message names what is kept.
    pub fn up(name: &str, prepared: Prepared, options: Options) -> Result<Self> {
        check_name(name)?;
        let lock = lock(&prepared.cache, name)?;
        stage("leftovers of an earlier run", || remove(&prepared.cache, name))?;
        let state = prepared.cache.lab(name);
        std::fs::create_dir_all(&state)?;
        let namespaces = stage("namespaces", || Namespaces::create(&state))?;
        let lab = Self {
            name: name.to_owned(),
            state,
            namespaces,
            prepared,
        };
        let started = lab.start(options);
        if let Err(error) = started {
            let kept = lab.keep_diagnostics("up");
            remove(&lab.prepared.cache, name)?;
            return Err(error.context(format!("the lab {name} did not start; {kept}")));
        }
        drop(lock);
        Ok(lab)
    }

    fn start(&self, options: Options) -> Result<()> {
        stage("keys and certificates", || {
            let authority = Authority::create(&self.path("pki"))?;
            control_plane::issue(&authority, &self.state)?;
            node::issue(&authority, &self.state)
        })?;
        let vm = options.host == Monitored::Vm;
        if options.hypervisor || vm {
            hypervisor::start(self, &self.prepared.twin)?;
        }
        if vm {
            // It boots while the control plane starts; its kubelet tries again until the API server answers.
            node::start(self, &self.prepared.node, options.node_memory)?;
        }
        control_plane::start(self)?;
        match options.host {
            Monitored::Nothing => {}
            Monitored::Vm => node::wait_ready(self)?,
            Monitored::Native => native::start(self, &self.prepared.node)?,
        }
        std::fs::write(self.path(UP), self.prepared.id()).context("failed to mark the lab as up")
    }

    /// Finds the running lab of that name.
    ///
    /// # Errors
    /// There is none, or it is not up yet.
    pub fn attach(name: &str, prepared: Prepared) -> Result<Self> {
        check_name(name)?;
        let state = prepared.cache.lab(name);
        match Namespaces::find(&state).filter(|_| state.join(UP).exists()) {
            Some(namespaces) => Ok(Self {
                name: name.to_owned(),
                state,
                namespaces,
                prepared,
            }),
            None => bail!("the lab {name} is not running; start it with `lab --name {name} up`"),
        }
    }

    /// The running lab of that name if it was made from the same images and binaries, else a new one.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn attach_or_up(name: &str, prepared: Prepared) -> Result<Self> {
        match Self::attach(name, prepared.clone()) {
            Ok(lab) if std::fs::read_to_string(lab.path(UP))? == prepared.id() => Ok(lab),
            _ => Self::up(name, prepared, Options::default()),
        }
    }

    /// Ends the lab of that name, running or not, and removes its state.
    ///
    /// # Errors
    /// A process does not end or a file cannot be removed.
    pub fn down(cache: &Cache, name: &str) -> Result<()> {
        check_name(name)?;
        let _lock = lock(cache, name)?;
        remove(cache, name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path below its directory.
    pub fn path(&self, below: &str) -> PathBuf {
        self.state.join(below)
    }

    /// What it was made from.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// A command inside the lab, with PATH and KUBECONFIG set.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // nsenter looks the program up itself, in the PATH that it gets here.
        let mut command = self.namespaces.command(&program.as_ref().to_string_lossy());
        command
            .env("PATH", self.search_path())
            .env("KUBECONFIG", self.kubeconfig());
        command.env("LIBVIRT_DEFAULT_URI", "qemu:///system");
        command
    }

    fn search_path(&self) -> std::ffi::OsString {
        let own = self.prepared.control_plane.directories().into_iter();
        let machine = std::env::var_os("PATH").unwrap_or_default();
        let all = own
            .chain(std::env::split_paths(&machine))
            .chain(["/usr/sbin".into(), "/sbin".into()]);
        std::env::join_paths(all).unwrap_or(machine)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// A kubeconfig with a fresh token of a service account, valid for a day.
    ///
    /// # Errors
    /// The service account does not exist.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.kubectl([
            "create",
            "token",
            name,
            "--namespace",
            namespace,
            "--duration=24h",
        ])?;
        let user = serde_json::json!({"token": token.trim()});
        let text = pki::kubeconfig(control_plane::SERVER, &self.path("pki/ca.crt"), user)?;
        let file = self.path(&format!("{namespace}.{name}.kubeconfig"));
        pki::write_private(&file, &text)?;
        Ok(file)
    }

    /// Runs kubectl as the administrator and returns its standard output.
    ///
    /// # Errors
    /// It fails or takes over a minute.
    pub fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        output(self.kubectl_command().args(arguments))
    }

    /// Runs kubectl as the administrator with something on its standard input, for `apply -f -`.
    ///
    /// # Errors
    /// It fails or takes over a minute.
    pub fn kubectl_with<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        input: &str,
    ) -> Result<String> {
        output_within(
            self.kubectl_command().args(arguments),
            input.as_bytes(),
            Duration::from_secs(60),
        )
    }

    /// The command kubectl inside the lab.
    pub fn kubectl_command(&self) -> Command {
        self.command("kubectl")
    }

    /// Runs virsh on the lab's libvirt and returns its standard output.
    ///
    /// # Errors
    /// It fails or takes over a minute.
    pub fn virsh<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        output(self.virsh_command().args(arguments))
    }

    /// The names of the volumes in the pool of the twins.
    ///
    /// # Errors
    /// virsh fails.
    pub fn volumes(&self) -> Result<Vec<String>> {
        self.virsh(["pool-refresh", "twins"])?;
        let rows = self.virsh(["vol-list", "twins"])?;
        let name = |row: &str| row.split_whitespace().next().map(str::to_owned);
        Ok(rows.lines().filter_map(name).collect())
    }

    /// The command virsh inside the lab.
    pub fn virsh_command(&self) -> Command {
        let mut command = self.command("virsh");
        command.args(["--connect", "qemu:///system", "--quiet"]);
        command
    }

    /// The monitored host.
    pub fn host(&self) -> Host<'_> {
        Host { lab: self }
    }

    fn binary(&self, name: &str) -> Result<&Path> {
        self.prepared.control_plane.binary(name)
    }

    /// Starts something that runs as long as the lab; its output goes to `logs/NAME.log`. Answers its process.
    fn daemon(&self, name: &str, command: &mut Command) -> Result<u32> {
        let log = append(&self.path("logs").join(format!("{name}.log")))?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(child.id())
    }

    /// Defines a domain from its XML and starts it.
    ///
    /// # Errors
    /// libvirt refuses it.
    pub fn define_and_start(&self, name: &str, xml: &str) -> Result<()> {
        let file = self.path(&format!("{name}.xml"));
        std::fs::write(&file, xml)?;
        self.virsh(["define", &file.display().to_string()])?;
        self.virsh(["start", name])?;
        Ok(())
    }
}

/// A name becomes a directory.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
        bail!("{name:?} is no name for a lab: 1 to 32 of a-z, 0-9 and -");
    }
    Ok(())
}

/// One process at a time starts or ends a lab.
fn lock(cache: &Cache, name: &str) -> Result<Lock> {
    let whom = format!("another start or end of the lab {name}");
    cache.lock(&format!("labs/{name}"), &whom)
}

fn remove(cache: &Cache, name: &str) -> Result<()> {
    let state = cache.lab(name);
    if let Some(namespaces) = Namespaces::find(&state) {
        namespaces.destroy()?;
    }
    if state.exists() {
        native::forget(name);
        note(&format!("removing {}", state.display()));
        std::fs::remove_dir_all(&state).with_context(|| format!("failed to remove {}", state.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_plain_directory_is_refused() {
        for name in ["", "../x", "a/b", "A", "a b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        check_name(DEFAULT_NAME).unwrap();
    }
}
