//! A secret that changes is a change of its item, without being told.

use safetytwin_crds::digest::PartDigest;
use safetytwin_crds::machineid::MachineId;
use serde_json::json;

use super::sinks::{MACHINE_ID, assembled};
use super::{Sources, processes, service};
use crate::redact::Redactor;

/// One item in each section, with this secret in it.
fn sources(secret: &str) -> Sources {
    Sources {
        units: vec![service(format!(
            "Environment=DB_PASSWORD={secret}\nExecStart=/bin/a\n"
        ))],
        containers: vec![json!({"Config": {"Cmd": ["/bin/a", "--token", secret]}})],
        processes: vec![processes::Fake::of(&["/bin/a", "--token", secret])],
        ..Sources::default()
    }
}

/// Digests of units, containers and processes; the redactor is new, as after a restart.
fn digests(secret: &str, id: Option<&str>) -> Vec<PartDigest> {
    let id = id.map(|id| id.parse::<MachineId>().unwrap());
    let redactor = id.map(Redactor::keyed).unwrap_or_default();
    let state = assembled(&sources(secret), &redactor);
    state
        .sections
        .iter()
        .take(3)
        .map(|section| section.parts[0].digest)
        .collect()
}

#[test]
fn a_change_of_a_secret_alone_changes_its_section_and_a_restart_does_not() {
    let before = digests("hunter2", Some(MACHINE_ID));
    assert_eq!(before, digests("hunter2", Some(MACHINE_ID)));
    let after = digests("hunter3", Some(MACHINE_ID));
    for (number, (before, after)) in before.iter().zip(after).enumerate() {
        assert_ne!(*before, after, "section {number}");
    }
}

#[test]
fn without_a_machine_id_a_changed_secret_is_not_seen_and_not_told_either() {
    assert_eq!(digests("hunter2", None), digests("hunter3", None));
}

#[test]
fn a_process_whose_secret_changes_stays_the_same_process() {
    let redactor = Redactor::keyed(MACHINE_ID.parse().unwrap());
    let key = |secret: &str| {
        let fakes = [processes::Fake::of(&["/bin/a", "--token", secret])];
        processes::keys(&fakes, &redactor)
    };
    assert_eq!(key("hunter2"), key("hunter3"));
}

#[test]
fn every_placeholder_of_a_container_is_counted() {
    let token = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let details = json!({
        "Name": format!("/{token}"),
        "Config": {
            "Image": format!("u:{token}@r/web:1"), "User": token, "WorkingDir": format!("/srv/{token}"),
            "Env": [format!("{token}=x")], "Cmd": ["--token", "x"], "Labels": {"api.token": "x"},
            "Healthcheck": {"Test": ["CMD-SHELL", format!("curl -u a:{token} h")]}
        },
        "HostConfig": {"NetworkMode": format!("container:{token}")},
        "NetworkSettings": {"Networks": {token: {"Aliases": [token]}}},
        "Mounts": [{"Type": "volume", "Name": token, "Destination": format!("/x/{token}")}],
    });
    let redactor = Redactor::keyed(MACHINE_ID.parse().unwrap());
    let details = serde_json::from_value(details).unwrap();
    let item = crate::collect::containers::item::alone(&details, &redactor).unwrap();
    let text = serde_json::to_string(&item).unwrap();
    let shown = text.matches("<redacted:").count() + text.matches("redacted-").count();
    assert_eq!(
        (item.redactions as usize, text.contains(token)),
        (shown, false),
        "{text}"
    );
}
