//! The manifest in the guest: the truth about what is applied. Written last, read first.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::item::{ItemId, Reason, RunClass};
use crate::names::UnitName;

/// Format that this build writes; all older ones are read, a newer one makes the twin read-only.
pub const FORMAT: i32 = 1;

/// What is applied in the guest (`/var/lib/safetytwin/manifest.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Format of this file.
    pub format: i32,
    /// Version of the renderer that made the files.
    pub renderer: i32,
    /// UID of the twin that owns this guest.
    pub twin_uid: String,
    /// Highest epoch that wrote here.
    pub epoch: i64,
    /// Number of the last finished operation.
    pub operation: i64,
    /// Number of the revision that is applied.
    pub revision: i64,
    /// Items that we placed, sorted by id. Only these are ever removed.
    pub items: Vec<ManifestItem>,
    /// Units that the guest had at first contact, sorted; never removed by us.
    #[serde(default)]
    pub own_units: Vec<String>,
    /// `spec.reRender` that was last honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re_render: Option<String>,
    /// The last operation was taken back, and nothing was applied since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
}

/// An operation that could not stay: the guest is as it was at a point, but for what is written here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenBack {
    /// Number of the operation.
    pub operation: i64,
    /// Name of the point on the hypervisor.
    pub point: String,
    /// Why, for people.
    pub why: String,
}

/// An item in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestItem {
    /// Identity on the host.
    pub id: ItemId,
    /// Digest of the item's declared part.
    pub item_digest: Digest,
    /// Digest of what was last asked for (files, run class, enablement), reached or not.
    pub rendered_digest: Digest,
    /// Digest of the files that are in the guest; absent when there are none, or an older
    /// controller wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_digest: Option<Digest>,
    /// Version of the renderer that made the files; 0 when an older controller wrote this.
    #[serde(default)]
    pub renderer: i32,
    /// The unit that carries it.
    pub unit: UnitName,
    /// Paths that we wrote.
    pub files: Vec<String>,
    /// Run state that was asked for.
    pub run: RunClass,
    /// We enabled it: a removal disables it again.
    #[serde(default)]
    pub enabled_by_us: bool,
    /// The unit existed before us (vendor unit): a removal takes only our files away.
    #[serde(default)]
    pub vendor: bool,
    /// The other container engine stands in.
    #[serde(default)]
    pub fallback: bool,
    /// Why it is not as asked for, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ItemFailure>,
}

/// An item's failure: recorded, backed off alone, while the rest goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Why.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
    /// How often in a row.
    pub attempts: i32,
    /// Not tried again before this time, RFC 3339.
    pub retry_after: String,
}

impl Manifest {
    /// The item of this identity.
    pub fn item(&self, id: &ItemId) -> Option<&ManifestItem> {
        self.items
            .binary_search_by(|item| item.id.cmp(id))
            .ok()
            .and_then(|n| self.items.get(n))
    }
}
