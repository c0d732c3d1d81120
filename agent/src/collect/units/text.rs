//! Reads unit file text as systemd's parser does (systemd.syntax(7)), as far as the agent needs:
//! assignments by section, continuation lines, comments, resets by an empty value.
//!
//! Lines end at `\n`, `\r` and NUL, as in systemd.

/// One `Key=Value` of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Section name without brackets; empty before the first.
    pub section: &'a str,
    /// Key.
    pub key: &'a str,
    /// Value with continuations joined by a space, trimmed.
    pub value: &'a str,
}

/// Assignments in order: one a line, below the headings of their sections. A text of each unit stays in memory, and as
/// lines it takes a third of what it takes in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitText(String);

impl UnitText {
    /// Adds a file's assignments after those that are there, as drop-ins do.
    pub fn add(&mut self, text: &str) {
        // What comes before the first heading of a file is in no section, not in the last of the file before.
        let mut section = String::new();
        let mut current = self
            .assignments()
            .last()
            .map(|a| a.section.to_owned())
            .unwrap_or_default();
        for line in logical_lines(text) {
            if let Some(name) = heading(&line) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                // So that texts with the same assignments are equal.
                if section != current {
                    self.0.extend(["[", &section, "]\n"]);
                    current.clone_from(&section);
                }
                self.0.extend([key.trim(), "=", value.trim(), "\n"]);
            }
        }
        self.0.shrink_to_fit();
    }

    /// All, in order.
    pub fn assignments(&self) -> impl Iterator<Item = Assignment<'_>> {
        let mut section = "";
        self.0.split_terminator('\n').filter_map(move |line| {
            if let Some(name) = heading(line) {
                section = name;
                return None;
            }
            let (key, value) = line.split_once('=')?;
            Some(Assignment { section, key, value })
        })
    }

    /// Keys and values of settings that are one list in systemd: an empty one of them clears all before it.
    pub fn list(&self, section: &str, is_one: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
        let mut list = Vec::new();
        for a in self.assignments() {
            if a.section == section && is_one(a.key) {
                if a.value.is_empty() {
                    list.clear();
                } else {
                    list.push((a.key, a.value));
                }
            }
        }
        list
    }

    /// Values of a list setting; an empty assignment clears those before it.
    pub fn all(&self, section: &str, key: &str) -> Vec<&str> {
        let list = self.list(section, |other| other == key);
        list.into_iter().map(|(_, value)| value).collect()
    }

    /// The last value of a setting, if it is not empty.
    pub fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.all(section, key).pop()
    }

    /// A boolean as systemd spells it; false when unset or not understood.
    pub fn flag(&self, section: &str, key: &str) -> bool {
        self.last(section, key).is_some_and(is_true)
    }
}

/// The name in a section's heading.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

/// Whether a value is one of systemd's words for true.
pub fn is_true(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_str(), "1" | "yes" | "y" | "true" | "t" | "on")
}

/// Lines after joining continuations; comments and empty lines dropped.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for raw in text.split(['\n', '\r', '\0']) {
        let line = raw.trim();
        // A comment inside a continuation is skipped and the continuation goes on.
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (piece, continues) = match line.strip_suffix('\\') {
            Some(piece) => (piece, true),
            None => (line, false),
        };
        let joined = match open.take() {
            Some(before) => format!("{before} {piece}"),
            None => piece.to_owned(),
        };
        if continues {
            open = Some(joined);
        } else if !joined.trim().is_empty() {
            lines.push(joined.trim().to_owned());
        }
    }
    lines.extend(open.filter(|l| !l.trim().is_empty()));
    lines
}

/// The words of a command line or `Environment=` value: split at white space, quotes removed
/// (systemd.syntax(7), "Quoting"). Good enough to name executables and variables.
pub fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => {
                if let Some(next) = chars.next() {
                    word.get_or_insert_default().push(next);
                }
            }
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> UnitText {
        let mut parsed = UnitText::default();
        parsed.add(text);
        parsed
    }

    #[test]
    fn continuations_comments_and_resets_are_read_as_systemd_reads_them() {
        let mut unit = parse(
            "[Unit]\nAfter=a.service \\\n# no\n  b.service\n[Service]\nExecStart=/bin/a\n;c\nExecStart=\nExecStart=/bin/b x\\\ny\n",
        );
        assert_eq!(unit.all("Unit", "After"), ["a.service  b.service"]);
        assert_eq!(unit.all("Service", "ExecStart"), ["/bin/b x y"]);
        unit.add("[Service]\nUser=web\n");
        assert_eq!(unit.last("Service", "User"), Some("web"));
        unit.add("[Service]\nUser=\nRemainAfterExit=YES\n");
        assert_eq!(unit.last("Service", "User"), None);
        assert!(unit.flag("Service", "RemainAfterExit"));
    }

    #[test]
    fn what_a_drop_in_says_before_its_first_heading_is_in_no_section() {
        let mut unit = parse("[Service]\nUser=web\n[odd]=1\n");
        unit.add("User=root\n[Service]\n no assignment\nGroup = a=b\n");
        assert_eq!(unit.last("Service", "User"), Some("web"));
        assert_eq!(unit.last("", "User"), Some("root"));
        assert_eq!(unit.last("Service", "[odd]"), Some("1"));
        assert_eq!(unit.last("Service", "Group"), Some("a=b"));
        assert_eq!(unit.assignments().count(), 4);
        let before = unit.clone();
        unit.add("# a comment\n[Unit]\n[Service]\n");
        assert_eq!(unit, before, "there is nothing in it");
    }

    #[test]
    fn a_carriage_return_ends_a_line_so_that_nothing_hides_behind_it() {
        let unit = parse("[Service]\nExecStart=/bin/a\rUser=root\n");
        assert_eq!(unit.last("Service", "User"), Some("root"));
    }

    #[test]
    fn words_are_split_with_quotes_removed() {
        assert_eq!(words(r#"a "b c" 'd' e\ f "" "#), ["a", "b c", "d", "e f", ""]);
    }
}
