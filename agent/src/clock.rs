//! The two clocks of a head: wall time for people, time since boot for order.

use safetytwin_crds::names::printable;

use crate::hostroot::{HostRoot, read_single};

/// Room for a boot id, a UUID, and for the reason why there is none.
const BOOT_ID: usize = 64;

/// Now, RFC 3339 in UTC with seconds.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// CLOCK_BOOTTIME in milliseconds, which includes suspend; from `/proc/uptime`, to 10 ms. What is no time is 0, and what
/// is longer than can be counted the longest.
pub fn boottime_ms(root: &HostRoot) -> i64 {
    let text = read_single(&root.proc().join("uptime"), 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut parts = text.split_whitespace().next().unwrap_or_default().split('.');
    let mut number = || {
        parts
            .next()
            .and_then(|p| p.parse::<i64>().ok())
            .unwrap_or(0)
            .max(0)
    };
    let seconds = number().saturating_mul(1000);
    seconds.saturating_add(number().saturating_mul(10))
}

/// The kernel's boot id, bounded and safe to show; "unknown" when unreadable.
pub fn boot_id(root: &HostRoot) -> String {
    let bytes = read_single(&root.proc().join("sys/kernel/random/boot_id"), 4096).unwrap_or_default();
    match printable(String::from_utf8_lossy(&bytes).trim(), BOOT_ID) {
        text if text.is_empty() => "unknown".into(),
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the two say of a procfs with these files.
    fn clocks(uptime: &[u8], boot: &[u8]) -> (i64, String) {
        let dir = tempfile::tempdir().unwrap();
        let random = dir.path().join("sys/kernel/random");
        std::fs::create_dir_all(&random).unwrap();
        std::fs::write(dir.path().join("uptime"), uptime).unwrap();
        std::fs::write(random.join("boot_id"), boot).unwrap();
        let root = HostRoot::new("/nowhere", dir.path(), "/sys");
        (boottime_ms(&root), boot_id(&root))
    }

    #[test]
    fn a_procfs_that_tells_no_time_or_no_boot_is_no_error_and_never_a_time_before_the_boot() {
        let id = "b1a5f3d2-0000-4000-8000-00000000000a";
        assert_eq!(
            clocks(b"12.34 1.00\n", b"b1a5f3d2-0000-4000-8000-00000000000a\n"),
            (12_340, id.into())
        );
        for (uptime, expected) in [
            ("", 0),
            ("-5.50 1", 500),
            ("soon", 0),
            ("9223372036854775807.99 1", i64::MAX),
            ("99999999999999999999.10 1", 100),
            // A uint32 of seconds, which ends in 2106.
            ("4294967295.00 1", 4_294_967_295_000),
        ] {
            assert_eq!(clocks(uptime.as_bytes(), b"").0, expected, "{uptime}");
        }
        assert_eq!(clocks(b"", b"\n").1, "unknown");
        let (_, hostile) = clocks(b"", &[b"a\x1b[2J\n\xff".as_slice(), &[b'x'; 999]].concat());
        assert!(
            hostile.starts_with("a\\u{1b}[2J\\n") && hostile.len() <= BOOT_ID,
            "{hostile}"
        );
    }
}
