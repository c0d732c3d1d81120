//! Redaction by shape: what looks like a secret is replaced by `<redacted>` before anything
//! leaves this process, and counted, so that a reader sees that and where it happened.
//!
//! A deny-list cannot find every secret (the best detectors find 88 %), so the rules lean to
//! redacting, and values that nobody needs are not read at all: process environments, container
//! environment values. What is kept are ordinary values that services need (`PORT=8080`).

pub mod argv;
pub mod shape;
pub mod text;
pub mod unit;

pub use argv::argv;
pub use text::text;

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
