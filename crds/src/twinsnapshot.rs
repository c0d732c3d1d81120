//! TwinSnapshot: one restore point.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::twinclass::PointMode;

/// One restore point of a twin, automatic or manual.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "TwinSnapshot",
    plural = "twinsnapshots",
    namespaced,
    derive = "PartialEq",
    status = "TwinSnapshotStatus",
    category = "safetytwin",
    shortname = "snapshots",
    shortname = "tsnap",
    doc = "One restore point of a twin.",
    selectable = ".spec.twinRef.name",
    printcolumn(name = "Twin", type_ = "string", json_path = ".spec.twinRef.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Taken", type_ = "date", json_path = ".status.takenTime"),
    printcolumn(name = "Taken Before", type_ = "string", json_path = ".status.takenBefore"),
    printcolumn(name = "Pinned", type_ = "boolean", json_path = ".spec.pinned"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(
        name = "Pause",
        type_ = "integer",
        json_path = ".status.pauseMilliseconds",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.twinRef == oldSelf.twinRef").message("spec.twinRef is immutable"))]
#[x_kube(validation = Rule::new("self.mode == oldSelf.mode").message("spec.mode is immutable: a point is taken once"))]
pub struct TwinSnapshotSpec {
    /// The twin, in the same namespace; immutable.
    pub twin_ref: TwinRef,
    /// What it is for.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub description: String,
    /// A pinned point is never pruned.
    #[serde(default)]
    pub pinned: bool,
    /// Auto, Full or Disk; immutable.
    #[serde(default)]
    pub mode: PointMode,
}

/// A twin by name, in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TwinRef {
    /// Name of the DigitalTwin.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What a point holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TakenMode {
    /// Memory and disk.
    Full,
    /// Disk only.
    Disk,
}

/// What the controller says about a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TwinSnapshotStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the point in the hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub point: Option<String>,
    /// Full or Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TakenMode>,
    /// Why this mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub mode_reason: Option<String>,
    /// Revision that the point contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub revision: Option<i64>,
    /// When it was taken, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub taken_time: Option<String>,
    /// The change it was taken before: "nginx.service changed", "(manual) nginx 1.28".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub taken_before: Option<String>,
    /// How long the snapshot took in all, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pause_milliseconds: Option<i64>,
    /// Bytes of the files that belong to it, when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_bytes: Option<i64>,
}
