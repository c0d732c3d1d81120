//! What the figures were measured on.

use anyhow::Result;

use super::points::MEMORY;
use crate::lab::Lab;

/// The machine: titles and texts.
pub fn machine() -> Vec<(String, String)> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (file("/proc/cpuinfo"), file("/proc/meminfo"));
    let kibibytes = value(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let processors = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let within = if cpu.contains(" hypervisor") {
        ", itself a virtual machine"
    } else {
        ""
    };
    let system = file("/etc/os-release")
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown")
        .trim_matches('"')
        .to_owned();
    let entries = [
        (
            "processors",
            format!(
                "{processors} × {}{within}",
                value(&cpu, "model name").unwrap_or("unknown")
            ),
        ),
        (
            "memory",
            format!(
                "{:.1} GiB",
                kibibytes.unwrap_or_default() as f64 / f64::from(1 << 20)
            ),
        ),
        (
            "system",
            format!("{system}, Linux {}", file("/proc/sys/kernel/osrelease").trim()),
        ),
    ];
    entries.map(|(title, text)| (title.to_owned(), text)).to_vec()
}

/// Value of `name : value` in a file of /proc.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// When and with what a run on a lab was measured.
///
/// # Errors
/// A part of the lab does not answer.
pub(super) fn conditions(lab: &Lab) -> Result<Vec<(String, String)>> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    let build = if cfg!(debug_assertions) {
        "debug: the product's own share is larger than in a release build"
    } else {
        "release"
    };
    let virsh = lab.virsh(["version"])?;
    let library = value(&virsh, "Using library").unwrap_or("unknown libvirt");
    let hypervisor = value(&virsh, "Running hypervisor").unwrap_or("unknown hypervisor");
    let kubernetes = lab.kubectl(["version", "-o", "json"])?;
    let kubernetes: serde_json::Value = serde_json::from_str(&kubernetes)?;
    let kubernetes = kubernetes
        .pointer("/serverVersion/gitVersion")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("unknown");
    let entries = [
        (
            "measured",
            format!(
                "{:.0}, load of the machine before: {load}",
                jiff::Timestamp::now()
            ),
        ),
        ("build", build.to_owned()),
        ("guests", lab.prepared().acceleration.describe().to_owned()),
        (
            "host",
            "a Kubernetes node in a VM, 2 processors, 1536 MiB; agent as a service, beat 10 s".to_owned(),
        ),
        (
            "twin",
            format!("1 processor, {MEMORY} MiB; {library}, {hypervisor}"),
        ),
        (
            "cluster",
            format!("Kubernetes {kubernetes} on the same machine; etcd without fsync"),
        ),
    ];
    Ok(entries.map(|(title, text)| (title.to_owned(), text)).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described_by_what_proc_says() {
        let entries = machine();
        assert_eq!(entries.len(), 3);
        assert!(
            entries.iter().all(|(_, text)| !text.contains("unknown")),
            "{entries:?}"
        );
        assert_eq!(value("model name\t: AMD EPYC\n", "model name"), Some("AMD EPYC"));
    }
}
