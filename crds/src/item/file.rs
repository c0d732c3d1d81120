//! Files that the administrator selected: the opt-in section `files`.

use serde::{Deserialize, Serialize};

use super::unit::Account;
use crate::digest::Digest;

/// A selected file, link or directory, by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileItem {
    /// Absolute path on the host: the identity.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub what: FileType,
    /// Owner, with the name that the host's passwd file has.
    pub owner: Account,
    /// Group, with the name that the host's group file has.
    pub group: Account,
    /// Permission bits in octal, as `stat -c %a` shows them.
    pub mode: String,
    /// Extended attributes (xattr(7)), by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
}

/// What a path is. Links are told, never followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FileType {
    /// A regular file.
    File {
        /// Length in bytes on the host.
        size: u64,
        /// Digest of the bytes on the host, redacted where `redactions` is not zero; none when
        /// they were not read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
        /// The text; at most 64 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        /// How many values were replaced by `<redacted>`.
        #[serde(default, skip_serializing_if = "super::is_zero")]
        redactions: u32,
        /// Why there is no content.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        withheld: Option<Withheld>,
    },
    /// A symbolic link.
    Link {
        /// What it says, printable.
        target: String,
    },
    /// A directory.
    Directory,
    /// A FIFO, socket or device; never opened.
    Special,
}

/// Why a file's content is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Withheld {
    /// Its name or content is that of a key or of credentials: digest only.
    Credential,
    /// Not everybody on the host may read it: digest only.
    NotWorldReadable,
    /// Not text in UTF-8: digest only.
    NotText,
    /// Longer than 64 KiB, or the section's 512 KiB are spent: digest only.
    TooLarge,
    /// Longer than what is hashed: no digest.
    NotHashed,
    /// A password database, which is never read: no digest.
    NeverRead,
    /// The agent may not read it: no digest.
    Unreadable,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Xattr {
    /// Name with its namespace, printable.
    pub name: String,
    /// Hex digits of the value; only of `security.capability`, `security.selinux` and access lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
