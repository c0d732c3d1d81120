//! Whether a twin may be worked on, read anew at every reconcile: class, permission, limits, host,
//! suspension. Each refusal has a reason and says what to do; all but a host that was replaced heal
//! by themselves.

use std::time::Duration;

use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::types;
use safetytwin_crds::digitaltwin::HostIdentity;
use safetytwin_crds::machineid::MachineId;
use safetytwin_crds::{ConditionStatus, Conditions as _, DigitalTwin, HostState, TwinClass, TwinRestore};

use crate::controller::api;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::triggers::sight;

/// How soon a refused twin is looked at again, should the watch have missed the cure.
pub const RECHECK: Duration = Duration::from_secs(60);

/// Why nothing is done about a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// PascalCase reason.
    pub reason: &'static str,
    /// What, why, what to do.
    pub message: String,
    /// Only a user can make progress possible.
    pub stalled: bool,
}

impl Refusal {
    fn waiting(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            stalled: false,
        }
    }
}

/// The class of a twin, if it exists and allows this namespace and this host.
pub async fn class(ctx: &Context, twin: &DigitalTwin) -> Result<Result<TwinClass, Refusal>, Error> {
    let classes: Api<TwinClass> = Api::all(ctx.client.clone());
    let name = &twin.spec.class_name;
    let Some(class) = api::read("read the class", &classes, name).await? else {
        let message = format!("TwinClass {name} does not exist: create it, or ask an administrator");
        return Ok(Err(Refusal::waiting("ClassNotFound", message)));
    };
    let namespace = twin.namespace().unwrap_or_default();
    let host = &twin.spec.host_ref.name;
    if !class.spec.allowed.permits(&namespace, host) {
        let message = format!(
            "TwinClass {name} does not allow namespace {namespace} to twin host {host}: an administrator can add both to spec.allowed"
        );
        return Ok(Err(Refusal::waiting("NotAllowed", message)));
    }
    let has_vm = twin.status.as_ref().is_some_and(|s| s.vm.is_some());
    if !has_vm && place(ctx, twin).await? >= usize::try_from(class.spec.limits.twins).unwrap_or(0) {
        let message = format!(
            "TwinClass {name} allows {} twins and has them: delete one, or raise spec.limits.twins",
            class.spec.limits.twins
        );
        return Ok(Err(Refusal::waiting("LimitReached", message)));
    }
    Ok(Ok(class))
}

/// How many other twins of the class come before this one: those with a VM, and the older ones.
async fn place(ctx: &Context, twin: &DigitalTwin) -> Result<usize, Error> {
    let age = |t: &DigitalTwin| (t.creation_timestamp().map(|c| c.0), t.uid());
    let mine = age(twin);
    let twins = ctx.all_twins().await?;
    let before = twins.iter().filter(|other| {
        other.spec.class_name == twin.spec.class_name
            && other.uid() != twin.uid()
            && (other.status.as_ref().is_some_and(|s| s.vm.is_some()) || age(other) < mine)
    });
    Ok(before.count())
}

/// The host of a twin, if it is there and still the one that the twin was made of.
pub async fn host(ctx: &Context, twin: &DigitalTwin) -> Result<Result<HostState, Refusal>, Error> {
    let hosts: Api<HostState> = Api::all(ctx.client.clone());
    let name = &twin.spec.host_ref.name;
    let Some(host) = api::read("read the host's state", &hosts, name).await? else {
        let message = format!("no HostState {name}: does twin-agent run on the host?");
        return Ok(Err(Refusal::waiting("WaitingForHost", message)));
    };
    // What is seen here may never come by the watch, which tells the latest only: a host that was silent meanwhile
    // would look as it did before, and wake nobody.
    if let Some(uid) = twin.uid() {
        ctx.memory.sees(&uid, sight(twin, &host));
    }
    let pinned = twin.status.as_ref().and_then(|s| s.host.as_ref());
    let now = identity(&host);
    match pinned {
        Some(pinned) if is_another(pinned, &now) => Ok(Err(Refusal {
            reason: "HostReplaced",
            message: format!(
                "host {name} has machine id {}, the twin was made of {}: delete and create the twin to follow the new machine",
                now.machine_id, pinned.machine_id
            ),
            stalled: true,
        })),
        _ => Ok(Ok(host)),
    }
}

