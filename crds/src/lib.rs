//! Kinds, items, digests and names of SafetyTwin: what the agent writes, the controller reads,
//! and users see with `kubectl`. Everything else imports this crate; it imports none of ours.
//!
//! ```text
//! item::*  ──▶ section (canonical JSON, digest, zstd+base64 parts) ──▶ HostSection, HostState
//! item::*  ──▶ revision (desired content of one apply)             ──▶ TwinRevision
//!                              manifest (what the guest says is applied)
//! ```
#![deny(missing_docs)]
// Several printer columns of one kind share members such as `priority = 1`.
#![allow(clippy::duplicated_attributes)]

pub mod access;
pub mod canonical;
pub mod condition;
pub mod digest;
pub mod digitaltwin;
pub mod glob;
pub mod hostsection;
pub mod hoststate;
pub mod item;
pub mod machineid;
pub mod manifest;
pub mod names;
pub mod redaction;
pub mod revision;
pub mod section;
pub mod twinclass;
pub mod twinrestore;
pub mod twinrevision;
pub mod twinsnapshot;

pub use condition::{Condition, ConditionStatus, Conditions};
pub use digest::{Digest, PartDigest};
pub use digitaltwin::{DigitalTwin, DigitalTwinSpec, DigitalTwinStatus};
pub use hostsection::{HostSection, HostSectionSpec};
pub use hoststate::{HostState, HostStateSpec, HostStateStatus};
pub use twinclass::{TwinClass, TwinClassSpec, TwinClassStatus};
pub use twinrestore::{TwinRestore, TwinRestoreSpec, TwinRestoreStatus};
pub use twinrevision::{TwinRevision, TwinRevisionSpec, TwinRevisionStatus};
pub use twinsnapshot::{TwinSnapshot, TwinSnapshotSpec, TwinSnapshotStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of all kinds.
pub const GROUP: &str = "safetytwin.com";
/// The served and stored version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// kubectl category of all kinds (`kubectl get safetytwin`). Never `twins`: kubectl expands
/// categories before resource names.
pub const CATEGORY: &str = "safetytwin";

/// All CustomResourceDefinitions, in the order in which a reader meets them.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        HostState::crd(),
        HostSection::crd(),
        TwinClass::crd(),
        DigitalTwin::crd(),
        TwinSnapshot::crd(),
        TwinRestore::crd(),
        TwinRevision::crd(),
    ]
}
