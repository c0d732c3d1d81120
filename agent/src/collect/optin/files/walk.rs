//! The paths that patterns select, found without following a link, and bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::super::text::{is_clean, why};
use super::pattern::Pattern;
use crate::hostroot::HostRoot;
use crate::hostroot::facts::{Facts, Form};

/// Most files, links and directories that are published.
const MOST: usize = 512;
/// Most directories that are listed, and most names of each that are looked at.
const MOST_DIRECTORIES: usize = 64;
const MOST_NAMES: usize = 4096;

/// What the patterns select.
#[derive(Default)]
pub struct Walk {
    /// Paths and what they are.
    pub found: BTreeMap<String, Facts>,
    /// Directories in which a change may change what is found.
    pub directories: BTreeSet<String>,
    /// Why it is not all.
    pub gaps: Vec<String>,
}

impl Walk {
    /// Looks for what `patterns` select.
    pub fn of(root: &HostRoot, patterns: &[Pattern]) -> Self {
        let mut walk = Self::default();
        for pattern in patterns {
            walk.descend(root, String::new(), pattern.names());
        }
        walk
    }

    /// Follows the rest of a pattern from directory `above`.
    fn descend(&mut self, root: &HostRoot, above: String, rest: &[String]) {
        let Some((name, rest)) = rest.split_first() else {
            return;
        };
        if !self.directories.contains(&above) && self.directories.len() >= MOST_DIRECTORIES {
            return self.gap(format!("more than {MOST_DIRECTORIES} directories"));
        }
        // The root of the host is never listed nor watched.
        if !above.is_empty() {
            self.directories.insert(above.clone());
        }
        if !name.contains('*') {
            return self.visit(root, format!("{above}/{name}"), rest);
        }
        match root.names_exact(&above, MOST_NAMES) {
            Ok((names, more)) => {
                if more {
                    self.gap(format!("{above} has more than {MOST_NAMES} names"));
                }
                for found in &names {
                    let found = found.to_string_lossy();
                    if Pattern::selects(name, &found) {
                        self.visit(root, format!("{above}/{found}"), rest);
                    }
                }
            }
            Err(error) => self.refuse(root, &above, &error),
        }
    }

    /// Takes a path that the pattern selects, or goes on below it.
    fn visit(&mut self, root: &HostRoot, path: String, rest: &[String]) {
        if !is_clean(&path) || path.contains('\u{fffd}') {
            return self.gap("a name has characters that are not published".to_owned());
        }
        if rest.is_empty() && self.found.len() >= MOST && !self.found.contains_key(&path) {
            return self.gap(format!("more than {MOST} files"));
        }
        match root.facts(&path) {
            Ok(facts) if rest.is_empty() => {
                self.found.insert(path, facts);
            }
            Ok(facts) if facts.form == Form::Directory => self.descend(root, path, rest),
            // Told instead of what it leads to.
            Ok(facts) if matches!(facts.form, Form::Link(_)) => {
                self.gap(format!("{path} is a symbolic link, which is not followed"));
            }
            Ok(_) => {}
            Err(error) => self.refuse(root, &path, &error),
        }
    }

    fn refuse(&mut self, root: &HostRoot, path: &str, error: &crate::hostroot::ReadError) {
        if !error.is_not_found() {
            self.gap(why(error));
        } else if !root.shows(path) {
            self.gap(format!("{path} cannot be seen: it is not mounted"));
        }
    }

    fn gap(&mut self, gap: String) {
        if !self.gaps.contains(&gap) && self.gaps.len() < 16 {
            self.gaps.push(gap);
        }
    }
}
