//! The controller: one driver per kind, gather → plan → execute → status.
//!
//! ```text
//! run (lease, watches) ─▶ triggers ─▶ drive (errors, back-off) ─▶ twin · snapshot · restore · class · host
//!                                                    twin ─▶ operation (apply, point, restore) ─▶ execute
//! ```
//! Everything that acts on a twin holds its lock, writes its status through one [`ledger`], and
//! proves before each effect that it still leads. Ports are injected ([`ports`]): the whole
//! controller runs on fakes.

pub mod access;
pub mod api;
pub mod backends;
pub mod backoff;
pub mod class;
pub mod context;
pub mod credentials;
pub mod drive;
pub mod error;
pub mod events;
pub mod health;
pub mod host;
pub mod keys;
pub mod leader;
pub mod ledger;
pub mod metrics;
pub mod operation;
pub mod ports;
pub mod restore;
pub mod run;
pub mod sections;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod triggers;
pub mod twin;
pub mod twins;
pub mod vmwatch;
