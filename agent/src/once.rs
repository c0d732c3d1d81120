//! `twin-agent --once`: one look at everything, as a `v1` List on standard output. Needs no
//! cluster and no root; what cannot be read is Partial or Unavailable with the reason.

use futures::future::try_join_all;
use safetytwin_crds::hoststate::{HostState, PartRef};
use safetytwin_crds::section::{Encoding, SCHEMA_VERSION, Slot, object_name};
use safetytwin_crds::{HostSection, HostSectionSpec};
use serde_json::{Value, json};

use crate::assemble::{Assembled, Assembler};
use crate::collect::board::Board;
use crate::collect::{Collector, thread};
use crate::settings::Settings;
use crate::{clock, head};

/// The list cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// A section cannot be encoded.
    #[error("failed to encode a section: {0}")]
    Section(#[from] safetytwin_crds::section::SectionError),
    /// A collector has no thread to run on.
    #[error("failed to start a collector: {0}")]
    Thread(#[from] std::io::Error),
    /// An object cannot be written as JSON.
    #[error("failed to write an object as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Looks once with every collector and lists HostState and HostSections, content in clear.
pub async fn list(settings: &Settings, collectors: Vec<Box<dyn Collector>>) -> Result<Value, OnceError> {
    let board = Board::new(settings.redactor.clone());
    let looks = collectors
        .into_iter()
        .map(|collector| thread::once(collector, &board));
    try_join_all(looks).await?;
    let state = Assembler::with(settings.opt_in.names()).assemble(&board.reports(), &clock::now());
    objects(settings, &state)
}

/// HostState and HostSections of `state`.
pub(crate) fn objects(settings: &Settings, state: &Assembled) -> Result<Value, OnceError> {
    let mut items = Vec::new();
    let mut sections = Vec::new();
    for section in &state.sections {
        let mut refs = Vec::new();
        for (number, part) in section.parts.iter().enumerate() {
            refs.push(PartRef {
                slot: Slot::A,
                digest: part.digest,
            });
            let spec = HostSectionSpec {
                host: settings.host.clone(),
                section: section.name,
                part: i32::try_from(number).unwrap_or(0),
                slot: Slot::A,
                schema_version: SCHEMA_VERSION,
                encoding: Encoding::Json,
                data: part.data(Encoding::Json)?,
            };
            let name = object_name(settings.host.as_str(), section.name, number, Slot::A);
            items.push(serde_json::to_value(HostSection::new(&name, spec))?);
        }
        sections.push(head::section(section, refs));
    }
    let sequence = clock::boottime_ms(&settings.root);
    let spec = head::spec(settings, state, sections, sequence, None);
    items.insert(
        0,
        serde_json::to_value(HostState::new(settings.host.as_str(), spec))?,
    );
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}
