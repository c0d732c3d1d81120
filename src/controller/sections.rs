//! Reading a host's items: the slots that the head names, by name, decoded item by item.
//!
//! Never lists, never watches. A part whose bytes do not have the head's digest means that the
//! agent has moved on: the head is read again and everything is read anew, a few times; then the
//! section counts as unreadable and a resend is asked for.

use kube::{Api, Client};
use safetytwin_crds::hoststate::Section;
use safetytwin_crds::section::{
    RefusedItem, SectionError, SectionName, SectionState, decode_data, decode_items, object_name,
};
use safetytwin_crds::{DigitalTwinSpec, HostSection, HostState};
use serde::de::DeserializeOwned;

use super::api;
use super::error::Error;
use crate::plan::{HostItems, SectionItems};

/// How often the head is read again before a section is given up.
const ATTEMPTS: usize = 3;

/// What could be read of a host.
#[derive(Clone, Debug)]
pub struct HostRead {
    /// The head that the items belong to; maybe newer than the one that was asked for.
    pub head: HostState,
    /// The items.
    pub items: HostItems,
    /// Sections whose content is not what the head names, or does not decode.
    pub unreadable: Vec<(SectionName, String)>,
}

/// The sections that a twin of this spec replicates, in a fixed order.
pub fn replicated(spec: &DigitalTwinSpec) -> Vec<SectionName> {
    let chosen = [
        (spec.replicate.services.is_some(), SectionName::Units),
        (spec.replicate.containers.is_some(), SectionName::Containers),
        (spec.replicate.processes.is_some(), SectionName::Processes),
    ];
    chosen.iter().filter(|(yes, _)| *yes).map(|(_, n)| *n).collect()
}

/// Reads the items of `wanted` sections of a host, consistent with one head.
pub async fn read_host(client: &Client, head: HostState, wanted: &[SectionName]) -> Result<HostRead, Error> {
    let heads: Api<HostState> = Api::all(client.clone());
    let mut head = head;
    for _ in 1..ATTEMPTS {
        let read = read_once(client, &head, wanted).await?;
        if read.unreadable.is_empty() {
            return Ok(read);
        }
        match api::read("read the host's head again", &heads, head.spec.host.as_str()).await? {
            Some(newer) => head = newer,
            None => return Ok(read),
        }
    }
    read_once(client, &head, wanted).await
}

async fn read_once(client: &Client, head: &HostState, wanted: &[SectionName]) -> Result<HostRead, Error> {
    let mut read = HostRead {
        head: head.clone(),
        items: HostItems::default(),
        unreadable: Vec::new(),
    };
    for name in wanted {
        let Some(section) = head.spec.section(*name) else {
            continue;
        };
        let outcome = match name {
            SectionName::Units => fill(client, head, section, &mut read.items.units).await?,
            SectionName::Containers => fill(client, head, section, &mut read.items.containers).await?,
            SectionName::Processes => fill(client, head, section, &mut read.items.processes).await?,
            // Of the others no twin is made.
            _ => None,
        };
        read.unreadable.extend(outcome.map(|why| (*name, why)));
    }
    Ok(read)
}

/// Reads one section into `place`; answers why it is unreadable. Only the API server's own failures
/// are errors: what a host writes is never one.
async fn fill<T: DeserializeOwned>(
    client: &Client,
    head: &HostState,
    section: &Section,
    place: &mut Option<SectionItems<T>>,
) -> Result<Option<String>, Error> {
    let objects: Api<HostSection> = Api::all(client.clone());
    let mut parts = Vec::with_capacity(section.parts.len());
    for (number, part) in section.parts.iter().enumerate() {
        let name = object_name(head.spec.host.as_str(), section.name, number, part.slot);
        let object = match api::read("read a section", &objects, &name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Some(format!("{name} does not exist"))),
            Err(Error::Api { source, .. }) if matches!(*source, kube::Error::SerdeError(_)) => {
                return Ok(Some(format!("{name} is no HostSection of a known form")));
            }
            Err(error) => return Err(error),
        };
        match decode_data(&object.spec.data, object.spec.encoding, part.digest) {
            Ok(json) => parts.push(json),
            Err(error) => return Ok(Some(format!("{name}: {error}"))),
        }
    }
    match decode_section(section.state, &parts) {
        Ok(items) => *place = Some(items),
        Err(error) => return Ok(Some(format!("section {}: {error}", section.name))),
    }
    Ok(None)
}

