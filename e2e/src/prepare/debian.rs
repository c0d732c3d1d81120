//! The machine's own Debian sources: images are made from them, and backports are derived from them, so that
//! the lab works with whatever mirror the machine uses.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::preconditions::Release;

/// Package sources of the machine's own Debian release, in both forms that apt reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Stanzas of `*.sources` files.
    pub deb822: Vec<String>,
    /// Lines of `*.list` files.
    pub one_line: Vec<String>,
}

impl Sources {
    /// Reads `/etc/apt/sources.list` and `/etc/apt/sources.list.d`.
    ///
    /// # Errors
    /// No source of the release's main component is configured.
    pub fn of_this_machine(release: &Release) -> Result<Self> {
        let mut sources = Self::default();
        for file in source_files(Path::new("/etc/apt"))? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("failed to read {}", file.display()))?;
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => sources.add_deb822(&text, &release.codename),
                _ => sources.add_one_line(&text, &release.codename),
            }
        }
        if sources == Self::default() {
            bail!(
                "no Debian {} source with component main is configured in /etc/apt",
                release.codename
            );
        }
        Ok(sources)
    }

    fn add_deb822(&mut self, text: &str, codename: &str) {
        for stanza in text.split("\n\n") {
            let lines = stanza
                .lines()
                .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
            let stanza = lines.collect::<Vec<_>>().join("\n");
            let words = |name| {
                field(&stanza, name)
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect::<Vec<_>>()
            };
            let disabled = field(&stanza, "Enabled").is_some_and(|value| value.trim() == "no");
            if !disabled
                && words("Types").contains(&"deb")
                && is_debian(&words("Suites"), &words("Components"), codename)
            {
                self.deb822.push(stanza);
            }
        }
    }

    fn add_one_line(&mut self, text: &str, codename: &str) {
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("deb "))
        {
            let without_options = match (line.find('['), line.find(']')) {
                (Some(from), Some(to)) if from < to => {
                    line.replace(line.get(from..=to).unwrap_or_default(), "")
                }
                _ => line.to_owned(),
            };
            let words: Vec<&str> = without_options.split_whitespace().skip(2).collect();
            if let Some((suite, components)) = words.split_first()
                && is_debian(&[*suite], components, codename)
            {
                self.one_line.push(line.to_owned());
            }
        }
    }

    /// The same sources with the suite `CODENAME-backports`, main component only.
    pub fn backports(&self, codename: &str) -> Self {
        self.other(codename, &format!("{codename}-backports"))
    }

    /// The source of `codename` with another suite of the same archive, main component only.
    pub fn other(&self, codename: &str, suite: &str) -> Self {
        let has_release = |words: &str| words.split_whitespace().any(|word| word == codename);
        let deb822 = self
            .deb822
            .iter()
            .filter(|stanza| field(stanza, "Suites").is_some_and(has_release));
        let deb822 = deb822
            .take(1)
            .map(|stanza| replace_fields(stanza, suite))
            .collect::<Vec<_>>();
        let needed = usize::from(deb822.is_empty());
        let one_line = self.one_line.iter().filter(|line| has_release(line)).take(needed);
        let one_line = one_line.map(|line| {
            let head = line.split(&format!(" {codename} ")).next().unwrap_or_default();
            format!("{head} {suite} main")
        });
        Self {
            one_line: one_line.collect(),
            deb822,
        }
    }

    /// Writes `NAME.sources` and `NAME.list` into `directory`, as far as there is something to write.
    pub fn write(&self, directory: &Path, name: &str) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        let parts = [
            ("sources", self.deb822.join("\n\n")),
            ("list", self.one_line.join("\n")),
        ];
        for (extension, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
            let file = directory.join(format!("{name}.{extension}"));
            std::fs::write(&file, text + "\n")
                .with_context(|| format!("failed to write {}", file.display()))?;
            written.push(file);
        }
        Ok(written)
    }
}

fn source_files(apt: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(apt.join("sources.list.d")) {
        for entry in entries {
            files.push(entry?.path());
        }
    }
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("list" | "sources")) && file.is_file()
    });
    files.sort();
    Ok(files)
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn is_debian(suites: &[&str], components: &[&str], codename: &str) -> bool {
    let own = ["", "-updates", "-security"].map(|end| format!("{codename}{end}"));
    !suites.is_empty()
        && suites.iter().all(|suite| own.iter().any(|o| o == suite))
        && components.contains(&"main")
}

fn replace_fields(stanza: &str, suite: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("Suites", _)) => format!("Suites: {suite}"),
        Some(("Components", _)) => "Components: main".to_owned(),
        _ => line.to_owned(),
    };
    stanza.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# a comment\nURIs: http://mirror.invalid/debian\nSuites: bookworm bookworm-updates\n\
        Components: main contrib\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://mirror.invalid/x\nSuites: bookworm\n\
        Components: stable\n";

    fn parsed() -> Sources {
        let mut sources = Sources::default();
        sources.add_deb822(DEB822, "bookworm");
        sources.add_one_line(
            "deb [signed-by=/k.gpg] http://m.invalid/debian bookworm main contrib\n",
            "bookworm",
        );
        sources.add_one_line(
            "deb http://m.invalid/pg bookworm-pgdg main\n# deb http://m.invalid x main\n",
            "bookworm",
        );
        sources
    }

    #[test]
    fn only_debians_own_sources_are_taken() {
        let sources = parsed();
        assert_eq!(sources.deb822.len(), 1);
        assert!(!sources.deb822[0].contains("comment"));
        assert_eq!(
            sources.one_line,
            ["deb [signed-by=/k.gpg] http://m.invalid/debian bookworm main contrib"]
        );
    }

    #[test]
    fn backports_keep_the_mirror_and_its_key() {
        let backports = parsed().backports("bookworm");
        assert!(
            backports.deb822[0].contains("Suites: bookworm-backports\nComponents: main\nSigned-By: /k.gpg")
        );
        assert!(backports.one_line.is_empty());
        let lines = Sources {
            deb822: Vec::new(),
            ..parsed()
        }
        .backports("bookworm");
        assert_eq!(
            lines.one_line,
            ["deb [signed-by=/k.gpg] http://m.invalid/debian bookworm-backports main"]
        );
    }
}
