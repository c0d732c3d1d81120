//! Agents and controllers of neighbouring versions: content of schema version 1 as the first agents wrote it stays
//! readable for ever, and what newer ones add is passed over.

// Tests may fail by panicking, also in what several of them share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use safetytwin_crds::canonical::canonical_json;
use safetytwin_crds::hoststate::{HostState, HostStateSpec};
use safetytwin_crds::item::{AiItem, ContainerItem, Machine, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::{Encoding, decode_items, encode_parts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const UNITS: &str = include_str!("fixtures/schema-1/units.json");
const CONTAINERS: &str = include_str!("fixtures/schema-1/containers.json");
const PROCESSES: &str = include_str!("fixtures/schema-1/processes.json");
const MACHINE: &str = include_str!("fixtures/schema-1/machine.json");
const AI: &str = include_str!("fixtures/schema-1/ai.json");
const HEAD: &str = include_str!("fixtures/schema-1/head.json");
const OBSERVED: &str = include_str!("fixtures/schema-1/observed.json");

/// All items, none refused.
fn read<T: DeserializeOwned>(json: &[u8]) -> Vec<T> {
    let (items, refused) = decode_items(json).unwrap();
    assert_eq!(refused, []);
    items
}

/// Reads old content; what is written of it now is the same to the byte, so no digest of an unchanged host moves.
fn stays_as_it_was<T: DeserializeOwned + Serialize>(fixture: &str) {
    let items: Vec<T> = read(fixture.as_bytes());
    let old: Value = serde_json::from_str(fixture).unwrap();
    let now = encode_parts(&items).unwrap();
    assert_eq!(
        now[0].data(Encoding::Json).unwrap(),
        String::from_utf8(canonical_json(&old).unwrap()).unwrap()
    );
}

#[test]
fn content_of_the_first_agents_is_read_and_written_unchanged() {
    stays_as_it_was::<UnitItem>(UNITS);
    stays_as_it_was::<ContainerItem>(CONTAINERS);
    stays_as_it_was::<ProcessItem>(PROCESSES);
    stays_as_it_was::<Machine>(MACHINE);
    stays_as_it_was::<AiItem>(AI);
    stays_as_it_was::<Observed>(OBSERVED);
}

/// Fields that nobody knows yet, in every object that has fields; maps have keys of the host's and are left alone.
fn with_news(value: &mut Value) {
    const MAPS: [&str; 4] = ["dependencies", "limits", "networks", "labels"];
    match value {
        Value::Array(all) => all.iter_mut().for_each(with_news),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                // `{"package": "cron"}` is a variant, not fields.
                if !MAPS.contains(&name.as_str()) && name != "origin" {
                    with_news(value);
                }
            }
            fields.insert("fromTheFuture".into(), json!({"a": [1, null, "b"]}));
        }
        _ => {}
    }
}

fn passes_news_over<T: DeserializeOwned + PartialEq + std::fmt::Debug>(fixture: &str) {
    let mut newer: Value = serde_json::from_str(fixture).unwrap();
    with_news(&mut newer);
    let newer = canonical_json(&newer).unwrap();
    assert_eq!(read::<T>(&newer), read::<T>(fixture.as_bytes()));
}

#[test]
fn fields_of_a_newer_agent_are_passed_over() {
    passes_news_over::<UnitItem>(UNITS);
    passes_news_over::<ContainerItem>(CONTAINERS);
    passes_news_over::<ProcessItem>(PROCESSES);
    passes_news_over::<Machine>(MACHINE);
    passes_news_over::<AiItem>(AI);
    passes_news_over::<Observed>(OBSERVED);
}

#[test]
fn the_head_of_an_older_and_of_a_newer_agent_is_read() {
    let old = json!({
        "host": "web-01", "intervalSeconds": 10, "source": "Node", "bootId": "b", "sequence": 1,
        "observedTime": "2026-01-01T00:00:00Z", "agentVersion": "0.0.1", "complete": "4/4",
        "counts": {"services": 1}, "sections": [{"name": "units", "parts": [], "items": 0, "state": "Complete",
        "collectedTime": "2026-01-01T00:00:00Z"}],
    });
    let read: HostStateSpec = serde_json::from_value(old.clone()).unwrap();
    let mut newer = old;
    with_news(&mut newer);
    newer["sections"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "firmware", "shape": "unknown"}));
    assert_eq!(serde_json::from_value::<HostStateSpec>(newer).unwrap(), read);
}

/// Digests were whole, and the architecture was in the head.
#[test]
fn a_head_as_the_first_agents_wrote_it_is_read_whole() {
    let head: HostState = serde_json::from_str(HEAD).unwrap();
    assert_eq!(head.spec.machine.architecture.as_deref(), Some("x86_64"));
    let digest = head.spec.sections[0].parts[0].digest.to_string();
    assert_eq!(digest, "af1349b9f5f9a1a6a0404dea36dcc949");
    assert_eq!(head.spec.sections[1].message.as_deref(), Some("no answer"));
}
