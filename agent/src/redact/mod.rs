//! Redaction by shape: what looks like a secret is replaced by `<redacted>` before anything
//! leaves this process, and counted, so that a reader sees that and where it happened.
//!
//! A deny-list cannot find every secret (the best detectors find 88 %), so the rules lean to
//! redacting, and values that nobody needs are not read at all: process environments, container
//! environment values. What is kept are ordinary values that services need (`PORT=8080`).

pub mod argv;
mod known;
mod pem;
pub mod shape;
pub mod text;
pub mod unit;
mod url;
mod value;

pub use argv::argv;
pub use text::text;

use safetytwin_crds::item::Text;

/// What stands where a secret was.
pub const PLACEHOLDER: &str = "<redacted>";

/// A text and how many values were taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The text with placeholders.
    pub text: String,
    /// How many.
    pub count: u32,
}

/// A path, a name or other bytes without what looks like a secret; the same bytes when there is none.
pub fn bytes(bytes: &[u8]) -> (Text, u32) {
    let redacted = text(&String::from_utf8_lossy(bytes));
    match redacted.count {
        0 => (Text(bytes.to_vec()), 0),
        count => (Text(redacted.text.into_bytes()), count),
    }
}

/// An image reference, without the user information that some put before the registry.
pub fn image(reference: &str) -> Redacted {
    let (name, digest) = match reference.find("@sha256:") {
        Some(at) => reference.split_at_checked(at).unwrap_or((reference, "")),
        None => (reference, ""),
    };
    let mut redacted = match name.rsplit_once('@') {
        Some((_, name)) => Redacted {
            text: format!("{PLACEHOLDER}@{name}"),
            count: 1,
        },
        None => text(name),
    };
    redacted.text.push_str(digest);
    redacted
}
