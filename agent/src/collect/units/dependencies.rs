//! Dependencies and ordering between units (systemd.unit(5)).
//!
//! Those in force are observed: they follow what *other* units say. Declared are those that the unit
//! itself names, with what systemd adds for its sake, and the links of its own enablement.

use std::collections::BTreeMap;

use safetytwin_crds::names::{UnitName, UnitType};

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

/// Those that a unit file may set, and whether they gain members when *another* unit appears.
const SETTINGS: [(&str, bool); 16] = [
    ("Requires", false),
    ("Requisite", false),
    ("Wants", false),
    ("BindsTo", false),
    ("PartOf", false),
    ("Upholds", false),
    ("OnSuccess", false),
    ("OnFailure", false),
    ("Conflicts", true),
    ("After", true),
    ("Before", true),
    ("PropagatesReloadTo", true),
    ("ReloadPropagatedFrom", true),
    ("PropagatesStopTo", true),
    ("StopPropagatedFrom", true),
    ("JoinsNamespaceOf", true),
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

/// What a loaded unit declares: of mutual ones only what its own files name.
pub fn loaded(in_force: &Dependencies, unit: &UnitName, text: &UnitText) -> Dependencies {
    let mut own = Dependencies::new();
    let triggers = [("TriggeredBy", false), ("Triggers", false)];
    for (property, mutual) in SETTINGS.into_iter().chain(triggers) {
        let Some(names) = in_force.get(property) else {
            continue;
        };
        let mut names = names.clone();
        let gains =
            unit.unit_type() == UnitType::Target && matches!(property, "Wants" | "Requires" | "Upholds");
        if mutual || gains {
            let written = text.names("Unit", property);
            names.retain(|name| written.contains(&name.as_str()));
        }
        if !names.is_empty() {
            own.insert(property.to_owned(), names);
        }
    }
    own
}

/// What the files of a unit name.
pub fn written(text: &UnitText) -> Dependencies {
    let mut found = Dependencies::new();
    for (property, _) in SETTINGS {
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
