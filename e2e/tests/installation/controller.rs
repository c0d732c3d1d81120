//! The controller as the chart's pod.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use safetytwin_e2e::lab::node;
use safetytwin_e2e::product::{NAMESPACE, twin};
use safetytwin_e2e::wait::{self, Look};
use serde_json::{Value, json};

use crate::Sentence;
use crate::world::{Installed, World, text};

pub const SENTENCES: &[Sentence] = &[("the_controller_starts_as_a_pod", the_controller_starts_as_a_pod)];

const LIMIT: Duration = Duration::from_secs(300);

/// It shares the only node with the agent, which the chart must be told to allow.
fn the_controller_starts_as_a_pod(world: &World) -> Result<()> {
    world.install(Installed::Both)?;
    let pod = wait::until("the controller's pod", LIMIT, || {
        let pods = world.pods("controller")?;
        let [pod] = pods.as_slice() else {
            bail!("it has {} pods", pods.len());
        };
        let (ready, _, _) = twin::condition(pod, "Ready");
        Ok(if ready == "True" {
            Look::Ready(pod.clone())
        } else {
            Look::NotYet(pod["status"].to_string())
        })
    })?;
    ensure!(text(&pod, "/spec/nodeName") == node::NAME, "{pod:#}");
    ensure!(
        pod.pointer("/status/containerStatuses/0/restartCount") == Some(&json!(0)),
        "{pod:#}"
    );
    let user = world
        .lab
        .host()
        .run("stat --format=%u /proc/$(pgrep --oldest --full '[t]win controller')")?;
    ensure!(user.trim() == "65532", "it runs as user {user}");
    wait::until("the lease to be the pod's", LIMIT, || {
        let holder = "jsonpath={.spec.holderIdentity}";
        let lease = [
            "get",
            "lease",
            "safetytwin-controller",
            "-n",
            NAMESPACE,
            "-o",
            holder,
        ];
        let holder = world.lab.kubectl(lease)?;
        Ok(if holder == text(&pod, "/metadata/name") {
            Look::Ready(())
        } else {
            Look::NotYet(format!("its holder is {holder:?}"))
        })
    })?;
    // It watches and writes with the rights of its account.
    wait::until("the host's condition", LIMIT, || {
        let host = world
            .lab
            .kubectl(["get", "hoststate", node::NAME, "-o", "json"])?;
        let host: Value = serde_json::from_str(&host)?;
        let (status, reason, message) = twin::condition(&host, "Fresh");
        Ok(if status == "True" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{status} {reason}: {message}"))
        })
    })
}
