//! Logging of every binary verb: readable lines on a terminal, JSON everywhere else.
//!
//! Called once by `main`. The level comes from `RUST_LOG` (`info`, `safetytwin=debug,kube=warn` …).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Environment variable with the log filter.
pub const FILTER_VARIABLE: &str = "RUST_LOG";

/// Installs the log subscriber. `level` holds when [`FILTER_VARIABLE`] is not set or not readable.
/// A second call changes nothing.
pub fn init(level: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Fails only when a subscriber is there already, for instance in tests.
    let _already = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
}
