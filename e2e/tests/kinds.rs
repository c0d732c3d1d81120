//! The kinds on a real API server: what it accepts and refuses, and what `kubectl get` shows.

// Tests may fail by panicking, also in what several of them share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "kinds/columns.rs"]
mod columns;
#[path = "kinds/rules.rs"]
mod rules;

use std::sync::LazyLock;

use safetytwin_e2e::api_server::ApiServer;

/// One server for all tests of this file, with all kinds and the namespace `ops`.
static SERVER: LazyLock<ApiServer> = LazyLock::new(|| {
    let state = tempfile::tempdir().unwrap().keep();
    let server = ApiServer::start(&state).unwrap();
    for crd in safetytwin_crds::all() {
        let text = serde_json::to_string(&crd).unwrap();
        run(&server, &["apply", "--server-side", "-f", "-"], &text).unwrap();
    }
    run(
        &server,
        &["wait", "--for=condition=Established", "crd", "--all"],
        "",
    )
    .unwrap();
    run(&server, &["create", "namespace", "ops"], "").unwrap();
    server
});

/// What kubectl answers, or how it refuses.
fn run(server: &ApiServer, arguments: &[&str], input: &str) -> Result<String, String> {
    let output = server.kubectl(arguments, input).unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn kubectl(arguments: &[&str], input: &str) -> Result<String, String> {
    run(&SERVER, arguments, input)
}

#[test]
fn the_api_server_accepts_every_kind_and_its_rules_costs() {
    let served = kubectl(&["api-resources", "--api-group=safetytwin.com", "-o=name"], "").unwrap();
    assert_eq!(served.lines().count(), safetytwin_crds::all().len(), "{served}");
}

#[test]
fn the_category_lists_all_kinds_and_hides_none() {
    let by_category = kubectl(&["get", "safetytwin", "-A", "--ignore-not-found", "-o=name"], "");
    by_category.unwrap();
    let twin = r#"{"apiVersion":"safetytwin.com/v1alpha1","kind":"DigitalTwin",
        "metadata":{"name":"by-name","namespace":"ops"},
        "spec":{"hostRef":{"name":"h"},"className":"c"}}"#;
    kubectl(&["create", "-f", "-"], twin).unwrap();
    for name in ["twins", "twin", "digitaltwins"] {
        let found = kubectl(&["get", name, "by-name", "-n=ops"], "");
        assert!(found.is_ok(), "{name}: {found:?}");
    }
    kubectl(&["delete", "twin", "by-name", "-n=ops"], "").unwrap();
}

#[test]
fn the_manifests_of_the_examples_are_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    kubectl(&["apply", "--dry-run=server", "-f", folder], "").unwrap();
}
