//! Processes of their own: in no service and no container.

use serde::{Deserialize, Serialize};

use super::unit::Account;
use super::{ItemId, ItemKind, Text};
use crate::digest::Digest;

/// An independent process. Its identity is [`ProcessItem::key`]: executable, argv shape, working
/// directory, user and ordinal among equals; never a pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessItem {
    /// First 16 hex digits of [`ProcessItem::key`]; unique within the section.
    pub key: String,
    /// `comm`, as the kernel shows it.
    pub comm: Text,
    /// Resolved `/proc/PID/exe`; absent at level basic when not readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text>,
    /// The executable was deleted or replaced, or lives in another mount namespace.
    #[serde(default)]
    pub executable_gone: bool,
    /// Arguments, redacted by shape.
    pub argv: Vec<Text>,
    /// How many values of the item were replaced by placeholders; see [`crate::redaction`].
    #[serde(default)]
    pub redactions: u32,
    /// argv was cut at 64 KiB.
    #[serde(default)]
    pub truncated: bool,
    /// Working directory; absent when not readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<Text>,
    /// Effective user.
    pub user: Account,
    /// Effective group.
    pub group: Account,
    /// Listening sockets as `tcp:0.0.0.0:8080`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listens: Vec<String>,
    /// Which of several equal processes this is, from 0 in start order.
    pub ordinal: u32,
    /// Fields that could not be read, and why: `executable: permission denied`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

impl ProcessItem {
    /// Identity of the item.
    pub fn id(&self) -> ItemId {
        ItemId {
            kind: ItemKind::Process,
            name: self.key.clone(),
        }
    }

    /// Identity digest from the fields that define a process. `executable` falls back to `comm`.
    pub fn identity(
        executable: &[u8],
        argv: &[Text],
        working_directory: &[u8],
        user: u32,
        ordinal: u32,
    ) -> String {
        let user = user.to_le_bytes();
        let ordinal = ordinal.to_le_bytes();
        let fixed: [&[u8]; 4] = [executable, working_directory, &user, &ordinal];
        let fields = fixed.into_iter().chain(argv.iter().map(|a| a.0.as_slice()));
        Digest::of_fields(fields).to_string().chars().take(16).collect()
    }
}
