//! Makes the spec of a HostState from the assembled state and the slots that hold it.

use safetytwin_crds::hoststate::{Counts, HostStateSpec, Load, PartRef, Section};
use safetytwin_crds::section::{SectionName, SectionState};

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
        interval_seconds: i32::try_from(settings.heartbeat().as_secs()).unwrap_or(10).max(1),
        source: settings.source,
        boot_id: clock::boot_id(&settings.root),
        sequence,
        observed_time: clock::now(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        complete: complete(&sections),
        counts: counts(state, &sections),
        machine: state.machine.clone(),
        load: state.load.clone(),
        sections,
        resend_answered,
    }
}

/// "n/5": complete sections of those that count.
fn complete(sections: &[Section]) -> String {
    let counted = SectionName::COUNTED;
    let complete = |s: &&Section| counted.contains(&s.name) && s.state == SectionState::Complete;
    format!("{}/{}", sections.iter().filter(complete).count(), counted.len())
}

/// The numbers of `state` of sections that are in the cluster.
fn counts(state: &Assembled, sections: &[Section]) -> Counts {
    let is_there = |name| {
        let mut there = sections.iter().filter(|s| s.state != SectionState::Unavailable);
        there.any(|section| section.name == name)
    };
    let known = |name, number: Option<i32>| number.filter(|_| is_there(name));
    Counts {
        services: known(SectionName::Units, state.counts.services),
        failed: known(SectionName::Units, state.counts.failed),
        containers: known(SectionName::Containers, state.counts.containers),
        processes: known(SectionName::Processes, state.counts.processes),
        ai: known(SectionName::Ai, state.counts.ai),
    }
}

/// A head without what moves by itself: equal ones say the same of the host but for its load.
pub fn still(head: HostStateSpec) -> HostStateSpec {
    HostStateSpec {
        sequence: 0,
        observed_time: String::new(),
        load: Load::default(),
        ..head
    }
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::section::Slot;

    use super::*;
    use crate::assemble::Assembler;
    use crate::collect::board::Board;
    use crate::collect::{CollectError, Collected, Content};

    #[test]
    fn a_head_that_says_of_every_section_why_it_is_old_stays_below_four_kib() {
        let board = Board::default();
        board.post(
            "processes",
            Some(SectionName::Processes),
            Ok(Collected::whole(Content::Processes(vec![]))),
        );
        board.post("load", None, Ok(Collected::whole(Content::Load(Load::default()))));
        for name in SectionName::COUNTED {
            // Each byte of it is written as several.
            let error = CollectError::Unavailable("\u{1b}\\\"".repeat(300));
            board.post(name.as_str(), Some(name), Err(error));
        }
        let state = Assembler::default().assemble(&board.reports(), &clock::now());
        let cli: crate::cli::Cli = clap::Parser::parse_from(["twin-agent", "--node-name=web-01"]);
        let sections = state.sections.iter().map(|s| {
            let part = |part: &safetytwin_crds::section::Part| PartRef {
                slot: Slot::A,
                digest: part.digest,
            };
            section(s, s.parts.iter().map(part).collect())
        });
        let sections = sections.collect();
        let head = spec(&cli.settings(None).unwrap(), &state, sections, i64::MAX, None);
        let bytes = serde_json::to_vec(&head).unwrap().len();
        assert!(bytes <= 4096, "{bytes} bytes");
    }
}
