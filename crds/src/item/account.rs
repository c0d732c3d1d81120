//! Users and groups: the opt-in section `accounts`.

use serde::{Deserialize, Serialize};

/// A local user or group, sorted: users first, then by name. Never a password, its hash or its
/// age, nor the comment field, which holds people's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AccountItem {
    /// A line of passwd(5).
    User {
        /// Login name.
        name: String,
        /// User id.
        id: u32,
        /// Id of the primary group.
        primary_group: u32,
        /// Home directory.
        home: String,
        /// Login shell; empty means `/bin/sh`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        shell: String,
    },
    /// A line of group(5).
    Group {
        /// Group name.
        name: String,
        /// Group id.
        id: u32,
        /// Users that have it as a supplementary group, sorted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<String>,
    },
}

impl AccountItem {
    /// Whether it is a group, and its name: the identity.
    pub fn key(&self) -> (bool, &str) {
        match self {
            Self::User { name, .. } => (false, name),
            Self::Group { name, .. } => (true, name),
        }
    }
}
