//! Hosts that are replaced, that fall silent for good, and whose agents are of another version.

use std::time::Duration;

use safetytwin_crds::section::{SectionName, Slot, encode_parts};
use safetytwin_crds::{DigitalTwin, HostSection, HostState};
use serde_json::{Value, json};

use super::host::{self, HOST};
use super::script::Step;
use super::world::{NAMESPACE, TWIN, World};
use crate::plan::samples::service;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn condition(world: &World, name: &str) -> (String, String) {
    let status = world.twin_status();
    let all = status["conditions"].as_array().unwrap();
    let one = all.iter().find(|c| c["type"] == name).unwrap();
    let text = |field: &str| one[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

/// Status of the host's own condition.
fn fresh(world: &World) -> String {
    let head = world.server.read::<HostState>("", HOST).unwrap();
    head["status"]["conditions"][0]["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn said(status: &str, reason: &str) -> (String, String) {
    (status.into(), reason.into())
}

fn hosts(world: &World) -> (usize, usize) {
    let server = &world.server;
    (
        server.names::<HostState>().len(),
        server.names::<HostSection>().len(),
    )
}

/// A twin at rest.
fn following() -> World {
    let world = Step::Create.world_before();
    Step::Create.happen(&world);
    world.settle();
    world
}

#[test]
fn another_machine_under_the_same_name_stops_the_twin_and_changes_nothing_in_it() {
    let world = following();
    let before = (world.effects(), world.guest_end());
    world.server.edit::<HostState>("", HOST, |host| {
        host["spec"]["machine"]["machineId"] = json!("fedcba9876543210");
    });
    world.host_runs(&[super::script::api(2), service("db.service")]);
    world.run_for(HOUR);
    assert_eq!(condition(&world, "Ready"), said("False", "HostReplaced"));
    assert_eq!(condition(&world, "Stalled").0, "True");
    assert_eq!((world.effects(), world.guest_end()), before);
    // The first machine comes back.
    world.server.edit::<HostState>("", HOST, |host| {
        host["spec"]["machine"]["machineId"] = json!("0123456789abcdef");
    });
    Step::Edit.happen(&world);
    world.settle();
    assert_eq!(condition(&world, "Ready"), said("True", "Following"));
}

#[test]
fn the_state_of_a_host_without_twins_goes_seven_days_after_its_last_beat() {
    let mut world = World::new(&[]);
    world.host_runs(&[service("db.service")]);
    world.settle();
    world.is_host_silent = true;
    world.run_for(MINUTE);
    world.time.pass(7 * DAY - HOUR);
    world.run_for(MINUTE);
    assert_eq!(hosts(&world), (1, 3));
    // What it had before: a larger section, and one that was switched off.
    for (section, part) in [(SectionName::Units, 1), (SectionName::Cron, 0)] {
        let content = &encode_parts(&[json!({})]).unwrap()[0];
        host::write_section(&world.server, (section, part, Slot::B), content);
    }
    assert_eq!(hosts(&world), (1, 5));
    // Within one process, by its own clock.
    world.run_for(2 * HOUR);
    assert_eq!(hosts(&world), (0, 0));
}

#[test]
fn a_silent_host_stays_stale_when_the_controller_starts_again_and_one_that_came_back_meanwhile_is_kept() {
    let mut world = following();
    world.is_host_silent = true;
    world.run_for(MINUTE);
    assert_eq!(fresh(&world), "False");
    world.run_for(Duration::from_secs(1));
    assert_eq!(fresh(&world), "False");
    world.server.delete::<DigitalTwin>(NAMESPACE, TWIN);
    world.run_for(MINUTE);
    world.time.pass(8 * DAY);
    world.is_host_silent = false;
    world.run_for(MINUTE);
    assert_eq!((fresh(&world).as_str(), hosts(&world)), ("True", (1, 3)));
}

#[test]
fn the_state_of_a_silent_host_stays_while_a_twin_refers_to_it() {
    let mut world = following();
    world.is_host_silent = true;
    world.run_for(MINUTE);
    world.time.pass(30 * DAY);
    world.run_for(HOUR);
    assert_eq!(hosts(&world), (1, 3));
    world.server.delete::<DigitalTwin>(NAMESPACE, TWIN);
    world.run_for(HOUR);
    assert_eq!(hosts(&world), (0, 0));
}

#[test]
fn content_in_another_form_with_the_same_meaning_takes_no_point_and_applies_nothing() {
    let world = following();
    let before = world.effects();
    let units = [
        super::script::api(1),
        service("db.service"),
        service("web.service"),
    ];
    let newer: Vec<Value> = units
        .iter()
        .map(|unit| {
            let mut unit = json!(unit);
            unit["fromTheFuture"] = json!({"a": 1});
            unit
        })
        .collect();
    let digest = |world: &World| {
        let head = world.server.read::<HostState>("", HOST).unwrap();
        head["spec"]["sections"][0]["parts"][0]["digest"].clone()
    };
    let old = digest(&world);
    host::publish_as(&world.server, &world.time, &newer);
    assert_ne!(digest(&world), old);
    world.run_for(HOUR);
    assert_eq!(world.effects(), before);
    assert_eq!(condition(&world, "Ready"), said("True", "Following"));
    // What is meant still counts.
    Step::Edit.happen(&world);
    world.settle();
    assert_ne!(world.effects(), before);
}
