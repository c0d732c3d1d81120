//! CPU topology as lscpu counts it: CPUs that are online, by which of them share a core and a socket.

use std::collections::BTreeSet;

use safetytwin_crds::item::machine::Cpu;
use safetytwin_crds::names::printable;

use super::source::{Source, word};

/// As many as the largest kernel knows (`NR_CPUS` of x86).
const CPUS: u32 = 8192;
const FLAGS: usize = 512;

/// What is known of the CPUs while the same ones are online: `/proc/cpuinfo` is dear to read.
#[derive(Clone, Debug, Default)]
pub struct KnownCpu(Option<(String, Cpu)>);

impl KnownCpu {
    /// The topology.
    pub fn look(&mut self, source: &mut Source) -> Cpu {
        let online = word(&source.sys("devices/system/cpu/online"));
        match &self.0 {
            Some((known, cpu)) if *known == online => cpu.clone(),
            _ => {
                let before = source.gaps.len();
                let cpu = read(source, &online);
                // What was not whole is read again.
                self.0 = (before == source.gaps.len()).then(|| (online, cpu.clone()));
                cpu
            }
        }
    }
}

fn read(source: &mut Source, online: &str) -> Cpu {
    let numbers = list(online);
    if numbers.is_empty() {
        source.gaps.push("no list of online CPUs".into());
    }
    let mut cores = BTreeSet::new();
    let mut sockets = BTreeSet::new();
    for number in &numbers {
        let topology = source.sys(&format!("devices/system/cpu/cpu{number}/topology"));
        // The newer names, core_cpus_list and package_cpus_list, are of the same files.
        let siblings = |file: &str| Some(word(&topology.join(file))).filter(|list| !list.is_empty());
        cores.extend(siblings("thread_siblings_list"));
        sockets.extend(siblings("core_siblings_list"));
    }
    if cores.is_empty() && !numbers.is_empty() {
        source.gaps.push("no topology of the CPUs".into());
    }
    let info = source.proc("cpuinfo");
    let field = |keys: &[&str]| {
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        let mut fields = lines.map(|(key, value)| (key.trim(), value.trim()));
        fields
            .find(|(key, _)| keys.contains(key))
            .map_or("", |(_, value)| value)
    };
    let flags: BTreeSet<String> = field(&["flags", "Features"])
        .split_whitespace()
        .map(|flag| printable(flag, 32))
        .take(FLAGS)
        .collect();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    Cpu {
        vendor: printable(field(&["vendor_id", "CPU implementer"]), 64),
        model: printable(field(&["model name"]), 128),
        sockets: count(sockets.len().max(1)),
        cores: count(if cores.is_empty() {
            numbers.len()
        } else {
            cores.len()
        }),
        threads: count(numbers.len()),
        numa_nodes: count(list(&word(&source.sys("devices/system/node/online"))).len()),
        flags: flags.into_iter().collect(),
    }
}

/// Numbers of a list such as `0-3,8` (cpuset(7), "List format"); nonsense in it counts for nothing.
fn list(text: &str) -> BTreeSet<u32> {
    let ranges = text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(first..=last.min(CPUS - 1))
    });
    ranges.flatten().filter(|number| *number < CPUS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_read_and_nonsense_in_it_counts_for_nothing() {
        assert_eq!(list("0-3,8").len(), 5);
        assert_eq!(list("0\n").len(), 1);
        assert_eq!(list("0-4294967295").len(), CPUS as usize);
        for nonsense in ["", "-1", "3-1", "99999999999999999999", "a-b", "9000"] {
            assert!(list(nonsense).is_empty(), "{nonsense}");
        }
    }
}
