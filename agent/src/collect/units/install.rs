//! What the `[Install]` sections of a unit say, as far as its enablement depends on it.

use safetytwin_crds::names::UnitType;

use super::text::{UnitText, words};

/// `[Install]` of a unit file and its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Install {
    /// `Alias=`.
    pub aliases: Vec<String>,
    /// There is something that enabling does: Alias=, WantedBy= or RequiredBy=.
    pub has_rules: bool,
    /// `Also=` names other units.
    pub has_also: bool,
    /// `UpheldBy=`, which systemd knows since version 254.
    pub has_upheld: bool,
}

impl Install {
    /// Reads `text`, of a unit of type `unit_type`.
    pub fn new(text: &UnitText, unit_type: UnitType) -> Self {
        let all = |key| {
            let values = text.all("Install", key).into_iter();
            values.flat_map(words).collect::<Vec<String>>()
        };
        let aliases = match unit_type {
            UnitType::Service
            | UnitType::Socket
            | UnitType::Target
            | UnitType::Device
            | UnitType::Timer
            | UnitType::Path => all("Alias"),
            // Those may have no other name; the setting is passed over.
            _ => Vec::new(),
        };
        let mut also = text
            .assignments()
            .filter(|a| a.section == "Install" && a.key == "Also");
        Self {
            has_rules: !aliases.is_empty() || !all("WantedBy").is_empty() || !all("RequiredBy").is_empty(),
            // An empty assignment clears no earlier one here.
            has_also: also.any(|a| !a.value.is_empty()),
            has_upheld: !all("UpheldBy").is_empty(),
            aliases,
        }
    }
}
