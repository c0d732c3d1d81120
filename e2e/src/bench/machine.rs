//! What the figures were measured on.

use anyhow::Result;

use crate::lab::Lab;
use crate::meminfo::kibibytes;

/// The machine: processors, memory, system.
fn machine() -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo");
    let processors = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let within = if cpu.contains(" hypervisor") {
        ", itself a virtual machine"
    } else {
        ""
    };
    let release = file("/etc/os-release");
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown");
    format!(
        "{processors} × {}{within}; {:.1} GiB; {}, Linux {}",
        value(&cpu, "model name").unwrap_or("unknown"),
        kibibytes("MemTotal").unwrap_or_default() as f64 / f64::from(1 << 20),
        system.trim_matches('"'),
        file("/proc/sys/kernel/osrelease").trim(),
    )
}

/// Value of `name : value` in a file of /proc.
pub(super) fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// When, on which machine and how busy a one, and from what build.
///
/// # Errors
/// The load of the machine cannot be read.
pub(super) fn run() -> Result<Vec<(String, String)>> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("unknown");
    let build = if cfg!(debug_assertions) {
        "debug: the product's own share is larger than in a release build"
    } else {
        "release"
    };
    let now = jiff::Timestamp::now();
    Ok(vec![
        (
            "measured".to_owned(),
            format!("{now:.0}, load of the machine before: {load}"),
        ),
        ("machine".to_owned(), machine()),
        ("build".to_owned(), build.to_owned()),
    ])
}

/// The version of the lab's API server.
///
/// # Errors
/// It does not answer.
pub(super) fn kubernetes(lab: &Lab) -> Result<String> {
    let answer: serde_json::Value = serde_json::from_str(&lab.kubectl(["version", "-o", "json"])?)?;
    let version = answer
        .pointer("/serverVersion/gitVersion")
        .and_then(serde_json::Value::as_str);
    Ok(version.unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described_by_what_proc_says() {
        let machine = machine();
        assert!(
            machine.contains(" GiB; ") && !machine.contains("unknown"),
            "{machine}"
        );
        assert_eq!(value("model name\t: AMD EPYC\n", "model name"), Some("AMD EPYC"));
    }
}
