//! A real kube-apiserver with its etcd on loopback, without a lab: for tests of the kinds and of
//! the chart, which need neither a node nor root.
//!
//! Both processes end with this one, whatever ends it: a thread that never returns has started
//! them, and they die with their parent thread (prctl(2), `PR_SET_PDEATHSIG`).

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::lab::pki::write_private;
use crate::prepare::control_plane::ControlPlane;

const TOKEN: &str = "administrator";

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    state: PathBuf,
    etcd: u16,
    port: u16,
}

impl ApiServer {
    /// Starts etcd and kube-apiserver with their files below `state` and waits until they serve.
    ///
    /// # Errors
    /// A binary is missing, or the server is not ready within a minute; the logs are in `state`.
    pub fn start(state: &Path) -> Result<Self> {
        let (etcd, peer, port) = (free_port()?, free_port()?, free_port()?);
        let key = rcgen::KeyPair::generate()?;
        fs::write(state.join("service-account.pub"), key.public_key_pem())?;
        fs::write(state.join("service-account.key"), key.serialize_pem())?;
        fs::write(
            state.join("tokens.csv"),
            format!("{TOKEN},admin,admin,system:masters\n"),
        )?;
        fs::write(state.join("kubeconfig"), kubeconfig(state, port, TOKEN))?;
        keep(vec![
            etcd_command(state, etcd, peer)?,
            server_command(state, etcd, port)?,
        ])?;
        let server = Self {
            state: state.to_owned(),
            etcd,
            port,
        };
        server.wait()?;
        Ok(server)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Writes a kubeconfig for another token.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig_of(&self, name: &str, token: &str) -> Result<PathBuf> {
        let file = self.state.join(format!("{name}.kubeconfig"));
        write_private(&file, &kubeconfig(&self.state, self.port, token))?;
        Ok(file)
    }

    /// Where etcd answers its clients, and tells its metrics; plain HTTP.
    pub fn etcd(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.etcd).into()
    }

    /// A path below the directory of its files.
    pub fn path(&self, below: &str) -> PathBuf {
        self.state.join(below)
    }

    /// A command of the control plane's binaries (`kubectl`, `helm`) as the administrator.
    ///
    /// # Errors
    /// There is no such binary.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(binary(name)?);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", &self.state)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs kubectl with what is given on its standard input.
    ///
    /// # Errors
    /// It cannot be started; a failure of kubectl itself is in the answer.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let file = tempfile_in(&self.state, input)?;
        let mut command = self.command("kubectl")?;
        command.args(arguments).stdin(fs::File::open(&file)?);
        let output = command.output().context("failed to run kubectl")?;
        fs::remove_file(file)?;
        Ok(output)
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// # Errors
    /// It cannot be started or fails; the message has what it said.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl(arguments, "")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("failed: kubectl {}: {}", arguments.join(" "), said.trim());
        }
        String::from_utf8(output.stdout).context("kubectl printed no text")
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.kubectl(&["get", "--raw", "/readyz"], "")?.status.success() {
            if Instant::now() > deadline {
                bail!(
                    "the API server is not ready after 60 s; its logs are in {}",
                    self.state.display()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

fn tempfile_in(state: &Path, input: &str) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = state.join(format!("input-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&path, input)?;
    Ok(path)
}

/// The path of a binary of the control plane.
fn binary(name: &str) -> Result<PathBuf> {
    let control_plane = ControlPlane::new(&Cache::open()?)?;
    let path = control_plane.binary(name)?;
    if !path.is_file() {
        bail!("{name} is missing: run `cargo run -p safetytwin-e2e --bin lab -- prepare`");
    }
    Ok(path.to_owned())
}

/// A port of loopback that nobody listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A command that ends with the thread that starts it, and whose output goes to `NAME.log`.
fn daemon(state: &Path, name: &str) -> Result<Command> {
    let mut command = Command::new("setpriv");
    let log = fs::File::create(state.join(format!("{name}.log")))?;
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binary(name)?)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

fn etcd_command(state: &Path, client: u16, peer: u16) -> Result<Command> {
    let mut command = daemon(state, "etcd")?;
    command
        .arg(format!("--data-dir={}", state.join("etcd").display()))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
        .arg("--unsafe-no-fsync");
    Ok(command)
}

fn server_command(state: &Path, etcd: u16, port: u16) -> Result<Command> {
    let mut command = daemon(state, "kube-apiserver")?;
    for (flag, file) in [
        ("cert-dir", "certificates"),
        ("token-auth-file", "tokens.csv"),
        ("service-account-key-file", "service-account.pub"),
        ("service-account-signing-key-file", "service-account.key"),
    ] {
        command.arg(format!("--{flag}={}", state.join(file).display()));
    }
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg(format!("--secure-port={port}"))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.97.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            // Waits for a default account that only the controller-manager makes.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
        ]);
    Ok(command)
}

/// Starts the commands from a thread that never ends before the process does.
fn keep(commands: Vec<Command>) -> Result<()> {
    let (started, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let children: std::io::Result<Vec<_>> = commands.into_iter().map(|mut c| c.spawn()).collect();
        let alive = children.is_ok();
        // The receiver waits below; it cannot be gone.
        let _ = started.send(children);
        if alive {
            loop {
                std::thread::park();
            }
        }
    });
    outcome
        .recv()
        .context("the starting thread ended")?
        .context("failed to start the API server")?;
    Ok(())
}

fn kubeconfig(state: &Path, port: u16, token: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": state.join("certificates/apiserver.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    })
    .to_string()
}
