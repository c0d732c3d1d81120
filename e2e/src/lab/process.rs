//! Processes that a test starts in the lab, for example the controller.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Lab;
use super::namespaces::child_of;
use crate::command::append;

/// A process in the lab; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: i32,
    log: PathBuf,
}

impl Process {
    /// Sends a signal to the process itself.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid), signal)
            .with_context(|| format!("failed to signal process {}", self.pid))
    }

    /// Kills it at once (`SIGKILL`), as a crash would, and waits for its end.
    ///
    /// # Errors
    /// It is gone already.
    pub fn crash(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().context("failed to wait for a killed process")?;
        Ok(())
    }

    /// Asks it to stop (`SIGTERM`) and waits for its end.
    ///
    /// # Errors
    /// It is gone already.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.child.wait().context("failed to wait for a stopped process")
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// The system refuses the question.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The process number, as the machine counts.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it ended by itself.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Lab {
    /// Starts a program in the lab with KUBECONFIG (the administrator's, unless `environment` says otherwise);
    /// its output goes to `logs/NAME.log`.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &BTreeMap<&str, String>,
    ) -> Result<Process> {
        let log = self.path("logs").join(format!("{name}.log"));
        let file = append(&log)?;
        let mut command = self.command(program);
        command.args(arguments).envs(environment).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let pid =
            child_of(child.id()).with_context(|| format!("{name} did not start: see {}", log.display()))?;
        Ok(Process { child, pid, log })
    }

    /// Starts `twin controller` of this build.
    ///
    /// # Errors
    /// The binary is not built or does not start.
    pub fn spawn_controller(
        &self,
        arguments: &[&str],
        environment: &BTreeMap<&str, String>,
    ) -> Result<Process> {
        let arguments = [&["controller"], arguments].concat();
        self.spawn("controller", &built_binary("twin")?, &arguments, environment)
    }
}

/// A binary of the workspace, from the build that this process belongs to.
///
/// # Errors
/// It is not built; the message says how.
pub fn built_binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the running program")?;
    // Test programs lie one directory deeper, in `deps`.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("{name} is not built; run `cargo build --workspace --features safetytwin/libvirt`"),
    }
}

/// What the agent and its helper are built for when they are shipped: linked with musl, statically.
pub fn agent_target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// A binary of the agent, from the build that this process belongs to: of a release the one that is shipped.
///
/// # Errors
/// It is not built; the message says how.
pub fn built_agent(name: &str) -> Result<PathBuf> {
    let own = built_binary("lab")?;
    let shipped = own.parent().filter(|folder| folder.ends_with("release"));
    let Some(target) = shipped.and_then(Path::parent) else {
        return built_binary(name);
    };
    let path = target.join(agent_target()).join("release").join(name);
    if !path.is_file() {
        bail!("{} is not built; run `make agent`", path.display());
    }
    Ok(path)
}
