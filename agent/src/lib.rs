//! What the agent collects and how it publishes.
//!
//! ```text
//! collect/* ──▶ board ──▶ assemble (sections, head) ──▶ publish (two slots, head last)
//!                                                  └──▶ once (a List on standard output)
//! ```
//! `enroll` makes a machine outside the cluster one of its hosts.

pub mod ai;
pub mod assemble;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod connection;
pub mod enroll;
pub mod head;
pub mod hostroot;
pub mod metrics;
pub mod once;
pub mod privileges;
pub mod publish;
pub mod redact;
pub mod settings;
pub mod token;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

#[cfg(test)]
mod planted;
