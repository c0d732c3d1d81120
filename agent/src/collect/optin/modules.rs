//! Kernel modules: what is loaded (proc(5)), and what is to be loaded at boot (modules-load.d(5)).
//! Sizes, addresses and reference counts change by themselves and are left out.

use std::collections::BTreeMap;
use std::time::Duration;

use safetytwin_crds::item::ModuleItem;
use safetytwin_crds::item::module::ModuleState;
use safetytwin_crds::section::SectionName;

use super::text::{configuration, is_conf_name, read, watched};
use super::{Listed, Look, Source};
use crate::collect::CollectError;
use crate::hostroot::{HostRoot, read_plain};

/// By precedence. `/run/modules-load.d` is left out: mounting `/run` would show engines' sockets.
const DIRECTORIES: [&str; 4] = [
    "/etc/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];
/// Debian's own; a link in modules-load.d leads to it where systemd reads it.
const MODULES: &str = "/etc/modules";
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// The source.
pub struct Modules;

impl Source for Modules {
    const SECTION: SectionName = SectionName::Modules;
    /// Loading a module has no event in a directory.
    const AUDIT: Duration = Duration::from_secs(60);

    fn directories(&self, _: &HostRoot) -> Vec<String> {
        watched(&DIRECTORIES)
    }

    fn matters(name: &[u8]) -> bool {
        matches!(name, b"modules" | b"modules-load.d") || is_conf_name(name)
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let mut gaps = Vec::new();
        let loaded = read_plain(&root.proc().join("modules"), MOST_BYTES)?;
        let mut modules = BTreeMap::new();
        for line in String::from_utf8_lossy(&loaded).lines() {
            let mut words = line.split(' ');
            // One that is coming or going is looked at again.
            if let (Some(name), Some("Live")) = (words.next().and_then(name_of), words.nth(3)) {
                modules.insert(name.clone(), item(name, ModuleState::Live));
            }
        }
        let mut files = configuration(root, &DIRECTORIES, &mut gaps);
        let linked = files
            .iter()
            .any(|(path, _)| path == "/etc/modules-load.d/modules.conf");
        if let Some(text) = read(root, MODULES, &mut gaps).filter(|_| !linked) {
            files.push((MODULES.to_owned(), text));
        }
        for (path, text) in &files {
            let lines = text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';']));
            // Words after the first are parameters, which only /etc/modules once had.
            for name in lines.filter_map(|line| name_of(line.split_whitespace().next()?)) {
                let built_in = root.sys().join("module").join(&name).is_dir();
                let state = if built_in {
                    ModuleState::BuiltIn
                } else {
                    ModuleState::Absent
                };
                let module = modules.entry(name.clone()).or_insert_with(|| item(name, state));
                module.configured.push(path.clone());
            }
        }
        let mut items: Vec<ModuleItem> = modules.into_values().collect();
        for item in &mut items {
            item.configured.sort();
            item.configured.dedup();
        }
        Ok(Look {
            items: Listed::of(&items, &mut gaps)?,
            gaps,
        })
    }
}

fn item(name: String, state: ModuleState) -> ModuleItem {
    ModuleItem {
        name,
        state,
        configured: Vec::new(),
    }
}

/// A module's name as the kernel writes it; none for what is no name.
fn name_of(word: &str) -> Option<String> {
    let of = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    ((1..=64).contains(&word.len()) && word.bytes().all(of)).then(|| word.replace('-', "_"))
}
