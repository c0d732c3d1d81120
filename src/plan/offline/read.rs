//! Reads the head and the items of a dump.

use safetytwin_crds::hostsection::HostSectionSpec;
use safetytwin_crds::hoststate::HostStateSpec;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::{SectionName, decode_data, decode_items};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::OfflineError;
use crate::plan::{HostItems, SectionItems};

pub(super) type Read = (HostStateSpec, HostItems, Vec<String>);

/// The head and the items of a dump; a section that cannot be read is named, not fatal.
pub(super) fn read(list: &Value) -> Result<Read, OfflineError> {
    let objects = list
        .get("items")
        .and_then(Value::as_array)
        .ok_or(OfflineError::NotAList)?;
    let specs = |kind: &'static str| {
        objects
            .iter()
            .filter(move |o| o.get("kind").and_then(Value::as_str) == Some(kind))
            .filter_map(|o| o.get("spec"))
    };
    let head = specs("HostState").next().ok_or(OfflineError::NoHostState)?;
    let head: HostStateSpec = serde_json::from_value(head.clone()).map_err(OfflineError::HostState)?;
    let parts: Vec<HostSectionSpec> = specs("HostSection")
        .filter_map(|spec| serde_json::from_value(spec.clone()).ok())
        .collect();
    let mut unreadable = Vec::new();
    let items = HostItems {
        units: section(&head, &parts, SectionName::Units, &mut unreadable),
        containers: section(&head, &parts, SectionName::Containers, &mut unreadable),
        processes: section(&head, &parts, SectionName::Processes, &mut unreadable),
    };
    Ok((head, items, unreadable))
}

fn section<T: DeserializeOwned>(
    head: &HostStateSpec,
    objects: &[HostSectionSpec],
    name: SectionName,
    unreadable: &mut Vec<String>,
) -> Option<SectionItems<T>> {
    let section = head.section(name)?;
    let mut all = SectionItems {
        state: section.state,
        items: Vec::new(),
        refused: Vec::new(),
    };
    for (number, part) in section.parts.iter().enumerate() {
        let object = objects.iter().find(|o| {
            o.section == name && o.slot == part.slot && usize::try_from(o.part).is_ok_and(|p| p == number)
        });
        let decoded = object
            .ok_or_else(|| "missing from the dump".to_owned())
            .and_then(|o| decode_data(&o.data, o.encoding, part.digest).map_err(|e| e.to_string()))
            .and_then(|json| decode_items(&json).map_err(|e| e.to_string()));
        match decoded {
            Ok((mut items, mut refused)) => {
                all.items.append(&mut items);
                all.refused.append(&mut refused);
            }
            Err(why) => {
                unreadable.push(format!("{name} part {number}: {}", printable(&why, 200)));
                return None;
            }
        }
    }
    Some(all)
}
