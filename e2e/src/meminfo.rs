//! How much memory this machine has (proc_meminfo(5)).

/// A line of `/proc/meminfo` in KiB; none when it is not there.
pub fn kibibytes(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
