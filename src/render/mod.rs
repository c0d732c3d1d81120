//! PURE: items of a host → unit files of the guest. Called by `plan::desired` only.
//!
//! Everything from a host is hostile here. What is written is always made by us: local unit files
//! are read by [`unit_file`] the way systemd reads them, filtered by [`policy`], and written anew,
//! one assignment a line; processes and containers are generated, argv by rule R ([`escape`]).
//! Same input, same bytes: rendered bytes are compared with what a guest has.

pub mod container;
pub mod directives;
pub mod escape;
pub mod policy;
pub mod process;
pub mod unit;
pub mod unit_file;

use safetytwin_crds::item::Reason;
use safetytwin_crds::names::printable;
use safetytwin_crds::revision::{DesiredFile, Needs};

/// Version of the renderer, in every revision and manifest. Raise it when rendered bytes change for
/// an unchanged item: such a difference then waits for the item's next change or `spec.reRender`.
pub const RENDERER: i32 = 1;

/// Where every rendered file goes.
pub const UNIT_DIR: &str = "/etc/systemd/system";

/// Longest line that is written; longer ones are refused (systemd itself stops at 1 MiB).
pub const MAX_LINE: usize = 64 * 1024;

/// An item as rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Files to write, sorted by path.
    pub files: Vec<DesiredFile>,
    /// What the guest must have.
    pub needs: Needs,
    /// Why it is not Equal.
    pub substituted: Option<Reason>,
    /// What was left out or stands in, for people.
    pub details: Vec<String>,
    /// Its files have an `[Install]` section that enabling can follow.
    pub installable: bool,
}

impl Rendered {
    /// Records that something stands in or was left out. The first reason is the one shown.
    pub(crate) fn substitute(&mut self, reason: Reason, detail: impl Into<String>) {
        self.substituted.get_or_insert(reason);
        self.details.push(detail.into());
    }

    /// All details as one printable text of at most 256 bytes.
    pub fn detail(&self) -> String {
        printable(&self.details.join("; "), 256)
    }
}

/// An item that is not rendered, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, as status shows it.
    pub reason: Reason,
    /// A printable sentence of at most 256 bytes.
    pub message: String,
}

impl Refusal {
    /// A refusal; `message` is made printable and cut.
    pub fn new(reason: Reason, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: printable(message.as_ref(), 256),
        }
    }

    /// The name or content is not acceptable.
    pub fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(Reason::InvalidItem, message)
    }
}
