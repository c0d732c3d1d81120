//! Policy and priority of scheduling as the files of a unit set them. Each assignment of the one also changes the other
//! (systemd's `config_parse_exec_cpu_sched_policy`, `config_parse_exec_io_class`), so their order counts.

use std::collections::BTreeMap;

use super::table::{IO_CLASSES, POLICIES};
use crate::collect::units::text::UnitText;

/// The names of the properties, which are those of the settings.
const CPU: [&str; 2] = ["CPUSchedulingPolicy", "CPUSchedulingPriority"];
const IO: [&str; 2] = ["IOSchedulingClass", "IOSchedulingPriority"];
/// Policies with priorities of 1 to 99; others have 0 (sched(7)).
const REAL_TIME: [usize; 2] = [1, 2];
/// What systemd gives a service that asks for nothing, or for class 0: best effort, in the middle.
const BEST_EFFORT: (usize, u8) = (2, 4);

/// Sets those that are not the default.
pub fn written(text: &UnitText, section: &str, limits: &mut BTreeMap<String, String>) {
    let (mut cpu, mut io) = ((0, 0), BEST_EFFORT);
    for a in text.assignments().filter(|a| a.section == section) {
        match (a.key, a.value) {
            ("CPUSchedulingPolicy" | "CPUSchedulingPriority", "") => cpu = (0, 0),
            ("IOSchedulingClass" | "IOSchedulingPriority", "") => io = BEST_EFFORT,
            ("CPUSchedulingPolicy", policy) => cpu.0 = named(POLICIES, policy).unwrap_or(cpu.0),
            ("CPUSchedulingPriority", priority) => cpu.1 = upto(priority, 99).unwrap_or(cpu.1),
            ("IOSchedulingClass", class) => io.0 = named(IO_CLASSES, class).unwrap_or(io.0),
            ("IOSchedulingPriority", priority) => io.1 = upto(priority, 7).unwrap_or(io.1),
            _ => continue,
        }
        if a.key == "CPUSchedulingPolicy" {
            cpu.1 = match REAL_TIME.contains(&cpu.0) {
                true => cpu.1.clamp(1, 99),
                false => 0,
            };
        }
        if io.0 == 0 {
            io = BEST_EFFORT;
        }
    }
    let mut set = |[policy, priority]: [&str; 2], (is, level): (usize, u8), default: (usize, u8)| {
        for (property, value, default) in [
            (policy, is.to_string(), default.0.to_string()),
            (priority, level.to_string(), default.1.to_string()),
        ] {
            if value != default {
                limits.insert(property.to_owned(), value);
            }
        }
    };
    set(CPU, cpu, (0, 0));
    set(IO, io, BEST_EFFORT);
}

/// Class 0 is none of its own: which one systemd then tells depends on its version.
pub fn without_class_none(limits: &mut BTreeMap<String, String>) {
    let [class, priority] = IO;
    if limits.get(class).is_some_and(|class| class == "0") {
        limits.remove(class);
        limits.remove(priority);
    }
}

/// A word by its place, or that number.
fn named(words: &[&str], word: &str) -> Option<usize> {
    let number = || word.parse().ok().filter(|number| *number < words.len());
    words.iter().position(|known| *known == word).or_else(number)
}

fn upto(number: &str, most: u8) -> Option<u8> {
    number.parse().ok().filter(|number| *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy, priority, class and priority; empty for the default.
    fn set(text: &str) -> [String; 4] {
        let mut parsed = UnitText::default();
        parsed.add(&format!("[Service]\n{text}\n"));
        let mut limits = BTreeMap::new();
        written(&parsed, "Service", &mut limits);
        let [policy, priority] = CPU;
        let [class, io_priority] = IO;
        [policy, priority, class, io_priority].map(|property| limits.remove(property).unwrap_or_default())
    }

    /// As systemd's parser does it, line by line.
    #[test]
    fn policy_and_priority_change_each_other_in_the_order_in_which_they_are_written() {
        for (text, expected) in [
            ("CPUSchedulingPolicy=rr", ["2", "1", "", ""]),
            (
                "CPUSchedulingPolicy=fifo\nCPUSchedulingPriority=50",
                ["1", "50", "", ""],
            ),
            (
                "CPUSchedulingPriority=50\nCPUSchedulingPolicy=rr\nCPUSchedulingPolicy=other",
                ["", "", "", ""],
            ),
            ("CPUSchedulingPriority=50", ["", "50", "", ""]),
            ("CPUSchedulingPolicy=rr\nCPUSchedulingPriority=", ["", "", "", ""]),
            (
                "CPUSchedulingPolicy=idle\nCPUSchedulingPriority=100",
                ["5", "", "", ""],
            ),
            ("IOSchedulingClass=idle", ["", "", "3", ""]),
            (
                "IOSchedulingClass=realtime\nIOSchedulingPriority=0",
                ["", "", "1", "0"],
            ),
            ("IOSchedulingPriority=0\nIOSchedulingClass=none", ["", "", "", ""]),
            ("IOSchedulingClass=3\nIOSchedulingPriority=", ["", "", "", ""]),
            (
                "IOSchedulingClass=nonsense\nIOSchedulingPriority=8",
                ["", "", "", ""],
            ),
        ] {
            assert_eq!(set(text), expected, "{text}");
        }
    }

    #[test]
    fn a_class_that_is_none_is_what_nobody_set() {
        let mut limits = BTreeMap::from([
            ("IOSchedulingClass".to_owned(), "0".to_owned()),
            ("IOSchedulingPriority".to_owned(), "0".to_owned()),
        ]);
        without_class_none(&mut limits);
        assert_eq!(limits, BTreeMap::new());
    }
}
