//! What the preset files say of units (systemd.preset(5)): the `UnitFilePreset` property, without a
//! question per unit.
//!
//! Files in order of their names, one of a higher directory instead of those of the same name below; the
//! first rule that matches counts; without one a unit is to be enabled (`query_presets` in [install.c],
//! version 252).
//!
//! [install.c]: https://github.com/systemd/systemd/blob/v252/src/shared/install.c

use std::collections::BTreeMap;

use crate::hostroot::HostRoot;
use crate::hostroot::entries::Kind;

/// Where preset files are, highest priority first.
pub const PRESET_DIRS: [&str; 5] = [
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    "/usr/local/lib/systemd/system-preset",
    "/usr/lib/systemd/system-preset",
    "/lib/systemd/system-preset",
];
const FILE_LIMIT: u64 = 256 * 1024;
/// Most rules that are kept.
const MOST: usize = 16 * 1024;

/// The rules, in order.
#[derive(Debug, Default)]
pub struct Presets {
    rules: Vec<(String, &'static str)>,
    /// What the rules were read from.
    files: Option<BTreeMap<String, (&'static str, Kind)>>,
}

impl Presets {
    /// Reads the files again if one of them changed.
    pub fn refresh(&mut self, root: &HostRoot) {
        let mut files = BTreeMap::new();
        for dir in PRESET_DIRS {
            // A directory that cannot be listed has no rules that the agent could know.
            let entries = root.entries(dir).ok().flatten().unwrap_or_default();
            for (name, kind) in entries.names {
                if let Some(name) = name.to_str().filter(|name| name.ends_with(".preset")) {
                    files.entry(name.to_owned()).or_insert((dir, kind));
                }
            }
        }
        let settled = |(_, kind): &(&str, Kind)| matches!(kind, Kind::File(stamp) if stamp.is_settled());
        if self.files.as_ref() == Some(&files) && files.values().all(settled) {
            return;
        }
        self.rules.clear();
        for (name, (dir, _)) in &files {
            let bytes = root
                .read(&format!("{dir}/{name}"), FILE_LIMIT)
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            self.rules.extend(text.lines().filter_map(rule));
        }
        self.rules.truncate(MOST);
        self.files = Some(files);
    }

    /// enabled, disabled or ignored; `file` is the name of the unit's main file, a template's for an instance.
    pub fn of(&self, file: &str) -> &'static str {
        let found = self
            .rules
            .iter()
            .find(|(pattern, _)| matches(pattern.as_bytes(), file.as_bytes()));
        found.map_or("enabled", |(_, action)| action)
    }
}

/// One line; none for a comment or one that systemd passes over.
fn rule(line: &str) -> Option<(String, &'static str)> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim();
    match word {
        // Instances may follow the name of a template; of other units nothing may.
        "enable" => {
            let (name, instances) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (instances.is_empty() || name.contains("@.")).then(|| (name.to_owned(), "enabled"))
        }
        "disable" => Some((rest.to_owned(), "disabled")),
        "ignore" => Some((rest.to_owned(), "ignored")),
        _ => None,
    }
}

/// fnmatch(3) without escapes: `*`, `?`, `[a-z]`, `[!a]`. Linear in the product of the lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it took.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => bracket(pattern.get(p..).unwrap_or_default(), *byte),
            Some(own) => (own == byte).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => (p, t) = (p + step, t + 1),
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (None, None) => return false,
        }
    }
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// The length of the bracket expression at the start of `pattern` if it matches `byte`; an open bracket
/// that is never closed is itself.
fn bracket(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    // A closing bracket at the start is a member.
    let closed = pattern.iter().skip(first + 1).position(|b| *b == b']');
    let Some(end) = closed.map(|at| at + first + 1) else {
        return (byte == b'[').then_some(1);
    };
    let mut members = pattern.get(first..end).unwrap_or_default();
    let mut found = false;
    while let [low, rest @ ..] = members {
        if let [b'-', high, after @ ..] = rest {
            found |= (*low..=*high).contains(&byte);
            members = after;
        } else {
            found |= *low == byte;
            members = rest;
        }
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_of_the_highest_file_of_a_name_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("usr/lib/systemd/system-preset/10-a.preset", "disable a*\n");
        put(
            "etc/systemd/system-preset/10-a.preset",
            "# none\nenable ab.service\ndisable a?.service\n",
        );
        put(
            "usr/lib/systemd/system-preset/90-z.preset",
            "ignore i.service\nenable x.service y\ndisable *\n",
        );
        let mut presets = Presets::default();
        presets.refresh(&HostRoot::new(dir.path(), "/proc", "/sys"));
        let said = ["ab.service", "ac.service", "i.service", "x.service"].map(|unit| presets.of(unit));
        assert_eq!(said, ["enabled", "disabled", "ignored", "disabled"]);
        assert_eq!(Presets::default().of("a.service"), "enabled");
    }

    #[test]
    fn patterns_are_those_of_fnmatch() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("s[a-c]?.service", "sbx.service", true),
            ("s[!a-c]x", "sbx", false),
            ("s[]]x", "s]x", true),
            ("s[x", "s[x", true),
            (r"\*", "*", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
