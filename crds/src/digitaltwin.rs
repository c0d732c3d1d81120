//! DigitalTwin: which host, which class, what to replicate.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod status;

pub use status::{
    Applied, Change, DigitalTwinStatus, ExecutedRestore, HostIdentity, NotReplicated, Operation,
    OperationKind, PendingRemoval, VmStatus,
};

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

/// What is replicated: a member that is not written replicates all of its kind; `null` or
/// `exclude: ["*"]` none.
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
