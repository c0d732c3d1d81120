use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::item::{ContainerItem, Machine, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::{Encoding, MAX_DATA, MAX_PARTS, decode_data, decode_items};

use super::encode::count;
use super::*;
use crate::collect::board::Board;
use crate::collect::size::Sizes;
use crate::collect::{Budget, CollectError, Collected};

#[test]
fn one_unavailable_section_leaves_the_others_complete_and_its_number_blank() {
    let board = Board::default();
    board.post(
        "processes",
        Some(SectionName::Processes),
        Ok(Collected::whole(Content::Processes(vec![]))),
    );
    let failed = Err(CollectError::Unavailable("no bus".into()));
    board.post("units", Some(SectionName::Units), failed);
    let state = Assembler::default().assemble(&board.reports(), "t");
    let complete = |s: &&AssembledSection| s.state == SectionState::Complete;
    let names: Vec<_> = state.sections.iter().filter(complete).map(|s| s.name).collect();
    assert_eq!(names, [SectionName::Processes, SectionName::Observed]);
    assert_eq!((state.counts.processes, state.counts.services), (Some(0), None));
    let units = &state.sections[0];
    assert_eq!(units.message.as_deref(), Some("no bus"));
}

#[test]
fn ai_runtimes_are_no_surer_than_what_they_are_found_in() {
    let board = Board::default();
    let mut assembler = Assembler::default();
    let mut look = |name, result| {
        board.post(name, AMONG.into_iter().find(|s| s.as_str() == name), result);
        let state = assembler.assemble(&board.reports(), "t");
        (state.sections[4].state, state.counts.ai)
    };
    let none = || Err(CollectError::Unavailable("gone".into()));
    assert_eq!(look("processes", none()), (SectionState::Unavailable, None));
    let whole = |content| Ok(Collected::whole(content));
    assert_eq!(
        look("processes", whole(Content::Processes(vec![]))),
        (SectionState::Partial, Some(0))
    );
    look("containers", whole(Content::Containers(vec![])));
    let units = Content::Units {
        items: vec![],
        services: 0,
        failed: 0,
    };
    assert_eq!(look("units", whole(units)), (SectionState::Complete, Some(0)));
}

#[test]
fn what_is_not_complete_says_since_when() {
    let board = Board::default();
    let section = Some(SectionName::Processes);
    let mut assembler = Assembler::default();
    let mut time = |now: &str, result: Result<Collected, CollectError>| {
        board.post("processes", section, result);
        let section = &assembler.assemble(&board.reports(), now).sections[2];
        section.collected_time.clone()
    };
    let empty = || Ok(Collected::whole(Content::Processes(vec![])));
    let broken = || Err(CollectError::Panicked);
    assert_eq!(time("1", empty()), None);
    assert_eq!(time("2", broken()).as_deref(), Some("2"));
    assert_eq!(time("3", broken()).as_deref(), Some("2"));
    assert_eq!(time("4", empty()), None);
}

#[test]
fn items_that_stayed_the_same_are_written_as_before_wherever_they_come_to_stand() {
    let item = |name: &str| {
        let text = format!(
            r#"{{"key":"{name}","comm":"{name}","argv":["ollama","serve"],"user":{{"name":"root"}},"group":{{"name":"root"}},"ordinal":0}}"#
        );
        Arc::new(serde_json::from_str::<ProcessItem>(&text).unwrap())
    };
    let board = Board::default();
    let mut assembler = Assembler::default();
    let assembled = |items: &[&Arc<ProcessItem>], assembler: &mut Assembler| {
        let items = items.iter().map(|item| Arc::clone(item)).collect();
        board.post(
            "processes",
            Some(SectionName::Processes),
            Ok(Collected::whole(Content::Processes(items))),
        );
        let state = assembler.assemble(&board.reports(), "t");
        [2, 4].map(|section| state.sections[section].parts.to_vec())
    };
    let items = ["a", "b", "c", "d"].map(item);
    let [a, b, c, d] = items.each_ref();
    assembled(&[a, b, c], &mut assembler);
    for round in [vec![a, c, d], vec![d], vec![], vec![a, b, c, d], vec![b]] {
        let anew = assembled(&round, &mut Assembler::default());
        assembled(&[a, b, c], &mut assembler);
        assert_eq!(assembled(&round, &mut assembler), anew);
    }
}

#[test]
fn what_stayed_as_it_was_is_not_encoded_again_and_a_change_of_it_is() {
    let board = Board::default();
    let machine = |hostname: &str| {
        let item = Machine {
            hostname: hostname.into(),
            ..Machine::default()
        };
        let summary = MachineSummary::default();
        let item = Box::new(item);
        Ok(Collected::whole(Content::Machine { item, summary }))
    };
    let mut assembler = Assembler::default();
    let mut parts = |result| {
        board.post("machine", Some(SectionName::Machine), result);
        let state = assembler.assemble(&board.reports(), "t");
        let section = state.sections.iter().find(|s| s.name == SectionName::Machine);
        Arc::clone(&section.unwrap().parts)
    };
    let first = parts(machine("a"));
    assert!(Arc::ptr_eq(&first, &parts(machine("a"))));
    let other = parts(machine("b"));
    assert!(other[0].data(Encoding::Json).unwrap().contains("\"b\""));
    assert_eq!(parts(machine("a")), first);
}

/// A unit as a collector makes it, with a drop-in of this text.
fn unit(name: &str, drop_in: &str) -> UnitItem {
    serde_json::from_value(serde_json::json!({
        "name": name, "loadState": "loaded", "run": "Up", "enablement": "enabled", "preset": "enabled",
        "origin": "local",
        "fragment": {"path": format!("/etc/systemd/system/{name}"), "digest": "0".repeat(64),
            "content": format!("[Unit]\nDescription={name}\n[Service]\nExecStart=/usr/local/bin/{name}\n")},
        "dropIns": [{"path": format!("/etc/systemd/system/{name}.d/a.conf"), "digest": "0".repeat(64),
            "content": drop_in}],
        "dependencies": {"Requires": ["sysinit.target"], "After": ["sysinit.target", "basic.target"]},
    }))
    .unwrap()
}

/// What moves of a unit, with the dependencies that systemd tells of most.
fn observed(unit: &UnitItem) -> ObservedUnit {
    let others = (0..8).map(|n| ("WantedBy", format!("other-{n}-of-{}", unit.name).into()));
    ObservedUnit {
        name: unit.name.to_string(),
        active_state: "active".into(),
        sub_state: "running".into(),
        dependencies: others.collect(),
        ..ObservedUnit::default()
    }
}

/// What a section's parts say, each of them no larger than its object may be.
pub fn read<T: serde::de::DeserializeOwned>(section: &AssembledSection) -> Vec<T> {
    assert!(
        (1..=MAX_PARTS).contains(&section.parts.len()),
        "{}",
        section.parts.len()
    );
    let mut all = Vec::new();
    for part in section.parts.iter() {
        let data = part.data(Encoding::ZstdBase64).unwrap();
        assert!(data.len() <= MAX_DATA, "{} bytes", data.len());
        let json = decode_data(&data, Encoding::ZstdBase64, part.digest).unwrap();
        let (mut items, refused) = decode_items(&json).unwrap();
        assert_eq!(refused, []);
        all.append(&mut items);
    }
    assert_eq!(all.len(), section.items as usize);
    all
}

/// A look that finds these units, with the default budget, and what is published of it.
fn published(units: &[Arc<UnitItem>], seen: &[ObservedUnit]) -> Assembled {
    let collected = Collected {
        observed: Arc::new(Observed {
            units: seen.to_vec(),
            ..Observed::default()
        }),
        ..Collected::whole(Content::Units {
            items: units.to_vec(),
            services: count(units.len()),
            failed: 0,
        })
    };
    let counted = Sizes::default().count(collected, Budget::default().bytes);
    let board = Board::default();
    let section = Some(SectionName::Units);
    board.post("units", section, counted.map(|(collected, _)| collected));
    Assembler::default().assemble(&board.reports(), "t")
}

#[test]
fn of_ten_thousand_units_and_five_thousand_timers_the_first_by_name_are_published_and_the_rest_is_said() {
    let services = (0..10_000).map(|n| unit(&format!("job-{n:0>5}.service"), "[Service]\nNice=5\n"));
    let timers = (0..5_000).map(|n| unit(&format!("job-{n:0>5}.timer"), "[Timer]\nOnCalendar=daily\n"));
    let mut units: Vec<Arc<UnitItem>> = services.chain(timers).map(Arc::new).collect();
    let mut seen: Vec<ObservedUnit> = units.iter().map(|unit| observed(unit)).collect();
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    let state = published(&units, &seen);
    let section = &state.sections[0];
    assert_eq!(section.state, SectionState::Partial);
    let first: Vec<UnitItem> = read(section);
    assert!((2_000..10_000).contains(&first.len()), "{}", first.len());
    let message = format!(
        "{} of 15000 items are left out: more than 2660 KiB",
        15_000 - first.len()
    );
    assert_eq!(section.message, Some(message));
    assert_eq!(state.counts.services, Some(15_000));
    // The same in whatever order they come.
    units.reverse();
    units.rotate_left(4_321);
    assert_eq!(published(&units, &seen), state);
    units.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(first.iter().zip(&units).all(|(item, unit)| *item == **unit));
    // What moves of them fills several parts.
    let moving = state
        .sections
        .iter()
        .find(|s| s.name == SectionName::Observed)
        .unwrap();
    let mut all = Observed::default();
    read::<Observed>(moving)
        .into_iter()
        .for_each(|some| all.add(some));
    assert!(all.units.len() > 1_000, "{}", all.units.len());
    assert_eq!(all.units, seen[..all.units.len()]);
    assert_eq!(all.unknown, ["lists are cut: more than 2660 KiB"]);
}

#[test]
fn a_unit_whose_drop_ins_no_object_takes_is_left_out_by_name_and_the_others_are_published() {
    let mut state = 7_u64;
    let mut noise = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'#' + (state >> 33) as u8 % 57)
    };
    let noise: String = (0..500_000).map(&mut noise).collect();
    let units = [("a.service", "x"), ("b.service", &noise), ("c.service", "x")];
    let units = units.map(|(name, text)| Arc::new(unit(name, text)));
    let state = published(&units, &[]);
    let section = &state.sections[0];
    let message = section.message.as_deref().unwrap();
    assert_eq!(section.state, SectionState::Partial);
    assert!(
        message.starts_with("item b.service: ") && message.ends_with(" bytes compressed exceed 262144"),
        "{message}"
    );
    let read: Vec<UnitItem> = read(section);
    assert_eq!(read, [(*units[0]).clone(), (*units[2]).clone()]);
    assert_eq!(
        state.sections[4].state,
        SectionState::Partial,
        "runtimes are no surer"
    );
}

