//! A document of `twin-agent --once`, as `twin plan` reads it. Digests are made those of the data that are there: what
//! stands behind them is read, too.
#![no_main]

use safetytwin_crds::digest::PartDigest;
use serde_json::{Value, json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut list) = serde_json::from_slice(bytes) {
        let _ = safetytwin::plan::offline::offline(&list);
        name_parts(&mut list);
        let _ = safetytwin::plan::offline::offline(&list);
    }
});

/// Names each part of the head by the data of its object.
fn name_parts(list: &mut Value) {
    let objects = list["items"].as_array().cloned().unwrap_or_default();
    let data = |section: &Value, part: &Value, number: usize| {
        let specs = objects.iter().map(|object| &object["spec"]);
        let mut own = specs.filter(|spec| spec["section"] == *section && spec["slot"] == part["slot"]);
        own.find(|spec| spec["part"] == number)?["data"].as_str()
    };
    for head in list.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let sections = head.pointer_mut("/spec/sections").and_then(Value::as_array_mut);
        for section in sections.into_iter().flatten() {
            let name = Value::clone(&section["name"]);
            let parts = section.get_mut("parts").and_then(Value::as_array_mut);
            for (number, part) in parts.into_iter().flatten().enumerate() {
                if let (Some(data), true) = (data(&name, part, number), part.is_object()) {
                    part["digest"] = json!(PartDigest::of(data.as_bytes()).to_string());
                }
            }
        }
    }
}
