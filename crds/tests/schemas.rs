//! What every kind must have, read from the schemas that the API server gets.

// Tests may fail by panicking, also in what several of them share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use safetytwin_crds::{CATEGORY, GROUP, VERSION, all};
use serde_json::{Value, json};

fn crds() -> Vec<Value> {
    all()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect()
}

/// Calls `visit` with the path and the schema of every node below `schema`.
fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), child, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
    }
}

/// Every node of every kind that `rule` finds fault with.
fn faults(rule: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for crd in crds() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(&kind, schema, &mut |path, node| {
            if rule(node) {
                found.push(path.to_owned());
            }
        });
    }
    found
}

#[test]
fn every_kind_renders_with_its_group_version_and_category() {
    let kinds: Vec<String> = crds()
        .iter()
        .map(|crd| {
            assert_eq!(crd["spec"]["group"], GROUP);
            assert_eq!(crd["spec"]["versions"][0]["name"], VERSION);
            assert_eq!(crd["spec"]["names"]["categories"], json!([CATEGORY]));
            crd["spec"]["names"]["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "HostState",
            "HostSection",
            "TwinClass",
            "DigitalTwin",
            "TwinSnapshot",
            "TwinRestore",
            "TwinRevision"
        ]
    );
}

/// kubectl expands categories before resource names: a category that is also a name of a kind
/// hides that kind.
#[test]
fn no_name_of_a_kind_is_a_category_or_the_name_of_another() {
    let mut seen = vec![CATEGORY.to_owned()];
    for crd in crds() {
        let names = &crd["spec"]["names"];
        let own = ["plural", "singular"].map(|n| names[n].as_str().unwrap().to_owned());
        let short = names["shortNames"].as_array().into_iter().flatten();
        for name in own
            .into_iter()
            .chain(short.map(|n| n.as_str().unwrap().to_owned()))
        {
            assert!(!seen.contains(&name), "{name} is used twice");
            seen.push(name);
        }
    }
}

#[test]
fn every_string_list_and_map_is_bounded() {
    let unbounded = faults(|node| match node["type"].as_str() {
        Some("string") => node["maxLength"].is_null() && node["enum"].is_null(),
        Some("array") => node["maxItems"].is_null(),
        Some("object") if node["additionalProperties"].is_object() => node["maxProperties"].is_null(),
        _ => false,
    });
    assert_eq!(unbounded, Vec::<String>::new());
}

/// The API server knows int32, int64 and no unsigned or floating formats.
#[test]
fn every_number_is_a_signed_integer() {
    let wrong = faults(|node| match node["type"].as_str() {
        Some("integer") => !matches!(node["format"].as_str(), Some("int32" | "int64")),
        Some("number") => true,
        _ => false,
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_field_says_what_it_is() {
    let mut silent = Vec::new();
    for crd in crds() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(&kind, schema, &mut |path, node| {
            let item = path.ends_with("[]") || path.ends_with("{}");
            if !item && node["description"].as_str().is_none_or(str::is_empty) {
                silent.push(path.to_owned());
            }
        });
    }
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn every_list_of_conditions_is_a_map_by_type() {
    let wrong = faults(|node| {
        let conditions = &node["properties"]["conditions"];
        conditions.is_object()
            && (conditions["x-kubernetes-list-type"] != "map"
                || conditions["x-kubernetes-list-map-keys"] != json!(["type"]))
    });
    assert_eq!(wrong, Vec::<String>::new());
}