/// Items of all parts. A section with refused items is Partial: an absence proves nothing there.
fn decode_section<T: DeserializeOwned>(
    state: SectionState,
    parts: &[Vec<u8>],
) -> Result<SectionItems<T>, SectionError> {
    let mut items = Vec::new();
    let mut refused: Vec<RefusedItem> = Vec::new();
    for json in parts {
        let (mut good, mut bad) = decode_items(json)?;
        items.append(&mut good);
        refused.append(&mut bad);
    }
    Ok(SectionItems {
        state,
        items,
        refused,
    })
}

/// Items that could not be decoded, of all sections: section and item.
pub fn refused(items: &HostItems) -> Vec<(SectionName, RefusedItem)> {
    let of = |name: SectionName, list: Option<&Vec<RefusedItem>>| {
        let list = list.cloned().unwrap_or_default();
        list.into_iter().map(move |r| (name, r)).collect::<Vec<_>>()
    };
    let mut all = of(SectionName::Units, items.units.as_ref().map(|s| &s.refused));
    all.extend(of(
        SectionName::Containers,
        items.containers.as_ref().map(|s| &s.refused),
    ));
    all.extend(of(
        SectionName::Processes,
        items.processes.as_ref().map(|s| &s.refused),
    ));
    all
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::item::unit::Account;

    use super::*;

    #[test]
    fn a_refused_item_is_named_and_the_others_are_read() {
        let parts = vec![
            br#"[{"name":"a"}]"#.to_vec(),
            br#"[{"name":7},{"name":"b"}]"#.to_vec(),
        ];
        let section: SectionItems<Account> = decode_section(SectionState::Complete, &parts).unwrap();
        assert_eq!(section.items.len(), 2);
        assert_eq!(section.refused[0].name, "item 0");
    }

    #[test]
    fn a_twin_that_replicates_no_containers_does_not_read_them() {
        let mut spec: DigitalTwinSpec =
            serde_json::from_value(serde_json::json!({"hostRef": {"name": "h"}, "className": "c"})).unwrap();
        spec.replicate.containers = None;
        assert_eq!(replicated(&spec), [SectionName::Units, SectionName::Processes]);
    }

    #[test]
    fn an_opt_in_section_that_changes_is_no_reason_to_apply() {
        let spec: DigitalTwinSpec =
            serde_json::from_value(serde_json::json!({"hostRef": {"name": "h"}, "className": "c"})).unwrap();
        let head = |packages: &str| -> safetytwin_crds::hoststate::HostStateSpec {
            let part = safetytwin_crds::digest::Digest::of(packages.as_bytes());
            let section = |name: &str| {
                serde_json::json!({"name": name, "parts": [{"slot": "a", "digest": part}], "items": 1,
                    "state": "Complete"})
            };
            let sections: Vec<_> = SectionName::OPT_IN
                .iter()
                .map(|name| section(name.as_str()))
                .collect();
            serde_json::from_value(
                serde_json::json!({"host": "h", "intervalSeconds": 10, "source": "Node",
                "bootId": "b", "sequence": 1, "observedTime": "", "agentVersion": "", "complete": "0/5",
                "sections": sections}),
            )
            .unwrap()
        };
        let (before, after) = (head("one"), head("two"));
        assert!(before != after && before.sections.len() == SectionName::OPT_IN.len());
        let replicated = replicated(&spec);
        assert_eq!(before.root_digest(&replicated), after.root_digest(&replicated));
    }
}
