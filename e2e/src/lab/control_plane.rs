//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler of one lab.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Lab;
use super::pki::{Authority, Subject, write_private};
use crate::command::output;
use crate::progress::stage;
use crate::wait;

/// The API server as seen from inside the network namespace.
pub const SERVER: &str = "https://127.0.0.1:6443";
/// The API server as seen from the node.
pub const NODE_SERVER: &str = "https://10.77.0.1:6443";

/// Issues the control plane's certificates and writes the kubeconfigs of its parts and of the administrator.
///
/// # Errors
/// A file cannot be written.
pub fn issue(authority: &Authority, state: &Path) -> Result<()> {
    let names = [
        "127.0.0.1",
        "10.77.0.1",
        "10.96.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let masters = Some("system:masters");
    for (file, user, group, names) in [
        ("apiserver", "kube-apiserver", None, &names[..]),
        (
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            masters,
            &[],
        ),
        ("admin", "admin", masters, &[]),
        ("controller-manager", "system:kube-controller-manager", None, &[]),
        ("scheduler", "system:kube-scheduler", None, &[]),
    ] {
        authority.issue(&Subject {
            file,
            user,
            group,
            names,
        })?;
    }
    authority.key_pair("service-account")?;
    for file in ["admin", "controller-manager", "scheduler"] {
        write_private(
            &state.join(format!("{file}.kubeconfig")),
            &authority.kubeconfig(SERVER, file)?,
        )?;
    }
    Ok(())
}

/// Starts etcd and the API server, then the two that need it.
///
/// # Errors
/// The API server is not ready within a minute.
pub fn start(lab: &Lab) -> Result<()> {
    stage("etcd and kube-apiserver", || {
        etcd(lab)?;
        start_api_server(lab)
    })?;
    controllers(lab)
}

/// Starts the API server and waits until it is ready.
///
/// # Errors
/// It is not within a minute.
pub fn start_api_server(lab: &Lab) -> Result<()> {
    api_server(lab)?;
    wait::until_true("a ready API server", Duration::from_secs(60), || {
        Ok(output(lab.kubectl_command().args(["get", "--raw", "/readyz"]))?.trim() == "ok")
    })
}

/// Kills the API server as a crash would. After its next start no watch can go on from where it was: each is answered
/// 410 Gone, as after a compaction of etcd.
///
/// # Errors
/// It does not run.
pub fn crash_api_server(lab: &Lab) -> Result<()> {
    output(
        lab.command("pkill")
            .args(["--signal", "KILL", "--exact", "kube-apiserver"]),
    )?;
    Ok(())
}

fn etcd(lab: &Lab) -> Result<()> {
    let data = lab.path("etcd");
    let mut etcd = lab.command(lab.binary("etcd")?);
    etcd.arg("--data-dir").arg(data).args([
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        // The lab's data need not outlive a power failure.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]);
    lab.daemon("etcd", &mut etcd).map(|_| ())
}

fn api_server(lab: &Lab) -> Result<()> {
    let pki = |file: &str| lab.path("pki").join(file).display().to_string();
    let mut server = lab.command(lab.binary("kube-apiserver")?);
    server.args([
        "--etcd-servers=http://127.0.0.1:2379",
        // Ten times as often as by default: what relies on old revisions fails here.
        "--etcd-compaction-interval=30s",
        "--bind-address=0.0.0.0",
        // Without a default route it finds no address to announce.
        "--advertise-address=10.77.0.1",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
    ]);
    for (flag, file) in [
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("service-account-key-file", "service-account.pub"),
        ("service-account-signing-key-file", "service-account.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        ("kubelet-client-key", "apiserver-kubelet-client.key"),
    ] {
        server.arg(format!("--{flag}={}", pki(file)));
    }
    lab.daemon("kube-apiserver", &mut server).map(|_| ())
}

fn controllers(lab: &Lab) -> Result<()> {
    let pki = |file: &str| lab.path("pki").join(file).display().to_string();
    let mut manager = lab.command(lab.binary("kube-controller-manager")?);
    manager
        .arg("--kubeconfig")
        .arg(lab.path("controller-manager.kubeconfig"));
    manager.args([
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
    ]);
    for (flag, file) in [
        ("root-ca-file", "ca.crt"),
        ("service-account-private-key-file", "service-account.key"),
        ("cluster-signing-cert-file", "ca.crt"),
        ("cluster-signing-key-file", "ca.key"),
    ] {
        manager.arg(format!("--{flag}={}", pki(file)));
    }
    lab.daemon("kube-controller-manager", &mut manager)?;
    let mut scheduler = lab.command(lab.binary("kube-scheduler")?);
    scheduler
        .arg("--kubeconfig")
        .arg(lab.path("scheduler.kubeconfig"));
    scheduler.args(["--bind-address=127.0.0.1", "--leader-elect=false"]);
    lab.daemon("kube-scheduler", &mut scheduler).map(|_| ())
}
