//! The agent on the monitored host: as a systemd service, or as the chart's pod.

use std::time::Duration;

use anyhow::Result;

use super::{AgentPlace, NAMESPACE, stripped};
use crate::images;
use crate::lab::control_plane::NODE_SERVER;
use crate::lab::{Lab, node, pki};
use crate::wait::{self, Look};

/// The unit of an agent outside the cluster's pods.
pub const UNIT: &str = "twin-agent.service";

/// A pod starts slowly on an emulated node, and a busy machine makes it slower.
const LIMIT: Duration = Duration::from_secs(300);

const SERVICE: &str = "[Unit]
Description=SafetyTwin agent
After=network-online.target

[Service]
ExecStart=/usr/local/bin/twin-agent --node-name=web-01 --accounts=safetytwin-hosts --level=full --interval=10 --kubeconfig=/etc/safetytwin/agent.kubeconfig
Environment=RUST_LOG=info
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
";

/// Brings the agent to the host and waits for its first beat.
///
/// # Errors
/// It does not start, or no HostState appears within five minutes.
pub fn install(lab: &Lab, place: AgentPlace) -> Result<()> {
    match place {
        AgentPlace::Service => install_service(lab)?,
        AgentPlace::DaemonSet => wait_pod(lab)?,
    }
    wait_beat(lab)
}

fn install_service(lab: &Lab) -> Result<()> {
    for name in images::AGENT_BINARIES {
        let binary = std::fs::read(stripped(lab, name)?)?;
        lab.host()
            .write_executable(&format!("/usr/local/bin/{name}"), binary)?;
    }
    // Bound to the Node object, the token carries the node-name claim (KEP-4193).
    let token = lab.kubectl([
        "create",
        "token",
        "safetytwin-agent",
        "--namespace",
        NAMESPACE,
        "--duration=24h",
        "--bound-object-kind=Node",
        "--bound-object-name",
        node::NAME,
    ])?;
    let user = serde_json::json!({"token": token.trim()});
    let kubeconfig = pki::kubeconfig(NODE_SERVER, &lab.path("pki/ca.crt"), user)?;
    lab.host().write("/etc/safetytwin/agent.kubeconfig", kubeconfig)?;
    lab.host().run("chmod 0600 /etc/safetytwin/agent.kubeconfig")?;
    lab.host()
        .write(&format!("/etc/systemd/system/{UNIT}"), SERVICE)?;
    lab.host().run(&format!(
        "systemctl daemon-reload && systemctl enable --quiet {UNIT} && systemctl restart {UNIT}"
    ))?;
    Ok(())
}

fn wait_pod(lab: &Lab) -> Result<()> {
    wait::until("the agent's pod", LIMIT, || {
        let path = "jsonpath={.status.numberReady}/{.status.desiredNumberScheduled}";
        let ready = lab.kubectl([
            "get",
            "daemonset",
            "safetytwin-agent",
            "-n",
            NAMESPACE,
            "-o",
            path,
        ])?;
        Ok(if ready == "1/1" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{ready} ready"))
        })
    })
}

/// Waits for a HostState of the node.
///
/// # Errors
/// None appears within five minutes.
pub fn wait_beat(lab: &Lab) -> Result<()> {
    wait::until("a HostState of the node", LIMIT, || {
        let complete = lab.kubectl(["get", "hoststate", node::NAME, "-o", "jsonpath={.spec.complete}"])?;
        Ok(if complete.is_empty() {
            Look::NotYet("no head".into())
        } else {
            Look::Ready(())
        })
    })
}