#[test]
fn a_load_that_is_not_known_is_said_by_the_section_that_it_feeds() {
    let board = Board::default();
    let mut assembler = Assembler::default();
    let mut look = |result, is| {
        board.post("load", Some(SectionName::Observed), result);
        let state = assembler.assemble_with(&board.reports(), "t", is);
        let section = state
            .sections
            .into_iter()
            .find(|s| s.name == SectionName::Observed);
        let section = section.unwrap();
        (state.load.cpu_percent, section.state, section.message)
    };
    let load = Load {
        cpu_percent: Some(5),
        ..Load::default()
    };
    let known = || Ok(Collected::whole(Content::Load(load.clone())));
    let whole = (Some(5), SectionState::Complete, None);
    assert_eq!(look(known(), ObservedIs::Renewed), whole);
    let slow = Err(CollectError::Slow(std::time::Duration::from_secs(20)));
    let message = Some("load: failed to finish within 20 s".to_owned());
    // At once, though the rest waits for its time.
    assert_eq!(
        look(slow, ObservedIs::Kept),
        (None, SectionState::Partial, message)
    );
    let gaps = vec!["failed to open /proc/stat".to_owned()];
    let some = Ok(Collected {
        gaps,
        ..known().unwrap()
    });
    let message = Some("load: failed to open /proc/stat".to_owned());
    assert_eq!(
        look(some, ObservedIs::Kept),
        (Some(5), SectionState::Partial, message)
    );
    assert_eq!(look(known(), ObservedIs::Kept), whole);
}

