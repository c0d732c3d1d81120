//! Which files to publish: an absolute path in which `*` stands for any text within one name.

use std::fmt;
use std::str::FromStr;

use safetytwin_crds::glob;
use safetytwin_crds::names::printable;

use super::super::text::is_clean;

/// Trees that the kernel makes up, and what software leaves at run time.
const NEVER: [&str; 4] = ["proc", "sys", "dev", "run"];
const LONGEST: usize = 1024;

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    names: Vec<String>,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} selects no files: {why}")]
pub struct InvalidPattern {
    text: String,
    why: &'static str,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let refuse = |why| InvalidPattern {
            text: printable(text, 80),
            why,
        };
        let below = text
            .strip_prefix('/')
            .ok_or_else(|| refuse("give an absolute path"))?;
        let names: Vec<String> = below.split('/').map(str::to_owned).collect();
        let first = names.first().map_or("", String::as_str);
        if text.len() > LONGEST || !is_clean(text) {
            return Err(refuse("at most 1024 bytes without control characters"));
        }
        if names.iter().any(|name| matches!(name.as_str(), "" | "." | "..")) {
            return Err(refuse("no empty name, no . and no .. in it"));
        }
        if names.len() < 2 || first.contains('*') {
            return Err(refuse("it must begin with a directory, as in /etc/app/*.conf"));
        }
        if NEVER.contains(&first) {
            return Err(refuse("/proc, /sys, /dev and /run hold no configuration"));
        }
        Ok(Self { names })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

impl Pattern {
    /// The names of the path, outermost first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a name of the pattern selects a name of a directory; a leading dot must be asked for.
    pub fn selects(pattern: &str, name: &str) -> bool {
        glob::matches(pattern, name) && (!name.starts_with('.') || pattern.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absolute_path_below_a_directory_selects_files() {
        for good in ["/etc/app/*.conf", "/etc/motd", "/srv/*/config.yaml"] {
            assert_eq!(good.parse::<Pattern>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "etc/x",
            "/",
            "/*",
            "/*/x",
            "/etc",
            "/etc//x",
            "/etc/../x",
            "/proc/1/environ",
            "/run/x",
            "/etc/\u{1b}",
            "/etc/x/",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        assert!(Pattern::selects("*", "a") && !Pattern::selects("*", ".a"));
    }
}
