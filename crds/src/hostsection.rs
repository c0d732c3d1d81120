//! HostSection: content of one part of one section of a host.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::names::HostName;
use crate::section::{Encoding, SectionName, Slot};

/// Content of one part of one section. Named `<host>.<section>.<part>.<a|b>`; written by the
/// host's agent, read by the controller by name, never watched.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "HostSection",
    derive = "PartialEq",
    category = "safetytwin",
    shortname = "hsec",
    doc = "Content of one part of one section of a host's state. Written by the host's agent.",
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(name = "Section", type_ = "string", json_path = ".spec.section"),
    printcolumn(name = "Part", type_ = "integer", json_path = ".spec.part"),
    printcolumn(name = "Slot", type_ = "string", json_path = ".spec.slot"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    // A list instead of string(self.spec.part), whose length the server cannot bound.
    validation = Rule::new("self.metadata.name == self.spec.host + '.' + self.spec.section + '.' + ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15'][self.spec.part] + '.' + self.spec.slot")
        .message("metadata.name must be <host>.<section>.<part>.<slot>")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct HostSectionSpec {
    /// Name of the host.
    pub host: HostName,
    /// Which section.
    pub section: SectionName,
    /// Number of the part.
    #[schemars(range(min = 0, max = 15))]
    pub part: i32,
    /// Which of the two slots this object is.
    pub slot: Slot,
    /// Version of the item schema inside `data`.
    #[schemars(range(min = 1))]
    pub schema_version: i32,
    /// How `data` is written.
    pub encoding: Encoding,
    /// Canonical JSON array of items in this encoding.
    #[schemars(length(max = 262_144))]
    pub data: String,
}