#[test]
fn more_containers_than_a_section_holds_are_cut_as_units_are() {
    let container = |n: usize| -> Arc<ContainerItem> {
        let item = serde_json::json!({"engine": "docker", "name": format!("c-{n:0>5}"), "run": "Up", "image": "x",
            "imageId": "y", "command": ["x".repeat(1000)], "networkMode": "none", "networks": {},
            "restartPolicy": "no", "labels": {}, "ports": []});
        Arc::new(serde_json::from_value(item).unwrap())
    };
    let containers: Vec<_> = (0..5_000).rev().map(container).collect();
    let collected = Collected::whole(Content::Containers(containers));
    let counted = Sizes::default().count(collected, Budget::default().bytes);
    let board = Board::default();
    let section = Some(SectionName::Containers);
    board.post("containers", section, counted.map(|(collected, _)| collected));
    let state = Assembler::default().assemble(&board.reports(), "t");
    let first: Vec<ContainerItem> = read(&state.sections[1]);
    let names = (0..first.len()).map(|n| format!("c-{n:0>5}"));
    assert!(first.len() > 1_000 && first.iter().map(|c| c.name.to_string()).eq(names));
    let message = format!(
        "{} of 5000 items are left out: more than 2660 KiB",
        5_000 - first.len()
    );
    assert_eq!(state.sections[1].message, Some(message));
    assert_eq!(state.sections[1].state, SectionState::Partial);
}
