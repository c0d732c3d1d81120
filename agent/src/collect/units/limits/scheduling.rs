//! Policy and priority of scheduling as the files of a unit set them. Each assignment of the one also changes the other
//! (systemd's `config_parse_exec_cpu_sched_policy`, `config_parse_exec_io_class`), so their order counts.

use std::collections::BTreeMap;

use super::table::{IO_CLASSES, POLICIES};
use crate::collect::units::text::UnitText;

/// Policies with priorities of 1 to 99; others have 0 (sched(7)).
const REAL_TIME: [usize; 2] = [1, 2];
/// What systemd gives a service that asks for nothing, or for class 0: best effort, in the middle.
const BEST_EFFORT: (usize, u8) = (2, 4);

/// All four, by the name of the property, which is that of the setting.
pub fn written(text: &UnitText, section: &str) -> BTreeMap<&'static str, String> {
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
    BTreeMap::from([
        ("CPUSchedulingPolicy", cpu.0.to_string()),
        ("CPUSchedulingPriority", cpu.1.to_string()),
        ("IOSchedulingClass", io.0.to_string()),
        ("IOSchedulingPriority", io.1.to_string()),
    ])
}

/// Class 0 is none of its own: which one systemd then tells depends on its version.
pub fn without_class_none(limits: &mut BTreeMap<String, String>) {
    if limits.get("IOSchedulingClass").is_some_and(|class| class == "0") {
        limits.remove("IOSchedulingClass");
        limits.remove("IOSchedulingPriority");
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
    use crate::collect::units::variant::Map;

    /// Policy, priority, class and priority; empty for the default.
    fn set(text: &str) -> [String; 4] {
        let mut parsed = UnitText::default();
        parsed.add(&format!("[Service]\n{text}\n"));
        let unit = "a.service".parse().unwrap();
        let mut limits = super::super::written(&parsed, &Map::new(), &unit);
        [
            "CPUSchedulingPolicy",
            "CPUSchedulingPriority",
            "IOSchedulingClass",
            "IOSchedulingPriority",
        ]
        .map(|property| limits.remove(property).unwrap_or_default())
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
