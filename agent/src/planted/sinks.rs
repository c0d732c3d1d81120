//! All that leaves the agent for what was planted: sections, head, the document of `--once`, messages, the log.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::hoststate::Source;
use safetytwin_crds::item::container::ContainerItem;
use safetytwin_crds::item::observed::{ObservedContainer, ObservedUnit};
use safetytwin_crds::item::{Observed, UnitItem};
use safetytwin_crds::section::{Encoding, SectionName, SectionState};
use serde_json::{Value, json};

use super::{Sources, processes, units};
use crate::assemble::{Assembled, Assembler};
use crate::collect::board::Board;
use crate::collect::containers::item;
use crate::collect::meter::Meter;
use crate::collect::{CollectError, Collected, Collector, Content, Scope, runner};
use crate::hostroot::HostRoot;
use crate::once;
use crate::redact::Redactor;
use crate::settings::{HelperSlot, Level, Settings};

/// The machine id of the host that all is planted on.
pub const MACHINE_ID: &str = "5afe7a1e5afe7a1e5afe7a1e5afe7a1e";

pub fn redactor() -> Redactor {
    Redactor::keyed(MACHINE_ID.parse().unwrap())
}

/// The published bytes, whole.
pub fn published(sources: Sources) -> String {
    let redactor = redactor();
    let state = assembled(&sources, &redactor);
    let mut bytes = serde_json::to_string(&state.counts).unwrap();
    for section in &state.sections {
        for part in section.parts.iter() {
            bytes.push_str(&part.data(Encoding::Json).unwrap());
        }
        bytes.push_str(section.message.as_deref().unwrap_or_default());
    }
    bytes.push_str(&serde_json::to_string(&once::objects(&settings(&redactor), &state).unwrap()).unwrap());
    for message in sources.messages {
        bytes.push_str(&log_of_failure(&redactor, message));
    }
    bytes
}

/// What is published for what was planted, through the code that does it on a host.
pub fn assembled(sources: &Sources, redactor: &Redactor) -> Assembled {
    let board = Board::new(redactor.clone());
    let (containers, observed_containers) = containers(&sources.containers, redactor);
    let items = units::items(&sources.units, redactor);
    let mut observed = Observed {
        units: items.iter().map(observed_unit).collect(),
        containers: observed_containers,
        ..Observed::default()
    };
    let units = Content::Units {
        items: crate::collect::shared(items),
        services: 0,
        failed: 0,
    };
    let gaps = || sources.messages.clone();
    let mut post = |name, section, content| {
        let observed = std::mem::take(&mut observed);
        board.post(
            name,
            Some(section),
            Ok(Collected {
                content: Arc::new(content),
                gaps: gaps(),
                observed: Arc::new(observed),
            }),
        );
    };
    post("units", SectionName::Units, units);
    post(
        "containers",
        SectionName::Containers,
        Content::Containers(crate::collect::shared(containers)),
    );
    post(
        "processes",
        SectionName::Processes,
        Content::clone(&processes::collected(&sources.processes, redactor).content),
    );
    let state = Assembler::default().assemble(&board.reports(), "t");
    let whole = if sources.messages.is_empty() {
        SectionState::Complete
    } else {
        SectionState::Partial
    };
    let planted = [
        sources.units.len(),
        sources.containers.len(),
        sources.processes.len(),
    ];
    for (section, items) in state.sections.iter().zip(planted) {
        assert_eq!(
            (section.state, section.items as usize >= items),
            (whole, true),
            "{section:?}"
        );
    }
    state
}

fn containers(planted: &[Value], redactor: &Redactor) -> (Vec<ContainerItem>, Vec<ObservedContainer>) {
    let one = |(number, details): (usize, &Value)| {
        let mut details = details.clone();
        if details.get("Name").is_none() {
            details["Name"] = json!(format!("/c{number}"));
        }
        let details = serde_json::from_value(details).unwrap();
        let item = item::alone(&details, redactor).unwrap();
        let observed = item::observed(&item, &details);
        (item, observed)
    };
    planted.iter().enumerate().map(one).unzip()
}

fn observed_unit(unit: &UnitItem) -> ObservedUnit {
    ObservedUnit {
        name: unit.name.to_string(),
        active_state: "active".into(),
        sub_state: "running".into(),
        main_pid: 1,
        result: "success".into(),
        ..ObservedUnit::default()
    }
}

fn settings(redactor: &Redactor) -> Settings {
    let nowhere = std::path::PathBuf::from("/nonexistent");
    Settings {
        host: "web-01".parse().unwrap(),
        source: Source::Node,
        root: HostRoot::new(&nowhere, &nowhere, &nowhere),
        redactor: redactor.clone(),
        opt_in: Default::default(),
        dbus_socket: nowhere.clone(),
        docker_socket: nowhere.clone(),
        podman_socket: nowhere.clone(),
        level: Level::Full,
        helper: HelperSlot::new(None, nowhere),
        min_age: Duration::ZERO,
        interval: Duration::from_secs(10),
        beats_per_head: 1,
    }
}

struct Failing(String);

#[async_trait]
impl Collector for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }
    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Machine)
    }
    fn audit_interval(&self) -> Duration {
        Duration::MAX
    }
    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        Err(CollectError::Unavailable(self.0.clone()))
    }
}

/// The log lines of a collector that fails with this message, and what its section says.
fn log_of_failure(redactor: &Redactor, message: String) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let board = Board::new(redactor.clone());
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let failing = Failing(message);
        let meter = Meter::new(&failing);
        runtime.block_on(async {
            tokio::select! {
                () = runner::run(Box::new(failing), board.clone(), meter) => {}
                () = board.changed() => {}
            }
        });
    });
    let lines = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(lines.contains("failed to collect"), "{lines}");
    lines + board.reports()["failing"].message.as_deref().unwrap_or_default()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
