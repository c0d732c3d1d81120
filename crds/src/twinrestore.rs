//! TwinRestore: takes a twin back to a point, and holds it there.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::twinclass::LocalRef;
use crate::twinsnapshot::TwinRef;

/// One restore of a twin. Executed once per name; holds while `hold` is true.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "TwinRestore",
    plural = "twinrestores",
    namespaced,
    derive = "PartialEq",
    status = "TwinRestoreStatus",
    category = "safetytwin",
    shortname = "restores",
    shortname = "trestore",
    doc = "Takes a twin back to a point and holds it there.",
    selectable = ".spec.twinRef.name",
    printcolumn(name = "Twin", type_ = "string", json_path = ".spec.twinRef.name"),
    printcolumn(name = "Snapshot", type_ = "string", json_path = ".status.snapshot"),
    printcolumn(
        name = "Restored",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Restored")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Restored")].reason"#
    ),
    printcolumn(name = "Hold", type_ = "boolean", json_path = ".spec.hold"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Restored")].message"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.snapshotRef) != has(self.asOf)").message("give exactly one of snapshotRef and asOf"))]
#[x_kube(validation = Rule::new("self.twinRef == oldSelf.twinRef && has(self.snapshotRef) == has(oldSelf.snapshotRef) && (!has(self.snapshotRef) || self.snapshotRef == oldSelf.snapshotRef) && (!has(self.asOf) || self.asOf == oldSelf.asOf)").message("only spec.hold may change: create another TwinRestore for another restore"))]
pub struct TwinRestoreSpec {
    /// The twin, in the same namespace; immutable.
    pub twin_ref: TwinRef,
    /// The TwinSnapshot to go back to; immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_ref: Option<LocalRef>,
    /// Go back to the newest Ready point taken at or before this time, with the revision that was
    /// applied then on top; immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub as_of: Option<String>,
    /// While true, nothing is applied, repaired, snapshotted or removed. Setting it false, or
    /// deleting the TwinRestore, lets the twin catch up.
    #[serde(default = "yes")]
    pub hold: bool,
}

fn yes() -> bool {
    true
}

/// What the controller says about a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TwinRestoreStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The TwinSnapshot chosen, written before the revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub snapshot: Option<String>,
    /// Revision put on top of the point, for asOf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub revision: Option<i64>,
    /// When it was done, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub completion_time: Option<String>,
}
