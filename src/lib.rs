//! SafetyTwin's controller and command line.
//!
//! ```text
//! crds ◀─ all     facts ◀─ plan, vm, guest     render ◀─ plan
//! {plan, vm, guest} ◀─ execute ◀─ controller ◀─ cli ◀─ main
//! ```
//! One pipeline per kind: gather (reads) → plan (pure) → execute (steps against the ports
//! [`vm::TwinVm`] and [`guest::Guest`]) → status (writes). Imports only flow that way;
//! `tests/layout.rs` fails on any other.

pub mod cli;
pub mod controller;
pub mod execute;
pub mod facts;
pub mod guest;
pub mod plan;
pub mod render;
pub mod telemetry;
pub mod vm;
