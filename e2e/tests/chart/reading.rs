//! What a patch that will be refused says about the object that it meant: of a foreign one, nothing.

use serde_json::{Value, json};

use super::SERVER;
use super::admission::{account_of, host, section};
use super::asking::{client, request, run};

/// What no answer may hold.
const MARK: &str = "M4rk0fTheOtherHost";

/// Requests that would make the API server say a value of the object in its refusal.
fn questions() -> Vec<(&'static str, Value)> {
    let json = "application/json-patch+json";
    let copy = |to: &str| json!([{"op": "copy", "from": "/spec/data", "path": to}]);
    vec![
        (json, copy("/spec/host")),
        (json, copy("/spec/slot")),
        (json, copy("/spec/part")),
        (json, copy("/metadata/labels")),
        (
            json,
            json!([{"op": "add", "path": "/metadata/labels", "value": {}},
            {"op": "copy", "from": "/spec/data", "path": "/metadata/labels/safetytwin.com~1x"}]),
        ),
        (json, copy("/metadata/name")),
        (json, copy("/metadata/uid")),
        (json, copy("/metadata/resourceVersion")),
        (json, copy("/apiVersion")),
        (json, copy("/kind")),
        (json, copy("/spec/unknown")),
        (json, copy("/metadata/creationTimestamp")),
        (json, copy("/metadata/managedFields")),
        (json, json!([{"op": "test", "path": "/spec/data", "value": "x"}])),
        ("application/merge-patch+json", json!({"spec": {"slot": "x"}})),
    ]
}

#[test]
fn no_refusal_tells_an_agent_what_a_foreign_object_holds() {
    let mut other = section("reading-other");
    other["spec"]["data"] = json!(format!("[\"{MARK}\"]"));
    for object in [host("reading-other", "Node"), other] {
        let output = SERVER
            .kubectl(&["create", "-f", "-"], &object.to_string())
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let token = account_of("reading");
    let told = run(async {
        let agent = client(&token).await;
        let path = "/apis/safetytwin.com/v1alpha1/hostsections/reading-other.units.0.a";
        let mut told = Vec::new();
        for (form, body) in questions() {
            let answer = agent.request_text(request("PATCH", path, form, &body)).await;
            let said = format!("{answer:?}");
            if said.contains(MARK) {
                told.push(body);
            }
        }
        told
    });
    assert!(told.is_empty(), "{told:#?}");
}
