//! Dependencies and ordering between units (systemd.unit(5)).
//!
//! Those in force are observed: they follow what *other* units say, and systemd knows them of loaded units only.
//! Declared are those that the unit's own files name, and the links of its own enablement: the same whether it was
//! ever loaded or not.

use std::collections::BTreeMap;

use super::text::UnitText;
use super::variant::{Map, texts};

/// Property to sorted unit names.
pub type Dependencies = BTreeMap<String, Vec<String>>;

/// Most names of one property that are kept.
const MOST: usize = 1024;

/// Properties of the unit interface that name units, both directions.
const ALL: [&str; 27] = [
    "Requires",
    "RequiredBy",
    "Requisite",
    "RequisiteOf",
    "Wants",
    "WantedBy",
    "BindsTo",
    "BoundBy",
    "PartOf",
    "ConsistsOf",
    "Upholds",
    "UpheldBy",
    "Conflicts",
    "ConflictedBy",
    "Before",
    "After",
    "OnSuccess",
    "OnSuccessOf",
    "OnFailure",
    "OnFailureOf",
    "Triggers",
    "TriggeredBy",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "PropagatesStopTo",
    "StopPropagatedFrom",
    "JoinsNamespaceOf",
];

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

/// All that are in force of a loaded unit.
pub fn in_force(map: &Map) -> Dependencies {
    let mut found = Dependencies::new();
    for property in ALL {
        let mut names = map.get(property).map(texts).unwrap_or_default();
        names.sort();
        names.truncate(MOST);
        if !names.is_empty() {
            found.insert(property.to_owned(), names);
        }
    }
    found
}

/// What the files of a unit name.
pub fn written(text: &UnitText) -> Dependencies {
    let mut found = Dependencies::new();
    for property in SETTINGS {
        let names = text.names("Unit", property).into_iter();
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            found.insert(property.to_owned(), names);
        }
    }
    found
}
