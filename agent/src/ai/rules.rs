//! The table of runtimes, `runtimes.yaml`: its form, and looking things up in it.

use std::sync::LazyLock;

use safetytwin_crds::glob::matches as glob;
use serde::Deserialize;

/// The table of this build. A test reads it, so a broken one never ships.
pub static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_yaml::from_str(include_str!("runtimes.yaml")).unwrap_or_default());

/// The whole table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Programs that run another program.
    pub wrappers: Vec<Wrapper>,
    /// Shells by base name.
    pub shells: Vec<String>,
    /// Python by base name, without a version.
    pub interpreters: Vec<String>,
    /// The runtimes; the first that fits wins.
    pub runtimes: Vec<Runtime>,
}

/// A program that runs another program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapper {
    /// Base name.
    pub name: String,
    /// Options whose value is the next word.
    #[serde(default)]
    pub valued: Vec<String>,
    /// Words of its own before the command.
    #[serde(default)]
    pub words: usize,
    /// The verb without which it runs nothing.
    #[serde(default)]
    pub verb: Option<String>,
}

/// A runtime, or one of the ways in which it is started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// What items are called.
    pub name: String,
    /// What it speaks.
    pub api: String,
    #[serde(default)]
    executables: Vec<String>,
    #[serde(default)]
    scripts: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    titles: Vec<String>,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    needs: Vec<String>,
    /// How the model is named.
    #[serde(default)]
    pub model: ModelRule,
    /// How the port is named.
    #[serde(default)]
    pub port: PortRule,
    /// Options that take accelerators.
    #[serde(default)]
    pub accelerators: Vec<String>,
}

/// How the model is named.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRule {
    /// Options, the surest first.
    pub options: Vec<String>,
    /// The word after the verb.
    pub positional: bool,
}

/// How the port is named.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortRule {
    /// Options.
    pub options: Vec<String>,
    /// Where it serves when nothing is said.
    pub default: Option<u16>,
    /// The same within the runtime's image.
    pub image: Option<u16>,
}

/// The program that a command line runs in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// An executable or script, by its path, absolute where that is known.
    File(String),
    /// A Python script, by its path, absolute where that is known.
    Script(String),
    /// A Python module.
    Module(String),
    /// A name that a Python process gave itself.
    Title(String),
}

impl Runtime {
    /// Whether `program` with these arguments is this runtime.
    pub fn runs(&self, program: &Program, arguments: &[String]) -> bool {
        let any = |globs: &[String], text: &str| globs.iter().any(|g| glob(g, text));
        let named = match program {
            Program::File(path) => any(&self.executables, base_name(path)) || self.is_script(path),
            Program::Script(path) => any(&self.executables, base_name(path)) || self.is_script(path),
            Program::Module(module) => any(&self.modules, module),
            // A title is all that is left of the command line.
            Program::Title(title) => return any(&self.titles, title),
        };
        named && self.verb(arguments).is_some() && self.has_what_it_needs(arguments)
    }

    /// How many words of `arguments` are its verb and the options before it; none when they do not begin with one.
    pub fn verb(&self, arguments: &[String]) -> Option<usize> {
        if self.verbs.is_empty() {
            return Some(0);
        }
        let options = arguments.iter().take_while(|a| a.starts_with('-')).count();
        let words = arguments.get(options..)?;
        self.verbs.iter().find_map(|verb| {
            let verb: Vec<&str> = verb.split_whitespace().collect();
            if verb.is_empty() {
                return words.is_empty().then_some(0);
            }
            let same = words.len() >= verb.len() && verb.iter().zip(words).all(|(v, w)| v == w);
            same.then_some(options + verb.len())
        })
    }

    fn has_what_it_needs(&self, arguments: &[String]) -> bool {
        self.needs.is_empty() || arguments.iter().any(|a| self.needs.iter().any(|n| glob(n, a)))
    }

    fn is_script(&self, path: &str) -> bool {
        let path = path.to_lowercase();
        self.scripts.iter().any(|end| ends_with(&path, end))
    }

    /// Whether a container of this image, whose entry point takes `arguments`, is this runtime.
    pub fn has_image(&self, image: &str, arguments: &[String]) -> bool {
        if !(arguments.is_empty() || self.verb(arguments).is_some()) || !self.has_what_it_needs(arguments) {
            return false;
        }
        let (repository, tag) = repository_and_tag(image);
        self.images.iter().any(|rule| match rule.rsplit_once(':') {
            Some((name, tags)) => ends_with(repository, name) && glob(tags, tag),
            None => ends_with(repository, rule),
        })
    }
}

/// Whether the last components of `path` are those of `end`, each a glob.
fn ends_with(path: &str, end: &str) -> bool {
    let wanted: Vec<&str> = end.split('/').collect();
    let have: Vec<&str> = path.split('/').filter(|c| !c.is_empty() && *c != ".").collect();
    let Some(skip) = have.len().checked_sub(wanted.len()) else {
        return false;
    };
    have.iter()
        .skip(skip)
        .zip(wanted)
        .all(|(have, want)| glob(want, have))
}

/// Repository and tag of an image reference; a digest is left out, a missing tag is `latest`.
fn repository_and_tag(image: &str) -> (&str, &str) {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        // What follows the last colon is a port when a path comes after it.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

/// The last component of a path.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_this_build_is_read_and_every_runtime_can_be_found() {
        let table: Table = serde_yaml::from_str(include_str!("runtimes.yaml")).unwrap();
        assert!(table.runtimes.len() >= 30 && table.wrappers.len() >= 30);
        for r in &table.runtimes {
            let ways = [&r.executables, &r.scripts, &r.modules, &r.titles, &r.images];
            assert!(
                ways.iter().any(|way| !way.is_empty()),
                "{} cannot be found",
                r.name
            );
        }
    }

    #[test]
    fn globs_images_and_path_ends_are_matched_by_whole_components() {
        assert!(glob("a*c", "abc") && glob("*", "") && glob("a*b*c", "a-b-c") && glob("x", "x"));
        assert!(!glob("a*c", "abd") && !glob("a", "ab") && !glob("ab*b", "ab"));
        assert!(ends_with("/opt/comfyui/main.py", "comfyui*/main.py"));
        assert!(!ends_with("/opt/mycomfyui/main.py", "comfyui*/main.py"));
        assert_eq!(
            repository_and_tag("r.example:5000/a/b@sha256:00"),
            ("r.example:5000/a/b", "latest")
        );
        assert_eq!(
            repository_and_tag("r.example:5000/a/b:v1"),
            ("r.example:5000/a/b", "v1")
        );
    }
}
