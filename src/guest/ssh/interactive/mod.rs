//! What people do in a twin: run programs there, and reach its ports.
//!
//! ```text
//! run ─▶ session ─▶ channel (pty when asked) ─▶ streams: input ▶ guest ▶ output, errors, exit status
//! Forward ─▶ session ─▶ one channel for each connection to a local port
//! ```
//! The commands `twin ssh` and `twin forward` call these with the twin's key, read with the caller's
//! own rights. The host key is checked as for every other connection. Needs `pty` and
//! `port-forwarding` in the guest's `authorized_keys`. The words of a command are the user's own; the
//! controller never comes here.

mod escape;
mod forward;
mod run;
mod streams;
mod terminal;
#[cfg(test)]
mod tests;

use crate::guest::GuestError;

pub use forward::{Forward, PortPair};
pub use run::run;
pub use streams::Ended;

/// Why something in a guest did not work: there, or on this side.
#[derive(Debug, thiserror::Error)]
pub enum InteractiveError {
    /// The guest, or the way to it.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// This machine.
    #[error("{what}")]
    Here {
        /// What cannot be used, and what to do.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}
