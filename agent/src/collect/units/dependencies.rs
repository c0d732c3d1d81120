//! Dependencies and ordering between units (systemd.unit(5)).
//!
//! Those in force are observed: they follow what *other* units say, and systemd knows them of loaded units only.
//! Declared are those that the unit's own files name, and the links of its own enablement: the same whether it was
//! ever loaded or not.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use safetytwin_crds::item::InForce;
use safetytwin_crds::item::in_force::PROPERTIES;
use safetytwin_crds::names::UnitName;

use super::text::UnitText;
use super::variant::{Map, texts};

/// What is declared: property to sorted unit names.
pub type Dependencies = BTreeMap<String, Vec<String>>;

/// Most names of one property that are kept.
const MOST: usize = 1024;

/// Those that a unit file may set.
const SETTINGS: [&str; 16] = [
    "Requires",
    "Requisite",
    "Wants",
    "BindsTo",
    "PartOf",
    "Upholds",
    "OnSuccess",
    "OnFailure",
    "Conflicts",
    "After",
    "Before",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "PropagatesStopTo",
    "StopPropagatedFrom",
    "JoinsNamespaceOf",
];

/// Names of units, each of them one allocation: most units name the same few.
#[derive(Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.0.get(name.as_str()) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }

    /// Lets go of those that nothing names any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|name| Arc::strong_count(name) > 1);
    }
}

/// All that are in force of a loaded unit.
pub fn in_force(map: &Map, known: &mut Names) -> InForce {
    let mut found = Vec::new();
    for property in PROPERTIES {
        let mut names = map.get(property).map(texts).unwrap_or_default();
        names.sort();
        names.truncate(MOST);
        found.extend(names.into_iter().map(|name| (property, known.shared(name))));
    }
    found.into_iter().collect()
}

/// What the files of a unit name.
pub fn written(text: &UnitText) -> Dependencies {
    let mut found = Dependencies::new();
    let set = |key: &str| SETTINGS.contains(&key);
    for a in text.assignments().filter(|a| a.section == "Unit" && set(a.key)) {
        // An empty assignment clears nothing here, as systemd.unit(5) says.
        let names = a.value.split_whitespace().filter(|word| is_name(word));
        let names = names.map(str::to_owned);
        found.entry(a.key.to_owned()).or_default().extend(names);
    }
    for names in found.values_mut() {
        names.sort();
        names.dedup();
    }
    found.retain(|_, names| !names.is_empty());
    found
}

/// Whether a word may name a unit, perhaps with specifiers; systemd passes over all others, quoted ones too.
fn is_name(word: &str) -> bool {
    word.replace('%', "_").parse::<UnitName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_names_that_nothing_clears() {
        let mut text = UnitText::default();
        text.add(
            "[Unit]\nAfter=b.service a.service nonsense \"c.service\"\nRequires=a.service\nDescription=x.service\n",
        );
        text.add("[Unit]\nRequires=\nAfter=--password hunter2 w@%i.service b.service\n[Service]\nWants=c.service\n");
        let expected = [
            ("After", vec!["a.service", "b.service", "w@%i.service"]),
            ("Requires", vec!["a.service"]),
        ];
        let expected = expected.map(|(property, names)| {
            let names = names.into_iter().map(str::to_owned).collect();
            (property.to_owned(), names)
        });
        assert_eq!(written(&text), Dependencies::from(expected));
    }
}
