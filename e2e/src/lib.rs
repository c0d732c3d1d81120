//! The lab harness.

pub mod api_server;
