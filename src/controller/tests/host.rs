//! The monitored host: publishes its sections and its head as an agent does, and beats.

use std::time::Duration;

use safetytwin_crds::hoststate::{PartRef, Section};
use safetytwin_crds::item::UnitItem;
use safetytwin_crds::section::{
    Encoding, Part as Content, SectionName, SectionState, Slot, encode_parts, object_name,
};
use safetytwin_crds::{HostSection, HostSectionSpec, HostState, HostStateSpec};
use serde_json::{Value, json};

use super::api::{Kind, Part, Server};
use super::time::Time;
use crate::controller::ports::Clock as _;

/// Name of the host.
pub const HOST: &str = "web-01";
/// Seconds between two beats.
const INTERVAL: u64 = 10;

/// Publishes what the host runs: changed sections into the slot that the head does not name, then
/// the head.
pub fn publish(server: &Server, time: &Time, units: &[UnitItem]) {
    let mut units = units.to_vec();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    let units: Vec<Value> = units.iter().map(|unit| json!(unit)).collect();
    publish_as(server, time, &units);
}

/// The same with units as another version of the agent writes them, sorted by name.
pub fn publish_as(server: &Server, time: &Time, units: &[Value]) {
    let none: [Value; 0] = [];
    let content = [
        (SectionName::Units, units.len(), encode_parts(units)),
        (SectionName::Containers, 0, encode_parts(&none)),
        (SectionName::Processes, 0, encode_parts(&none)),
    ];
    let head = head(server);
    let mut sections = Vec::new();
    for (name, items, parts) in content {
        let part = parts.unwrap().remove(0);
        let before = head
            .as_ref()
            .and_then(|h| h.spec.section(name))
            .map(|s| s.parts[0]);
        let slot = match before {
            Some(before) if before.digest == part.digest => before.slot,
            Some(before) => before.slot.other(),
            None => Slot::A,
        };
        write_section(server, (name, 0, slot), &part);
        sections.push(Section {
            name,
            parts: vec![PartRef {
                slot,
                digest: part.digest,
            }],
            items: items.try_into().unwrap(),
            state: SectionState::Complete,
            collected_time: None,
            message: None,
        });
    }
    write_head(server, time, head, Some(sections));
}

/// Beats for ever.
pub async fn beat(server: Server, time: Time) {
    loop {
        tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
        if let Some(head) = head(&server) {
            write_head(&server, &time, Some(head), None);
        }
    }
}

fn head(server: &Server) -> Option<HostState> {
    let found = server.read::<HostState>("", HOST)?;
    Some(serde_json::from_value(found).unwrap())
}

/// Writes a part of a section of this number into a slot.
pub fn write_section(server: &Server, (section, part, slot): (SectionName, usize, Slot), content: &Content) {
    let name = object_name(HOST, section, part, slot);
    let spec = HostSectionSpec {
        host: HOST.parse().unwrap(),
        section,
        part: part.try_into().unwrap(),
        slot,
        schema_version: safetytwin_crds::section::SCHEMA_VERSION,
        encoding: Encoding::ZstdBase64,
        data: content.data(Encoding::ZstdBase64).unwrap(),
    };
    put(server, &name, HostSection::new(&name, spec));
}

fn write_head(server: &Server, time: &Time, before: Option<HostState>, sections: Option<Vec<Section>>) {
    let now = time.now();
    let old = before.map(|h| h.spec);
    let beat = 1000 * i64::try_from(INTERVAL).unwrap();
    let spec: HostStateSpec = serde_json::from_value(json!({
        "host": HOST, "intervalSeconds": INTERVAL, "source": "Node", "bootId": "first-boot",
        "sequence": old.as_ref().map_or(0, |s| s.sequence) + beat,
        "observedTime": now.to_string(), "agentVersion": "1", "complete": "5/5",
        "machine": old.as_ref().map_or_else(
            || json!({"machineId": "0123456789abcdef", "systemUuid": "u"}),
            |s| json!(s.machine),
        ),
        "sections": sections.unwrap_or_else(|| old.map(|s| s.sections).unwrap_or_default()),
    }))
    .unwrap();
    put(server, HOST, HostState::new(HOST, spec));
}

fn put<K: kube::Resource<DynamicType = ()> + serde::Serialize>(server: &Server, name: &str, object: K) {
    let key = Kind::known::<K>().key("", name);
    let body = serde_json::to_value(&object).unwrap();
    server.act(|store, now| match store.find(&key) {
        None => store.create(&key.kind, "", body, now),
        Some(old) => {
            let mut new = old.clone();
            new["spec"] = body["spec"].clone();
            store.change(&key, Part::Main, new)
        }
    });
}
