//! Makes the spec of a HostState from the assembled state and the slots that hold it.

use safetytwin_crds::hoststate::{HostStateSpec, PartRef, Section};

use crate::assemble::{Assembled, AssembledSection};
use crate::clock;
use crate::settings::Settings;

/// A section as the head names it, its parts in `slots`.
pub fn section(section: &AssembledSection, parts: Vec<PartRef>) -> Section {
    Section {
        name: section.name,
        parts,
        items: section.items,
        state: section.state,
        collected_time: section.collected_time.clone(),
        message: section.message.clone(),
    }
}

/// The head of `state` at this moment; `sections` are those that are written.
pub fn spec(
    settings: &Settings,
    state: &Assembled,
    sections: Vec<Section>,
    sequence: i64,
    resend_answered: Option<String>,
) -> HostStateSpec {
    HostStateSpec {
        host: settings.host.clone(),
        interval_seconds: i32::try_from(settings.interval.as_secs()).unwrap_or(10).max(1),
        source: settings.source,
        boot_id: clock::boot_id(&settings.root),
        sequence,
        observed_time: clock::now(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        complete: state.complete(),
        counts: state.counts.clone(),
        machine: state.machine.clone(),
        load: state.load.clone(),
        sections,
        resend_answered,
    }
}
