//! The whole controller on fakes: API server, VM, guest and time are in memory, everything else is
//! what runs in production, watches and drivers included.
//!
//! The matrix: every step of the life of a twin is cut short after every single effect (a write that
//! the API server stores, a change of the VM, a change in the guest), and taken up by another process.
//! The oracle is the run that was not cut short: the same end, and the same number of points, file
//! writes and unit jobs.

mod api;
mod end;
mod fate;
mod host;
mod hosts;
mod machines;
mod matrix;
mod retry;
mod script;
mod time;
mod user;
mod world;
