//! The two clocks of a head: wall time for people, time since boot for order.

use crate::hostroot::{HostRoot, read_single};

/// Now, RFC 3339 in UTC with seconds.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// CLOCK_BOOTTIME in milliseconds, which includes suspend; from `/proc/uptime`, to 10 ms.
pub fn boottime_ms(root: &HostRoot) -> i64 {
    let text = read_single(&root.proc().join("uptime"), 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut parts = text.split_whitespace().next().unwrap_or_default().split('.');
    let mut number = || parts.next().and_then(|p| p.parse::<i64>().ok()).unwrap_or(0);
    number() * 1000 + number() * 10
}

/// The kernel's boot id; "unknown" when unreadable.
pub fn boot_id(root: &HostRoot) -> String {
    let bytes = read_single(&root.proc().join("sys/kernel/random/boot_id"), 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if text.is_empty() { "unknown".into() } else { text }
}
