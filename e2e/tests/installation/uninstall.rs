//! The chart goes only when no twin is left, and takes all with it but the kinds.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use safetytwin_e2e::lab::node;
use safetytwin_e2e::product::{NAMESPACE, TWINS, chart, twin};
use safetytwin_e2e::wait::{self, Look};
use serde_json::json;

use crate::Sentence;
use crate::world::{Installed, World, objects, text};

/// How the names of hosts' rights begin.
const RIGHTS: &str = "safetytwin:host:";

pub const SENTENCES: &[Sentence] = &[
    (
        "helm_uninstall_refuses_while_twins_exist_and_names_them",
        helm_uninstall_refuses_while_twins_exist,
    ),
    (
        "helm_uninstall_removes_all_but_the_kinds_when_no_twin_exists",
        helm_uninstall_removes_all_but_the_kinds,
    ),
];

const LIMIT: Duration = Duration::from_secs(180);

fn helm_uninstall_refuses_while_twins_exist(world: &World) -> Result<()> {
    world.install(Installed::Both)?;
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {TWINS}}}\n");
    world.lab.kubectl_with(["apply", "-f", "-"], &namespace)?;
    let left = json!({
        "apiVersion": "safetytwin.com/v1alpha1",
        "kind": "DigitalTwin",
        "metadata": {"name": "left-behind", "namespace": TWINS},
        "spec": {"hostRef": {"name": node::NAME}, "className": "none"},
    });
    world.lab.kubectl_with(["apply", "-f", "-"], &left.to_string())?;
    wait::until_true("the controller's finalizer on the twin", LIMIT, || {
        let twin = twin::object(&world.lab, "digitaltwin", "left-behind")?;
        Ok(twin.pointer("/metadata/finalizers/0").is_some())
    })?;

    let refused = chart::uninstall(&world.lab)?;
    ensure!(!refused.success(), "it went: {}", refused.stdout);
    let said = refused.stdout + &refused.stderr;
    let named = format!("kubectl delete twin -n {TWINS} left-behind");
    ensure!(said.contains(&named), "Helm says {said}");
    let checks = world.pods("uninstall-check")?;
    let [check] = checks.as_slice() else {
        bail!("the check has {} pods", checks.len());
    };
    ensure!(text(check, "/spec/nodeName") == node::NAME, "{check:#}");
    let code = check.pointer("/status/containerStatuses/0/state/terminated/exitCode");
    ensure!(code == Some(&json!(1)), "{check:#}");
    world.lab.kubectl([
        "get",
        "daemonset/safetytwin-agent",
        "deployment/safetytwin-controller",
        "-n",
        NAMESPACE,
    ])?;

    // The release can be kept, and what the refusal says to do works, although there never was a VM.
    chart::keep(&world.lab)?;
    let delete = ["delete", "twin", "-n", TWINS, "left-behind", "--wait=false"];
    world.lab.kubectl(delete)?;
    wait::until_true("the end of the twin", LIMIT, || {
        Ok(twin::objects(&world.lab, "digitaltwins")?.is_empty())
    })
}

fn helm_uninstall_removes_all_but_the_kinds(world: &World) -> Result<()> {
    world.install(Installed::Both)?;
    let gone = chart::uninstall(&world.lab)?;
    ensure!(gone.success(), "Helm says {}{}", gone.stdout, gone.stderr);
    world.uninstalled();
    wait::until("the end of everything but the kinds", LIMIT, || {
        let left: Vec<String> = objects(&world.lab)?
            .difference(&world.before)
            .filter(|object| !stays(object))
            .cloned()
            .collect();
        Ok(if left.is_empty() {
            Look::Ready(())
        } else {
            Look::NotYet(left.join(", "))
        })
    })?;
    let agent = world
        .lab
        .host()
        .try_run("pgrep --full '[t]win-agent --node-name'")?;
    ensure!(!agent.success(), "the agent still runs: {}", agent.stdout);

    // The kinds are kept with their objects, and go when they are told to; so do the rights to write these.
    world.lab.kubectl(["get", "hoststate", node::NAME])?;
    let kinds = [
        "delete",
        "crd,clusterrole,clusterrolebinding",
        "-l",
        "app.kubernetes.io/part-of=safetytwin",
    ];
    let deleted = world.lab.kubectl(kinds)?;
    let kinds = deleted.lines().filter(|line| line.starts_with("customresource"));
    ensure!(kinds.count() == 7, "{deleted}");
    wait::until_true("the end of the rights of hosts", LIMIT, || {
        Ok(!objects(&world.lab)?.iter().any(|object| object.contains(RIGHTS)))
    })
}

/// The kinds, their objects, what every namespace has, and the record of who led last.
fn stays(object: &str) -> bool {
    let (kind, rest) = object.split_once('/').unwrap_or((object, ""));
    let (_, name) = rest.split_once('/').unwrap_or(("", rest));
    match kind {
        "CustomResourceDefinition" | "HostState" | "HostSection" | "Namespace" => true,
        "APIService" => name.ends_with(".safetytwin.com"),
        "ConfigMap" => name == "kube-root-ca.crt",
        "ServiceAccount" => name == "default",
        "Lease" => name == "safetytwin-controller",
        "ClusterRole" | "ClusterRoleBinding" => name.starts_with(RIGHTS),
        _ => false,
    }
}
