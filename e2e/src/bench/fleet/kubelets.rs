//! The peer: what kubelets write. Each renews its Lease every ten seconds and its Node's status every five minutes
//! (`nodeStatusReportFrequency`), with the 50 images that a kubelet lists by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::with_client;
use crate::api_server::ApiServer;

const RENEW: Duration = Duration::from_secs(10);
/// Renewals between two reports of the status.
const REPORT: u32 = 30;
const NAMESPACE: &str = "kube-node-lease";

/// Running kubelets; they end when dropped.
pub(super) struct Kubelets {
    over: Arc<AtomicBool>,
    failures: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Kubelets {
    /// Makes the nodes with their leases, and starts to renew them.
    ///
    /// # Errors
    /// The API server refuses one.
    pub(super) fn start(server: &Arc<ApiServer>, count: u32) -> Result<Self> {
        with_client(server, |client| async move {
            let made = (0..count).map(|number| make(client.clone(), number));
            stream::iter(made)
                .buffer_unordered(16)
                .try_collect::<Vec<()>>()
                .await
        })?;
        let (over, failures) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (server, ended, failed) = (Arc::clone(server), Arc::clone(&over), Arc::clone(&failures));
        let thread = std::thread::spawn(move || {
            let renewed = with_client(&server, |client| async move {
                let kubelets = (0..count).map(|number| renew(client.clone(), number, count, &failed));
                tokio::select! {
                    _ = futures::future::join_all(kubelets) => {}
                    () = until(&ended) => {}
                }
                Ok(())
            });
            if let Err(error) = renewed {
                eprintln!("the kubelets ended: {error:#}");
            }
        });
        Ok(Self {
            over,
            failures,
            thread: Some(thread),
        })
    }

    /// Fails if a write failed.
    ///
    /// # Errors
    /// With how many failed.
    pub(super) fn check(&self) -> Result<()> {
        let failures = self.failures.load(Ordering::Relaxed);
        ensure!(failures == 0, "{failures} writes of kubelets failed");
        ensure!(
            self.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
            "the kubelets ended"
        );
        Ok(())
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn until(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(100)).await;
    }
}

fn name(number: u32) -> String {
    format!("node-{number:04}")
}

async fn make(client: Client, number: u32) -> Result<()> {
    let name = name(number);
    let node: Node = serde_json::from_value(json!({"metadata": {
        "name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
    }}))?;
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes
        .create(&PostParams::default(), &node)
        .await
        .with_context(|| format!("failed to make {name}"))?;
    report(&nodes, &name).await?;
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {"name": name, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.metadata.uid}]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now()},
    }))?;
    let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
    leases
        .create(&PostParams::default(), &lease)
        .await
        .with_context(|| format!("failed to make the lease of {name}"))?;
    Ok(())
}

/// Renews at a time of its own within the interval, and reports at a beat of its own.
async fn renew(client: Client, number: u32, count: u32, failures: &AtomicU32) {
    let name = name(number);
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let nodes: Api<Node> = Api::all(client);
    let mut next = Instant::now() + RENEW * number / count.max(1);
    let mut held = leases.get(&name).await;
    for beat in number.. {
        sleep_until(next).await;
        next += RENEW;
        if let Ok(lease) = &mut held
            && let Some(spec) = &mut lease.spec
        {
            spec.renew_time = serde_json::from_value(now()).ok();
            held = leases.replace(&name, &PostParams::default(), lease).await;
        }
        let reported = if beat.is_multiple_of(REPORT) {
            report(&nodes, &name).await.is_ok()
        } else {
            true
        };
        if held.is_err() || !reported {
            failures.fetch_add(1, Ordering::Relaxed);
            held = leases.get(&name).await;
        }
    }
}

async fn report(nodes: &Api<Node>, name: &str) -> Result<()> {
    let status = json!({"status": status()});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
        .await
        .with_context(|| format!("failed to report the status of {name}"))?;
    Ok(())
}

fn now() -> Value {
    json!(
        jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string()
    )
}

/// The status of a node as a kubelet reports it.
fn status() -> Value {
    let now = json!(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": "2026-11-01T08:00:00Z"})
    };
    let images = (0..50).map(|number| {
        let repository = format!("registry.example.org/shop/service-{number:02}");
        json!({"names": [
                format!("{repository}@sha256:{}", blake3::hash(repository.as_bytes()).to_hex()),
                format!("{repository}:1.{number}.0"),
            ], "sizeBytes": 40_000_000 + number * 1_000_003})
    });
    let size = json!({"cpu": "8", "memory": "16393244Ki", "pods": "110", "ephemeral-storage": "101430960Ki",
        "hugepages-1Gi": "0", "hugepages-2Mi": "0"});
    json!({
        "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}, {"type": "Hostname", "address": "web"}],
        "capacity": size, "allocatable": size,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "images": images.collect::<Vec<_>>(),
        "nodeInfo": {"architecture": "amd64", "bootID": "0b4f1c5e-0000-4000-8000-000000000000",
            "containerRuntimeVersion": "containerd://1.6.20", "kernelVersion": "6.1.0-38-cloud-amd64",
            "kubeProxyVersion": "", "kubeletVersion": "v1.34.4", "machineID": "0123456789abcdef0123456789abcdef",
            "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12 (bookworm)",
            "systemUUID": "01234567-89ab-cdef-0123-456789abcdef"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_status_is_one_that_kubernetes_knows_and_as_large_as_a_kubelets() {
        let status = status();
        let typed: k8s_openapi::api::core::v1::NodeStatus = serde_json::from_value(status.clone()).unwrap();
        assert_eq!(typed.images.unwrap_or_default().len(), 50);
        let bytes = status.to_string().len();
        assert!((9_000..20_000).contains(&bytes), "{bytes}");
    }
}
