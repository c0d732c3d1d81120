//! TwinRevision: the desired content of one attempt to apply.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::digest::Digest;
use crate::twinsnapshot::TwinRef;

/// The immutable desired content of one attempt to apply: what a crashed apply is finished from,
/// and the history of the twin. Named `<twin>-r<number>-<short uid>`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "TwinRevision",
    plural = "twinrevisions",
    namespaced,
    derive = "PartialEq",
    status = "TwinRevisionStatus",
    category = "safetytwin",
    shortname = "revisions",
    shortname = "trev",
    doc = "The desired content of one attempt to apply a host's state to its twin.",
    selectable = ".spec.twinRef.name",
    printcolumn(name = "Twin", type_ = "string", json_path = ".spec.twinRef.name"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.number"),
    printcolumn(
        name = "Applied",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Applied")].status"#
    ),
    printcolumn(name = "Items", type_ = "integer", json_path = ".spec.items"),
    printcolumn(name = "Change", type_ = "string", json_path = ".spec.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable"))]
pub struct TwinRevisionSpec {
    /// The twin, in the same namespace.
    pub twin_ref: TwinRef,
    /// UID of the twin.
    #[schemars(length(max = 64))]
    pub twin_uid: String,
    /// Number of the operation that made it.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// Root digest of the host state that it came from.
    pub root_digest: Digest,
    /// Generation of the twin's spec that it came from.
    pub generation: i64,
    /// Number of items.
    #[schemars(range(min = 0))]
    pub items: i32,
    /// What changes from the revision before, for people.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub summary: String,
    /// zstd + base64 of the canonical JSON of [`crate::revision::Content`].
    #[schemars(length(max = 524_288))]
    pub content: String,
}

/// What the controller says about a revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TwinRevisionStatus {
    /// Applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
