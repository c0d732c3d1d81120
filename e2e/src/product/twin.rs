//! The twin of the lab's host, as its user sees it: objects by kubectl, its guest by the guest agent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use safetytwin_crds::twinclass::PointMode;
use serde_json::{Value, json};

use super::{TWINS, repository};
use crate::lab::Lab;
use crate::lab::guest::Guest;
use crate::prepare::acceleration::Acceleration;
use crate::wait::{self, Look};

/// Name of the twin of `examples/`.
pub const NAME: &str = "web-01";

/// Applies the class and the twin of `examples/`; only the domain type and what that asks of the kernel are the lab's.
///
/// # Errors
/// The API server refuses them.
pub fn create(lab: &Lab) -> Result<()> {
    lab.kubectl_with(
        ["apply", "-f", "-"],
        &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {TWINS}}}\n"),
    )?;
    let class = std::fs::read_to_string(repository().join("examples/1-class.yaml"))?;
    let acceleration = lab.prepared().acceleration;
    let domain_type = match acceleration {
        Acceleration::Kvm => "KVM",
        Acceleration::Emulation => "QEMU",
    };
    let arguments = Acceleration::Kvm.kernel_arguments();
    ensure!(
        class.contains(arguments),
        "examples/1-class.yaml no longer says {arguments:?}"
    );
    let class = class
        .replace("type: Auto", &format!("type: {domain_type}"))
        .replace(arguments, acceleration.kernel_arguments());
    lab.kubectl_with(["apply", "-f", "-"], &class)?;
    let twin = repository().join("examples/2-twin.yaml");
    lab.kubectl(["apply", "-f", &twin.display().to_string()])?;
    Ok(())
}

/// Sets the class's mode of automatic points, between two operations.
///
/// # Errors
/// The API server refuses it, or an operation is still under way after some minutes.
pub fn set_point_mode(lab: &Lab, mode: PointMode) -> Result<()> {
    let patch = json!({"spec": {"snapshots": {"mode": mode}}}).to_string();
    wait_settled(lab)?;
    lab.kubectl(["patch", "twinclass", "lab", "--type=merge", "-p", &patch])?;
    Ok(())
}

/// An object as the API server has it.
///
/// # Errors
/// It does not exist.
pub fn object(lab: &Lab, kind: &str, name: &str) -> Result<Value> {
    let text = lab.kubectl(["get", kind, name, "-n", TWINS, "-o", "json"])?;
    serde_json::from_str(&text).context("kubectl printed no JSON")
}

/// The objects of a kind in the twins' namespace.
///
/// # Errors
/// The API server does not answer.
pub fn objects(lab: &Lab, kind: &str) -> Result<Vec<Value>> {
    let text = lab.kubectl(["get", kind, "-n", TWINS, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    Ok(list
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default())
}

/// Status, reason and message of a condition.
pub fn condition(object: &Value, type_: &str) -> (String, String, String) {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|c| c.get("type").and_then(Value::as_str) == Some(type_));
    let text = |key: &str| {
        found
            .and_then(|c| c.get(key)?.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (text("status"), text("reason"), text("message"))
}

/// Waits until the twin is Ready.
///
/// # Errors
/// It is not within `limit`; the message has reason and message of its Ready condition.
pub fn wait_following(lab: &Lab, name: &str, limit: Duration) -> Result<()> {
    wait::until("a twin that follows its host", limit, || {
        let (status, reason, message) = condition(&object(lab, "digitaltwin", name)?, "Ready");
        Ok(if status == "True" && reason == "Following" {
            Look::Ready(())
        } else {
            Look::NotYet(format!("Ready={status} {reason}: {message}"))
        })
    })
}

/// The guest of a twin.
///
/// # Errors
/// The twin has no VM yet.
pub fn guest<'a>(lab: &'a Lab, name: &str) -> Result<Guest<'a>> {
    let twin = object(lab, "digitaltwin", name)?;
    let domain = twin
        .pointer("/status/vm/domainName")
        .and_then(Value::as_str)
        .context("the twin has no VM yet")?;
    Ok(lab.twin_guest(domain))
}

/// What `systemctl show -p PROPERTY --value` says in the guest.
///
/// # Errors
/// The guest does not answer.
pub fn property(lab: &Lab, unit: &str, property: &str) -> Result<String> {
    let shown = guest(lab, NAME)?.run(&["/usr/bin/systemctl", "show", "--value", "-p", property, unit])?;
    Ok(shown.trim().to_owned())
}

/// Waits until a unit of the guest is in this `ActiveState`; answers how long it took.
///
/// # Errors
/// It is not within two minutes.
pub fn wait_unit(lab: &Lab, unit: &str, state: &str) -> Result<Duration> {
    let began = Instant::now();
    wait::until(
        &format!("{unit} {state} in the twin"),
        Duration::from_secs(120),
        || {
            let active = property(lab, unit, "ActiveState")?;
            Ok(if active == state {
                Look::Ready(())
            } else {
                Look::NotYet(active)
            })
        },
    )?;
    Ok(began.elapsed())
}

/// Names of the twin's points, oldest first.
///
/// # Errors
/// The API server does not answer.
pub fn points(lab: &Lab) -> Result<Vec<String>> {
    let mut points: Vec<(String, String)> = objects(lab, "twinsnapshots")?
        .iter()
        .map(|point| {
            let text = |path: &str| {
                point
                    .pointer(path)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            (text("/status/takenTime"), text("/metadata/name"))
        })
        .collect();
    points.sort();
    Ok(points.into_iter().map(|(_, name)| name).collect())
}

/// A number of the twin's status.
///
/// # Errors
/// The twin does not exist.
pub fn operations(lab: &Lab) -> Result<i64> {
    let twin = object(lab, "digitaltwin", NAME)?;
    Ok(twin
        .pointer("/status/lastOperation")
        .and_then(Value::as_i64)
        .unwrap_or_default())
}

/// Snapshots of the changes that the twin's status remembers. An attempt of an item that failed before is none.
///
/// # Errors
/// The twin does not exist.
pub fn changes(lab: &Lab) -> Result<BTreeSet<String>> {
    let twin = object(lab, "digitaltwin", NAME)?;
    let changes = twin.pointer("/status/changes").and_then(Value::as_array);
    let snapshots = changes
        .into_iter()
        .flatten()
        .filter_map(|change| change.get("snapshot"));
    Ok(snapshots.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Waits until no operation is under way and the twin is Ready or says which items failed.
///
/// # Errors
/// An operation is still under way after two minutes.
pub fn wait_settled(lab: &Lab) -> Result<Value> {
    wait::until("the end of the operation", Duration::from_secs(300), || {
        let twin = object(lab, "digitaltwin", NAME)?;
        let (status, reason, message) = condition(&twin, "Ready");
        let busy = twin.pointer("/status/operation").is_some_and(|o| !o.is_null());
        let done = status == "True" || matches!(reason.as_str(), "ItemsFailed" | "Held");
        Ok(if done && !busy {
            Look::Ready(twin)
        } else {
            Look::NotYet(format!("{status} {reason}: {message}"))
        })
    })
}

/// Fails unless the twin names the item as not replicated for this reason.
///
/// # Errors
/// It does not; the message lists what it names.
pub fn expect_not_replicated(twin: &Value, item: &str, reason: &str) -> Result<()> {
    let list = twin.pointer("/status/notReplicated").cloned().unwrap_or_default();
    let named = list.as_array().into_iter().flatten().any(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        text("item") == item && text("reason") == reason
    });
    if named {
        Ok(())
    } else {
        bail!("{item} is not named as {reason}; the twin names {list:#}")
    }
}
