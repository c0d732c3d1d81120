use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::item::unit::{Account, Origin, Service, UnitFile};
use serde::Deserialize;

use super::*;

/// The runtimes among these, in the order of their keys.
fn recognise(units: &[UnitItem], containers: &[ContainerItem], processes: &[ProcessItem]) -> Vec<AiItem> {
    let units = units.iter().filter_map(of_unit);
    let containers = containers.iter().filter_map(of_container);
    let processes = processes.iter().filter_map(of_process);
    let mut found: Vec<AiItem> = units.chain(containers).chain(processes).collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// One case of `labelled.yaml`: an item as people know it, and what it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(default)]
    process: Option<ProcessCase>,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    container: Option<ContainerCase>,
    #[serde(default)]
    expect: Option<Label>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessCase {
    #[serde(default)]
    executable: Option<String>,
    argv: Vec<String>,
    comm: String,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    listens: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerCase {
    image: String,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    ports: Vec<(u16, u16)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    runtime: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

fn texts(list: &[String]) -> Vec<Text> {
    list.iter().map(|t| Text::from(t.as_str())).collect()
}

fn account() -> Account {
    Account {
        name: "u".into(),
        id: Some(1000),
        primary_group: None,
    }
}

impl Case {
    fn found(&self) -> Option<AiItem> {
        let (mut units, mut containers, mut processes) = (vec![], vec![], vec![]);
        match (&self.process, &self.unit, &self.container) {
            (Some(case), None, None) => processes.push(process(case)),
            (None, Some(text), None) => units.push(unit(text)),
            (None, None, Some(case)) => containers.push(container(case)),
            _ => panic!("{}: one of process, unit and container", self.case),
        }
        let mut found = recognise(&units, &containers, &processes);
        assert!(found.len() <= 1, "{}: {found:?}", self.case);
        found.pop()
    }
}

fn process(case: &ProcessCase) -> ProcessItem {
    ProcessItem {
        key: "0".into(),
        comm: case.comm.as_str().into(),
        executable: case.executable.as_deref().map(Text::from),
        executable_gone: false,
        argv: texts(&case.argv),
        redactions: 0,
        truncated: false,
        working_directory: case.cwd.as_deref().map(Text::from),
        user: account(),
        group: account(),
        listens: case.listens.clone(),
        ordinal: 0,
        unknown: vec![],
    }
}

fn unit(text: &str) -> UnitItem {
    UnitItem {
        name: "case.service".parse().unwrap(),
        load_state: "loaded".into(),
        run: RunClass::Up,
        enablement: "enabled".into(),
        origin: Origin::Local,
        fragment: Some(UnitFile {
            path: "/etc/systemd/system/case.service".into(),
            digest: safetytwin_crds::digest::Digest::of(text.as_bytes()),
            content: Some(text.into()),
            redactions: 0,
            refused: None,
        }),
        drop_ins: vec![],
        dependencies: BTreeMap::new(),
        limits: BTreeMap::new(),
        preset: String::new(),
        timer: None,
        socket: None,
        path: None,
        mount: None,
        service: Some(Service::default()),
    }
}

fn container(case: &ContainerCase) -> ContainerItem {
    let ports: Vec<_> = case
        .ports
        .iter()
        .map(|(inside, outside)| serde_json::json!({"containerPort": inside, "protocol": "tcp", "hostPort": outside}))
        .collect();
    let mut item: ContainerItem = serde_json::from_value(serde_json::json!({
        "engine": "docker", "name": "case", "run": "Up", "image": case.image, "imageId": "sha256:0",
        "networkMode": "bridge", "restartPolicy": "no", "ports": ports,
    }))
    .unwrap();
    item.entrypoint = case.entrypoint.as_deref().map(texts);
    item.command = case.command.as_deref().map(texts);
    item
}

/// Cases that a label and the recogniser see alike or not.
#[derive(Default)]
struct Tally {
    right: usize,
    missed: Vec<String>,
    invented: Vec<String>,
    silent: usize,
    details: Vec<String>,
}

impl Tally {
    fn count(&mut self, case: &Case) {
        let found = case.found();
        match (&case.expect, &found) {
            (None, None) => self.silent += 1,
            (Some(label), Some(item)) if item.runtime == label.runtime => {
                self.right += 1;
                self.compare(case, label, item);
            }
            (Some(label), found) => {
                let saw = found.as_ref().map(|item| item.runtime.as_str());
                self.missed
                    .push(format!("{}: {}, not {saw:?}", case.case, label.runtime));
            }
            (None, Some(item)) => self.invented.push(format!("{}: {}", case.case, item.runtime)),
        }
    }

    fn compare(&mut self, case: &Case, label: &Label, item: &AiItem) {
        let model = item.model.as_ref().map(|m| m.file.as_ref().unwrap_or(&m.name));
        if model != label.model.as_ref() {
            self.details
                .push(format!("{}: model {model:?}, not {:?}", case.case, label.model));
        }
        let sure = item
            .port
            .filter(|p| p.evidence != PortEvidence::Default || Some(p.number) == label.port);
        if sure.map(|p| p.number) != label.port {
            self.details
                .push(format!("{}: port {sure:?}, not {:?}", case.case, label.port));
        }
    }
}

#[test]
fn the_labelled_set_is_recognised_with_the_precision_and_recall_that_the_docs_name() {
    let cases: Vec<Case> = serde_yaml::from_str(include_str!("labelled.yaml")).unwrap();
    let names: BTreeSet<&str> = cases.iter().map(|c| c.case.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");
    let positive = cases.iter().filter(|c| c.expect.is_some()).count();
    assert!(cases.len() >= 140 && cases.len() - positive >= cases.len() / 2);
    let mut tally = Tally::default();
    cases.iter().for_each(|case| tally.count(case));
    let percent = |part: usize, of: usize| 100.0 * part as f64 / of as f64;
    let precision = percent(tally.right, tally.right + tally.invented.len());
    let recall = percent(tally.right, positive);
    println!(
        "{} cases, {positive} of them runtimes: precision {precision:.1} %, recall {recall:.1} %, model and port as labelled in {:.1} %\nmissed: {:#?}\ninvented: {:#?}\ndetails: {:#?}",
        cases.len(),
        percent(2 * tally.right - tally.details.len(), 2 * tally.right),
        tally.missed,
        tally.invented,
        tally.details,
    );
    assert!(
        tally.invented.is_empty() && recall >= 99.0,
        "see what is printed above"
    );
}

#[test]
fn a_process_cannot_pass_for_a_runtime_by_its_name_alone() {
    let mut case = ProcessCase {
        executable: Some("/usr/bin/sleep".into()),
        argv: vec!["ollama".into(), "serve".into()],
        comm: "ollama".into(),
        cwd: None,
        listens: vec![],
    };
    assert_eq!(recognise(&[], &[], &[process(&case)]), []);
    case.executable = None;
    assert_eq!(recognise(&[], &[], &[process(&case)]).len(), 1);
}

#[test]
fn a_model_blob_names_its_digest_without_being_read() {
    let hex = "a".repeat(64);
    let blob = model(&format!("/var/lib/ollama/blobs/sha256-{hex}"));
    assert_eq!(blob.digest, Some(format!("sha256:{hex}")));
    assert_eq!(model("meta/llama").file, None);
}

#[test]
fn a_container_whose_engine_picks_the_port_serves_at_no_known_one() {
    let port = |host: u16, last: u16| {
        let mut item: ContainerItem = serde_json::from_value(serde_json::json!({
            "engine": "docker", "name": "case", "run": "Up", "image": "ollama/ollama", "imageId": "sha256:0",
            "networkMode": "bridge", "restartPolicy": "no",
            "ports": [{"containerPort": 11434, "protocol": "tcp", "hostPort": host, "lastHostPort": last}],
        }))
        .unwrap();
        item.name = "ollama".parse().unwrap();
        of_container(&item).unwrap().port.map(|port| port.number)
    };
    assert_eq!(
        (port(21434, 0), port(0, 0), port(21434, 21440)),
        (Some(21434), None, None)
    );
}
