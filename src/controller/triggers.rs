//! Which watch events wake which object. Never each beat: a twin is woken only when what it sees of
//! its host changed, compared with what it saw last.

use std::sync::Arc;

use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use safetytwin_crds::digest::Digest;
use safetytwin_crds::{
    Conditions as _, DigitalTwin, HostState, TwinClass, TwinRestore, TwinSnapshot, condition::types,
};

use super::context::{Context, GuardedHost, GuardedTwin};
use super::sections::replicated;
use super::twin::permit::identity;

type TwinRef = ObjectRef<GuardedTwin>;

/// What a twin sees of its host: content of the sections that it replicates, identity, freshness.
/// Changes exactly when the twin has something to do because of its host.
pub fn sight(twin: &DigitalTwin, host: &HostState) -> Digest {
    let root = host.spec.root_digest(&replicated(&twin.spec)).to_string();
    let who = identity(host);
    let fresh = host
        .status
        .as_ref()
        .is_some_and(|s| s.conditions.is_true(types::FRESH));
    let fields = [
        root.as_str(),
        &who.machine_id,
        &who.system_uuid,
        if fresh { "fresh" } else { "stale" },
    ];
    Digest::of_fields(fields.iter().map(|f| f.as_bytes()))
}

/// Twins to wake for an event of a host.
pub fn twins_of_host(ctx: &Context, store: &Store<GuardedTwin>, host: &GuardedHost) -> Vec<TwinRef> {
    let Ok(host) = &host.0 else {
        return Vec::new();
    };
    let name = host.name_any();
    decoded(store)
        .filter(|t| t.spec.host_ref.name == name)
        .filter(|t| ctx.memory.sees(&t.uid().unwrap_or_default(), sight(t, host)))
        .map(|t| refer(&t))
        .collect()
}

/// Twins to wake for an event of a class.
pub fn twins_of_class(store: &Store<GuardedTwin>, class: &DeserializeGuard<TwinClass>) -> Vec<TwinRef> {
    let name = class.name_any();
    decoded(store)
        .filter(|t| t.spec.class_name == name)
        .map(|t| refer(&t))
        .collect()
}

/// The twin of a snapshot, when its driver has something to do for it: while the snapshot goes, or
/// when a manual one is new. Automatic ones are written by the twin's own operations.
pub fn twin_of_snapshot(snapshot: &DeserializeGuard<TwinSnapshot>) -> Option<TwinRef> {
    let snapshot = snapshot.0.as_ref().ok()?;
    snapshot.metadata.deletion_timestamp.as_ref()?;
    Some(ObjectRef::new(&snapshot.spec.twin_ref.name).within(&snapshot.namespace()?))
}

/// The twin of a restore.
pub fn twin_of_restore(restore: &DeserializeGuard<TwinRestore>) -> Option<TwinRef> {
    let restore = restore.0.as_ref().ok()?;
    Some(ObjectRef::new(&restore.spec.twin_ref.name).within(&restore.namespace()?))
}

/// The host of a twin.
pub fn host_of_twin(twin: &GuardedTwin) -> Option<ObjectRef<GuardedHost>> {
    Some(ObjectRef::new(&twin.0.as_ref().ok()?.spec.host_ref.name))
}

/// The class of a twin.
pub fn class_of_twin(twin: &GuardedTwin) -> Option<ObjectRef<DeserializeGuard<TwinClass>>> {
    Some(ObjectRef::new(&twin.0.as_ref().ok()?.spec.class_name))
}

fn decoded(store: &Store<GuardedTwin>) -> impl Iterator<Item = DigitalTwin> {
    let twins: Vec<Arc<GuardedTwin>> = store.state();
    twins.into_iter().filter_map(|t| t.0.as_ref().ok().cloned())
}

fn refer(twin: &DigitalTwin) -> TwinRef {
    ObjectRef::new(&twin.name_any()).within(&twin.namespace().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::condition::Verdict;

    use super::*;

    fn host(sequence: i64, cpu: i32, units: &[u8], containers: &[u8]) -> HostState {
        let part = |bytes: &[u8]| serde_json::json!([{"slot": "a", "digest": Digest::of(bytes)}]);
        serde_json::from_value(serde_json::json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "HostState", "metadata": {"name": "web-01"},
            "spec": {
                "host": "web-01", "intervalSeconds": 10, "source": "Node", "bootId": "b",
                "sequence": sequence, "observedTime": format!("2026-11-22T14:30:{:02}Z", sequence % 60),
                "agentVersion": "1", "complete": "4/5", "machine": {"machineId": "m"},
                "load": {"cpuPercent": cpu},
                "sections": [
                    {"name": "units", "parts": part(units), "items": 1, "state": "Complete"},
                    {"name": "containers", "parts": part(containers), "items": 1, "state": "Complete"},
                    {"name": "observed", "parts": part(&[sequence as u8]), "items": 1, "state": "Complete"},
                ],
            },
        }))
        .unwrap()
    }

    fn twin() -> DigitalTwin {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": "web-01", "namespace": "ops", "uid": "u"},
            "spec": {"hostRef": {"name": "web-01"}, "className": "lab"},
        }))
        .unwrap()
    }

    #[test]
    fn a_host_whose_clock_and_boot_id_jump_at_each_beat_wakes_no_twin() {
        let first = sight(&twin(), &host(10, 3, b"u", b"c"));
        for time in [
            "1970-01-01T00:00:00Z",
            "2106-02-07T06:28:16Z",
            "2016-12-31T23:59:60Z",
            "soon",
            "",
        ] {
            let mut jumped = host(1, 3, b"u", b"c");
            time.clone_into(&mut jumped.spec.observed_time);
            jumped.spec.boot_id = format!("boot {time}");
            assert_eq!(sight(&twin(), &jumped), first, "{time}");
        }
    }

    #[test]
    fn a_beat_with_other_load_and_other_pids_wakes_no_twin() {
        let first = sight(&twin(), &host(10, 3, b"u", b"c"));
        assert_eq!(first, sight(&twin(), &host(20, 90, b"u", b"c")));
        assert_ne!(first, sight(&twin(), &host(20, 3, b"other", b"c")));
    }

    #[test]
    fn a_section_that_the_twin_does_not_replicate_does_not_wake_it() {
        let mut twin = twin();
        twin.spec.replicate.containers = None;
        assert_eq!(
            sight(&twin, &host(10, 3, b"u", b"c")),
            sight(&twin, &host(10, 3, b"u", b"other"))
        );
    }

    #[test]
    fn a_host_that_falls_silent_or_becomes_another_machine_wakes_its_twins() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut fresh = host(10, 3, b"u", b"c");
        let mut status = safetytwin_crds::HostStateStatus::default();
        status
            .conditions
            .set(types::FRESH, Verdict::yes("Beating", ""), None, now);
        fresh.status = Some(status.clone());
        let mut stale = fresh.clone();
        status
            .conditions
            .set(types::FRESH, Verdict::no("HostStateStale", ""), None, now);
        stale.status = Some(status);
        let mut other = fresh.clone();
        other.spec.machine.machine_id = "n".into();
        assert_ne!(sight(&twin(), &fresh), sight(&twin(), &stale));
        assert_ne!(sight(&twin(), &fresh), sight(&twin(), &other));
    }
}