/// Whether two identities are of two machines. A DMI UUID counts only where both could be read. Agents used
/// to publish the machine id itself, from which follows what they publish now.
fn is_another(pinned: &HostIdentity, now: &HostIdentity) -> bool {
    let both = !pinned.system_uuid.is_empty() && !now.system_uuid.is_empty();
    let derived = || pinned.machine_id.parse::<MachineId>().map(|id| id.published());
    let same = pinned.machine_id == now.machine_id || derived().is_ok_and(|id| id == now.machine_id);
    !same || (both && pinned.system_uuid != now.system_uuid)
}

/// Identity of a host as its head tells it.
pub fn identity(host: &HostState) -> HostIdentity {
    HostIdentity {
        machine_id: host.spec.machine.machine_id.clone(),
        system_uuid: host.spec.machine.system_uuid.clone(),
    }
}

/// The TwinRestore that holds the twin: the newest of its restores, while it exists and says so. One that failed does
/// not.
pub async fn hold(ctx: &Context, twin: &DigitalTwin) -> Result<Option<TwinRestore>, Error> {
    let executed = twin.status.as_ref().map(|s| s.executed_restores.as_slice());
    let failed = |r: &TwinRestore| {
        let mut all = executed.into_iter().flatten();
        all.any(|e| e.failed.is_some() && Some(&e.uid) == r.uid().as_ref())
    };
    Ok(newest_restore(ctx, twin)
        .await?
        .filter(|r| r.spec.hold && r.metadata.deletion_timestamp.is_none() && !failed(r)))
}

/// The newest restore of a twin, by creation, then UID.
pub async fn newest_restore(ctx: &Context, twin: &DigitalTwin) -> Result<Option<TwinRestore>, Error> {
    Ok(restores(ctx, twin).await?.pop())
}

/// Reasons after which a restore never acts again.
const OVER: [&str; 5] = [
    "AlreadyExecuted",
    "Superseded",
    "NoPointBefore",
    "RevertFailed",
    "Restored",
];

/// Whether a restore has come to its end.
pub fn is_over(restore: &TwinRestore) -> bool {
    let restored = restore
        .status
        .as_ref()
        .and_then(|s| s.conditions.find(types::RESTORED));
    restored.is_some_and(|c| c.status == ConditionStatus::True || OVER.contains(&c.reason.as_str()))
}

/// The snapshot that a restore still has to go back to.
pub async fn awaited_snapshot(ctx: &Context, twin: &DigitalTwin) -> Result<Option<String>, Error> {
    let waiting = newest_restore(ctx, twin).await?.filter(|r| !is_over(r));
    Ok(waiting.and_then(|r| {
        let chosen = r.status.and_then(|s| s.snapshot);
        chosen.or(r.spec.snapshot_ref.map(|named| named.name))
    }))
}

/// All restores of a twin that decode, oldest first.
pub async fn restores(ctx: &Context, twin: &DigitalTwin) -> Result<Vec<TwinRestore>, Error> {
    let namespace = twin.namespace().unwrap_or_default();
    let all: Api<kube::core::DeserializeGuard<TwinRestore>> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = kube::api::ListParams::default().fields(&format!("spec.twinRef.name={}", twin.name_any()));
    let mut found: Vec<TwinRestore> = api::within("list restores", all.list(&params))
        .await?
        .items
        .into_iter()
        .filter_map(|r| r.0.ok())
        .filter(|r| r.spec.twin_ref.name == twin.name_any())
        .collect();
    found.sort_by_key(|r| (r.creation_timestamp().map(|c| c.0), r.uid()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(machine: &str, system: &str) -> HostIdentity {
        HostIdentity {
            machine_id: machine.into(),
            system_uuid: system.into(),
        }
    }

    #[test]
    fn an_agent_that_may_read_less_does_not_make_another_host() {
        let pinned = identity("m", "s");
        assert!(!is_another(&pinned, &identity("m", "")));
        assert!(is_another(&pinned, &identity("m", "t")));
        assert!(is_another(&pinned, &identity("n", "s")));
    }

    #[test]
    fn a_twin_that_pinned_the_machine_id_itself_follows_the_host_on() {
        let id = "0123456789abcdef0123456789abcdef";
        let derived = id.parse::<MachineId>().unwrap().published();
        let pinned = identity(id, "s");
        assert!(!is_another(&pinned, &identity(&derived, "s")));
        assert!(is_another(&pinned, &identity(&derived, "t")));
        assert!(is_another(&identity(&derived, "s"), &pinned));
    }
}
