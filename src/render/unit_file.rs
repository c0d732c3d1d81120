//! A reader of unit files that reads what systemd reads (systemd.syntax(7), conf-parser.c), and a
//! writer of what it read, one assignment a line.
//!
//! Lines that systemd ignores (comments, no `=`, before the first section) are dropped: they mean
//! nothing. What systemd reads in a way that people do not expect is refused: a lone carriage
//! return and NUL end a line, a backslash at the end of the file waits for a line that never comes.

use safetytwin_crds::item::Reason;

use super::{MAX_LINE, Refusal};

/// A unit file as systemd reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitText {
    /// Sections in order; a name may come more than once.
    pub sections: Vec<Section>,
}

/// One section header and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name without brackets.
    pub name: String,
    /// Assignments in order.
    pub assignments: Vec<Assignment>,
}

/// One `Key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the directive.
    pub key: String,
    /// Value, stripped; empty resets a list.
    pub value: String,
}

/// Reads `text`; `what` names the file in a refusal.
pub fn read(what: &str, text: &str) -> Result<UnitText, Refusal> {
    let refuse = |why: &str| Refusal::invalid(format!("{what} {why}"));
    // Files written on other systems end lines with \r\n, which systemd takes for one end.
    let text = text.replace("\r\n", "\n");
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(refuse(
            "has a control character, which systemd may take for the end of a line",
        ));
    }
    let mut unit = UnitText::default();
    for line in
        logical_lines(text.trim_start_matches('\u{feff}')).ok_or_else(|| refuse("ends in a backslash"))?
    {
        if line.len() > MAX_LINE {
            let message = format!("{what} has a line longer than 64 KiB");
            return Err(Refusal::new(Reason::TooLarge, message));
        }
        read_line(&mut unit, line.trim_matches([' ', '\t'])).map_err(refuse)?;
    }
    Ok(unit)
}

/// Lines with continuations joined: the backslash becomes a blank, comments in between are skipped.
/// `None` when the last line is still to be continued.
fn logical_lines(text: &str) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.split('\n') {
        if line.trim_start_matches([' ', '\t']).starts_with(['#', ';']) {
            continue;
        }
        let mut joined = open.take().unwrap_or_default();
        joined.push_str(line);
        if ends_in_backslash(&joined) {
            joined.pop();
            joined.push(' ');
            open = Some(joined);
        } else {
            lines.push(joined);
        }
    }
    open.is_none().then_some(lines)
}

/// An odd number of backslashes at the end.
fn ends_in_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn read_line(unit: &mut UnitText, line: &str) -> Result<(), &'static str> {
    if let Some(rest) = line.strip_prefix('[') {
        let name = rest
            .strip_suffix(']')
            .ok_or("has a section header without its bracket")?;
        if name.is_empty() || !name.bytes().all(is_key_byte) {
            return Err("has a section name that is not letters, digits and hyphens");
        }
        unit.sections.push(Section {
            name: name.to_owned(),
            assignments: Vec::new(),
        });
        return Ok(());
    }
    let (Some(section), Some((key, value))) = (unit.sections.last_mut(), line.split_once('=')) else {
        return Ok(());
    };
    let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
    if key.is_empty() || !key.bytes().all(is_key_byte) {
        return Ok(());
    }
    if ends_in_backslash(value) {
        return Err("has a value that ends in a backslash, which would swallow the next line");
    }
    section.assignments.push(Assignment {
        key: key.to_owned(),
        value: value.to_owned(),
    });
    Ok(())
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

impl UnitText {
    /// The text to write: sections that have assignments, one assignment a line.
    pub fn write(&self) -> String {
        let mut text = String::new();
        for section in self.sections.iter().filter(|s| !s.assignments.is_empty()) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push('[');
            text.push_str(&section.name);
            text.push_str("]\n");
            for assignment in &section.assignments {
                text.push_str(&assignment.key);
                text.push('=');
                text.push_str(&assignment.value);
                text.push('\n');
            }
        }
        text
    }

    /// Values of `key` in sections named `section`, in order.
    pub fn values<'a>(&'a self, section: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.sections
            .iter()
            .filter(move |s| s.name == section)
            .flat_map(|s| &s.assignments)
            .filter(move |a| a.key == key)
            .map(|a| a.value.as_str())
    }

    /// Whether nothing is assigned.
    pub fn is_empty(&self) -> bool {
        self.sections.iter().all(|s| s.assignments.is_empty())
    }

    /// Appends the sections of `later`, as systemd reads a drop-in after the file before it.
    pub fn append(&mut self, later: UnitText) {
        self.sections.extend(later.sections);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_ok(text: &str) -> UnitText {
        read("x.service", text).unwrap()
    }

    #[test]
    fn what_systemd_ignores_is_dropped_and_the_rest_keeps_its_order() {
        let text = "stray=1\n# c\n[Unit]\n; c\nDescription = a = b \nno assignment\n\n[Service]\nExecStart=\nExecStart=/bin/a \\\n# inside\n  b\n[Empty]\n";
        assert_eq!(
            read_ok(text).write(),
            "[Unit]\nDescription=a = b\n\n[Service]\nExecStart=\nExecStart=/bin/a    b\n"
        );
    }

    #[test]
    fn what_systemd_reads_otherwise_than_people_is_refused() {
        for text in [
            "[Unit]\nDescription=hi\r[Service]\rUser=root",
            "[Unit]\nDescription=a\0b",
            "[Service]\nSyslogIdentifier=x\\",
            "[Service]\nSyslogIdentifier=x\\ \nUser=nobody",
            "[Unit\nDescription=a",
            "[Un it]\n",
            "[Unit]\nDescription=\u{1b}[31m",
        ] {
            assert_eq!(
                read("x", text).unwrap_err().reason,
                Reason::InvalidItem,
                "{text:?}"
            );
        }
        let long = format!("[Unit]\nDescription={}", "a".repeat(MAX_LINE));
        assert_eq!(read("x", &long).unwrap_err().reason, Reason::TooLarge);
    }

    #[test]
    fn files_with_dos_line_ends_mean_what_they_say() {
        assert_eq!(
            read_ok("[Unit]\r\nDescription=a\r\n").write(),
            "[Unit]\nDescription=a\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_written_reads_back(text in "(?s)([\\[\\]=\\\\ \\r\\n\\ta-cA#;%]|.){0,60}") {
            if let Ok(unit) = read("x", &text) {
                let written = unit.write();
                let again = read("x", &written).unwrap();
                prop_assert_eq!(&again.write(), &written);
                prop_assert!(!written.contains(['\r', '\0']));
            }
        }
    }
}
