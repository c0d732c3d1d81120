//! Status of a DigitalTwin: an index of the truth in the guest's manifest, and what users see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::digest::Digest;
use crate::item::{Fidelity, Reason};

/// What the controller says about a twin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigitalTwinStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, HostFresh, GuestReachable, Isolated, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Identity of the host, pinned at the first apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostIdentity>,
    /// The VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmStatus>,
    /// Fence: only the holder of the highest epoch acts on the twin.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// Highest operation number given out.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub last_operation: i64,
    /// The operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// What the guest's manifest says is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// Running in the twin of running on the host: "14/14".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub running: Option<String>,
    /// When the twin was last changed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub changed_time: Option<String>,
    /// What was last changed: "nginx.service changed".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub last_change: Option<String>,
    /// The newest changes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub changes: Vec<Change>,
    /// Items that are not, or not quite, in the twin, sorted by item. At most 200; see the message
    /// of Ready for the number beyond.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub not_replicated: Vec<NotReplicated>,
    /// Root digest whose removals wait for a second observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_removal: Option<PendingRemoval>,
    /// UIDs and names of restores that were executed; a recreated one is not executed again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub executed_restores: Vec<ExecutedRestore>,
    /// Name of the TwinRestore that holds the twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub held_by: Option<String>,
}

/// Identity of a host; another one under the same name stops the twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostIdentity {
    /// Derived from `/etc/machine-id`.
    #[schemars(length(max = 64))]
    pub machine_id: String,
    /// DMI product UUID; may be empty.
    #[schemars(length(max = 64))]
    pub system_uuid: String,
}

/// The VM of a twin; frozen once made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmStatus {
    /// Domain UUID.
    #[schemars(length(max = 36))]
    pub domain_uuid: String,
    /// Domain name.
    #[schemars(length(max = 128))]
    pub domain_name: String,
    /// The class's URI when the VM was made or adopted.
    #[schemars(length(max = 253))]
    pub uri: String,
    /// The pool when the VM was made.
    #[schemars(length(max = 63))]
    pub pool: String,
    /// An existing domain was adopted; it is never deleted.
    #[serde(default)]
    pub adopted: bool,
    /// Address at which the pinned host key answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub address: Option<String>,
    /// Pinned host key of the guest, OpenSSH format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub host_key: Option<String>,
    /// Which incarnation was last set right: domain id, current point and guest boot id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub incarnation: Option<String>,
}

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationKind {
    /// Bring the twin to a revision.
    Apply,
    /// Take the twin back to a point.
    Restore,
    /// Take a point.
    Point,
}

/// An operation, written before its first effect and removed after its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its number; names of its point and its revision carry it.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// Apply, Restore or Point.
    pub kind: OperationKind,
    /// Revision that the twin ran before.
    #[schemars(range(min = 0))]
    pub base_revision: i64,
    /// Revision that it is to run.
    #[schemars(range(min = 0))]
    pub target_revision: i64,
    /// The TwinSnapshot that is made or restored.
    #[schemars(length(max = 253))]
    pub snapshot_name: String,
    /// Epoch under which it was begun.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// When it was begun, RFC 3339.
    #[schemars(length(max = 40))]
    pub started_time: String,
    /// The TwinRestore that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub restore_name: Option<String>,
    /// What changes, for people.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub summary: String,
}

/// What the guest's manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Number of the revision.
    #[schemars(range(min = 0))]
    pub revision: i64,
    /// Root digest of the host state that it came from.
    pub root_digest: Digest,
    /// Generation of the twin's spec that it came from.
    pub generation: i64,
}

/// One change of the twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When it was done, RFC 3339.
    #[schemars(length(max = 40))]
    pub time: String,
    /// What changed: "+nginx.service, ~sshd.service".
    #[schemars(length(max = 512))]
    pub summary: String,
    /// From the decision to the record, in milliseconds.
    #[schemars(range(min = 0))]
    pub milliseconds: i64,
    /// Applied, ItemsFailed, Restored or Failed.
    #[schemars(length(max = 32))]
    pub result: String,
    /// Revision that runs now.
    #[schemars(range(min = 0))]
    pub revision: i64,
    /// TwinSnapshot of the state before.
    #[schemars(length(max = 253))]
    pub snapshot: String,
}

/// An item that is not, or not quite, in the twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotReplicated {
    /// Identity: `unit/nginx.service`.
    #[schemars(length(max = 300))]
    pub item: String,
    /// Substituted or NotReplicable.
    pub fidelity: Fidelity,
    /// Why.
    pub reason: Reason,
    /// What is missing and what to do.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Removals that wait for a second observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingRemoval {
    /// Boot id of the first observation.
    #[schemars(length(max = 64))]
    pub boot_id: String,
    /// Sequence of the first observation.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// Items that were missing, sorted.
    #[schemars(length(max = 1000), inner(length(max = 300)))]
    pub items: Vec<String>,
    /// Digest of the list, for the approval annotation.
    pub digest: Digest,
}

/// A restore that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutedRestore {
    /// Name of the TwinRestore.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID that it had.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The TwinSnapshot that it took the twin back to.
    #[schemars(length(max = 253))]
    pub snapshot: String,
    /// Why it could not: the twin stayed as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub failed: Option<String>,
}
