//! Content of a TwinRevision: every item as it is to be in the twin, rendered.

use serde::{Deserialize, Serialize};

use crate::canonical::canonical_json;
use crate::digest::Digest;
use crate::digitaltwin::NotReplicated;
use crate::item::container::Engine;
use crate::item::unit::Account;
use crate::item::{Fidelity, ItemId, Reason, RunClass};
use crate::names::UnitName;
use crate::section::{SectionError, compress, decompress};

/// Longest encoded content; beyond that nothing is applied (`RevisionTooLarge`).
pub const MAX_CONTENT: usize = 512 * 1024;

/// Everything that the twin is to run after an apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// Version of the renderer that made the files.
    pub renderer: i32,
    /// Items, sorted by id.
    pub items: Vec<DesiredItem>,
    /// Items that were left out, sorted by id.
    pub excluded: Vec<NotReplicated>,
    /// Items that left the host for good when this was decided, sorted: what is in the guest and in neither
    /// list stays there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ItemId>,
}

/// An item as it is to be in the twin. One unit of the guest carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredItem {
    /// Identity on the host.
    pub id: ItemId,
    /// Digest of the item's declared part.
    pub item_digest: Digest,
    /// Digest of what is written and set in the guest: files, run class, enablement.
    pub rendered_digest: Digest,
    /// The guest's unit that carries the item.
    pub unit: UnitName,
    /// Files to write; none for a vendor unit without local drop-ins.
    pub files: Vec<DesiredFile>,
    /// Run state to reach. Failed is treated as Down that may fail.
    pub run: RunClass,
    /// Enablement to reach.
    pub enablement: Enablement,
    /// Units that are to be active before this one, of those in this revision, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<UnitName>,
    /// What the guest must have.
    #[serde(default)]
    pub needs: Needs,
    /// Equal or Substituted.
    pub fidelity: Fidelity,
    /// Why it is substituted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substituted: Option<Reason>,
    /// What was left out or stands in, for people; printable, at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Stands in when the guest lacks the container engine of `needs.image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Fallback>>,
}

/// Another rendering of an item, under the same unit name, for a guest with another engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Files to write instead.
    pub files: Vec<DesiredFile>,
    /// What the guest must have instead.
    pub needs: Needs,
    /// Why it is substituted.
    pub substituted: Reason,
    /// What stands in, for people.
    pub detail: String,
}

/// A file of a unit, absolute path in the guest, mode 0644, owner root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredFile {
    /// Below `/etc/systemd/system/`; made by us, never taken from a host unchecked.
    pub path: String,
    /// Bytes; always text for systemd.
    pub content: String,
}

/// Enablement of a unit in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enablement {
    /// Started at boot through its `[Install]` section.
    Enabled,
    /// Not started at boot.
    Disabled,
    /// Masked.
    Masked,
    /// Left as it is: static, indirect, or without `[Install]`.
    Untouched,
}

/// What the guest must have before an item is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// Files that must be executable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
    /// Directory that must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// User, made with the host's id when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Account>,
    /// Group, made with the host's id when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Account>,
    /// The unit must be known to the guest already (vendor units).
    #[serde(default)]
    pub vendor_unit: Option<String>,
    /// Container image that must exist in one of these engines, preferred one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// A container image in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Reference as the host names it.
    pub reference: String,
    /// Engine of the rendered unit.
    pub engine: Engine,
}

impl Content {
    /// zstd + base64 of the canonical JSON.
    pub fn encode(&self) -> Result<String, SectionError> {
        let json = canonical_json(self).map_err(SectionError::Encode)?;
        let data = compress(&json)?;
        if data.len() > MAX_CONTENT {
            Err(SectionError::TooLarge(format!(
                "{} bytes compressed exceed {MAX_CONTENT}",
                data.len()
            )))
        } else {
            Ok(data)
        }
    }

    /// Reads what [`Content::encode`] wrote.
    pub fn decode(data: &str) -> Result<Self, SectionError> {
        serde_json::from_slice(&decompress(data)?).map_err(SectionError::NotAList)
    }
}

impl DesiredItem {
    /// Digest of what is written and set in the guest.
    pub fn digest_of(files: &[DesiredFile], run: RunClass, enablement: Enablement) -> Digest {
        let state = format!("{run:?} {enablement:?}");
        let bodies = files
            .iter()
            .flat_map(|f| [f.path.as_bytes(), f.content.as_bytes()]);
        Digest::of_fields(std::iter::once(state.as_bytes()).chain(bodies))
    }

    /// Digest of the files alone: equal ones need no reload and no restart.
    pub fn digest_of_files(files: &[DesiredFile]) -> Digest {
        Digest::of_fields(
            files
                .iter()
                .flat_map(|f| [f.path.as_bytes(), f.content.as_bytes()]),
        )
    }
}
