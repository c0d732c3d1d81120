//! DigitalTwin: which host, which class, what to replicate.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::digest::Digest;
use crate::item::{Fidelity, Reason};

/// A live twin of a host.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "DigitalTwin",
    plural = "digitaltwins",
    namespaced,
    derive = "PartialEq",
    status = "DigitalTwinStatus",
    category = "safetytwin",
    shortname = "twins",
    shortname = "twin",
    doc = "A live twin of a Linux host: a VM that runs the same services, containers and processes.",
    selectable = ".spec.hostRef.name",
    selectable = ".spec.className",
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.hostRef.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Running", type_ = "string", json_path = ".status.running", description = "Items that run in the twin of those that run on the host"),
    printcolumn(name = "Changed", type_ = "date", json_path = ".status.changedTime"),
    printcolumn(name = "Last Change", type_ = "string", json_path = ".status.lastChange"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.className", priority = 1),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.vm.address", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40").message("a twin's name has at most 40 characters, because snapshot names are built from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.hostRef == oldSelf.hostRef").message("spec.hostRef is immutable: create another twin for another host"))]
#[x_kube(validation = Rule::new("self.className == oldSelf.className").message("spec.className is immutable: create another twin to use another class"))]
pub struct DigitalTwinSpec {
    /// The host; immutable.
    pub host_ref: HostRef,
    /// The TwinClass; immutable.
    #[schemars(length(min = 1, max = 63))]
    pub class_name: String,
    /// What is replicated.
    #[serde(default)]
    pub replicate: Replicate,
    /// When restore points are made and kept.
    #[serde(default)]
    pub snapshots: SnapshotPolicy,
    /// What to do with changes made by hand in the twin.
    #[serde(default)]
    pub drift: Drift,
    /// What to do when too much fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Nothing is snapshotted or applied while true.
    #[serde(default)]
    pub suspend: bool,
    /// Changing this text renders every item anew once, also if only the renderer is newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub re_render: Option<String>,
    /// What becomes of the VM when the twin is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// A host by the name of its HostState.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRef {
    /// Name of the HostState.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
}

/// What is replicated; a missing member is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicate {
    /// Services, with their sockets, timers, paths and targets.
    #[serde(default = "some_filter", skip_serializing_if = "Option::is_none")]
    pub services: Option<Filter>,
    /// Containers.
    #[serde(default = "some_filter", skip_serializing_if = "Option::is_none")]
    pub containers: Option<Filter>,
    /// Independent processes.
    #[serde(default = "some_filter", skip_serializing_if = "Option::is_none")]
    pub processes: Option<Filter>,
}

impl Default for Replicate {
    fn default() -> Self {
        Self {
            services: some_filter(),
            containers: some_filter(),
            processes: some_filter(),
        }
    }
}

fn some_filter() -> Option<Filter> {
    Some(Filter::default())
}

/// Items by name; a `*` stands for any text. A process is matched by its executable and its comm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Only these; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,
    /// Never these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,
}

/// When restore points are made and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPolicy {
    /// How many automatic points are kept.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 50))]
    pub keep_last: i32,
    /// Least distance between two automatic points: the first change acts at once, what arrives
    /// meanwhile waits and shares the next point.
    #[serde(default = "two_seconds")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub coalesce: String,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self {
            keep_last: ten(),
            coalesce: two_seconds(),
        }
    }
}

fn ten() -> i32 {
    10
}

fn two_seconds() -> String {
    "2s".into()
}

/// What to do with changes made by hand in the twin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drift {
    /// Set it right.
    #[default]
    Repair,
    /// Say so.
    Report,
    /// Neither.
    Ignore,
}

/// What to do when too much of an apply fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Failed items are named, the others go on.
    #[default]
    Continue,
    /// The twin goes back to the point before the apply.
    Restore,
}

/// What becomes of the VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Domain, disks, automatic points and key go.
    #[default]
    Delete,
    /// They stay; only key and finalizers go. Always so for adopted domains.
    Retain,
}

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
    /// `/etc/machine-id`.
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
}
