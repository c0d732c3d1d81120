//! Merges what the collectors reported into sections, in identity order, and the head's numbers.
//! Pure but for what it remembers: when each section's content or state last changed.

use std::collections::BTreeMap;

use safetytwin_crds::hoststate::{Counts, Load, MachineSummary};
use safetytwin_crds::item::{ContainerItem, Machine, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::{Part, SectionError, SectionName, SectionState, encode_parts};

use crate::collect::Content;
use crate::collect::board::Report;

/// A section ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct AssembledSection {
    /// Which.
    pub name: SectionName,
    /// Its content.
    pub parts: Vec<Part>,
    /// Number of items.
    pub items: i32,
    /// How much of the truth it holds.
    pub state: SectionState,
    /// When content or state last changed, RFC 3339.
    pub collected_time: String,
    /// Why it is not Complete.
    pub message: Option<String>,
}

/// The host's state at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembled {
    /// The counted sections, in order, then `observed`.
    pub sections: Vec<AssembledSection>,
    /// Numbers of the head.
    pub counts: Counts,
    /// Summary of the head.
    pub machine: MachineSummary,
    /// Load of the head.
    pub load: Load,
}

impl Assembled {
    /// "n/4": complete sections of those that count.
    pub fn complete(&self) -> String {
        let counted = SectionName::COUNTED;
        let complete = |s: &&AssembledSection| counted.contains(&s.name) && s.state == SectionState::Complete;
        format!(
            "{}/{}",
            self.sections.iter().filter(complete).count(),
            counted.len()
        )
    }
}

#[derive(Default)]
struct Merged {
    units: Vec<UnitItem>,
    containers: Vec<ContainerItem>,
    processes: Vec<ProcessItem>,
    machine: Option<Machine>,
    summary: MachineSummary,
    load: Load,
    services: i32,
    failed: i32,
    observed: Observed,
    /// State and messages by section.
    states: BTreeMap<SectionName, (SectionState, Vec<String>)>,
}

/// Remembers the last sections, so that times move only with content.
#[derive(Default)]
pub struct Assembler {
    last: BTreeMap<SectionName, AssembledSection>,
}

impl Assembler {
    /// Assembles `reports`; `now` is RFC 3339.
    pub fn assemble(&mut self, reports: &BTreeMap<&'static str, Report>, now: &str) -> Assembled {
        let merged = merge(reports);
        let mut sections = Vec::new();
        for name in SectionName::COUNTED {
            sections.push(self.section(name, &merged, now));
        }
        sections.push(self.section(SectionName::Observed, &merged, now));
        let available = |name: SectionName, count: i32| {
            let section = sections.iter().find(|s| s.name == name)?;
            (section.state != SectionState::Unavailable).then_some(count)
        };
        let items = |items: usize| i32::try_from(items).unwrap_or(i32::MAX);
        Assembled {
            counts: Counts {
                services: available(SectionName::Units, merged.services),
                failed: available(SectionName::Units, merged.failed),
                containers: available(SectionName::Containers, items(merged.containers.len())),
                processes: available(SectionName::Processes, items(merged.processes.len())),
                ai: None,
            },
            machine: merged.summary,
            load: merged.load,
            sections,
        }
    }

    fn section(&mut self, name: SectionName, merged: &Merged, now: &str) -> AssembledSection {
        let unknown = (SectionState::Unavailable, vec!["not collected yet".to_owned()]);
        let (mut state, mut messages) = match name {
            SectionName::Observed => (SectionState::Complete, Vec::new()),
            name => merged.states.get(&name).cloned().unwrap_or(unknown),
        };
        let (items, parts) = encode(name, merged);
        let last = self.last.get(&name);
        let (items, parts) = match parts {
            Ok(parts) => (items, parts),
            Err(error) => {
                // The last content that fitted stays, and the state says that it is old.
                state = SectionState::Unavailable;
                messages.push(error.to_string());
                last.map_or((0, Vec::new()), |l| (l.items, l.parts.clone()))
            }
        };
        let message = safetytwin_crds::names::printable(&messages.join("; "), 256);
        let mut section = AssembledSection {
            name,
            parts,
            items,
            state,
            collected_time: now.to_owned(),
            message: (!message.is_empty()).then_some(message),
        };
        if let Some(last) = last.filter(|l| l.state == section.state && l.parts == section.parts) {
            section.collected_time.clone_from(&last.collected_time);
        }
        self.last.insert(name, section.clone());
        section
    }
}

fn merge(reports: &BTreeMap<&'static str, Report>) -> Merged {
    let mut merged = Merged::default();
    for report in reports.values() {
        if let Some(name) = report.section {
            note_state(&mut merged, name, report);
        }
        let Some(collected) = &report.collected else {
            continue;
        };
        match collected.content.clone() {
            Content::Units {
                items,
                services,
                failed,
            } => {
                merged.units.extend(items);
                merged.services += services;
                merged.failed += failed;
            }
            Content::Containers(items) => merged.containers.extend(items),
            Content::Processes(items) => merged.processes.extend(items),
            Content::Machine { item, summary } => {
                merged.machine = Some(*item);
                merged.summary = summary;
            }
            Content::Load(load) => merged.load = load,
        }
        merged.observed.units.extend(collected.observed.units.clone());
        merged
            .observed
            .containers
            .extend(collected.observed.containers.clone());
        merged
            .observed
            .processes
            .extend(collected.observed.processes.clone());
    }
    merged.units.sort_by(|a, b| a.name.cmp(&b.name));
    merged.containers.sort_by_key(|c| c.id());
    merged.processes.sort_by(|a, b| a.key.cmp(&b.key));
    merged
}

/// Several collectors of one section: whole only if all are, unavailable only if all are.
fn note_state(merged: &mut Merged, name: SectionName, report: &Report) {
    let entry = merged.states.entry(name);
    let (state, messages) = entry.or_insert((report.state, Vec::new()));
    if *state != report.state {
        *state = SectionState::Partial;
    }
    messages.extend(report.message.clone());
}

fn encode(name: SectionName, merged: &Merged) -> (i32, Result<Vec<Part>, SectionError>) {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    match name {
        SectionName::Units => (count(merged.units.len()), encode_parts(&merged.units)),
        SectionName::Containers => (count(merged.containers.len()), encode_parts(&merged.containers)),
        SectionName::Processes => (count(merged.processes.len()), encode_parts(&merged.processes)),
        SectionName::Machine => {
            let items: Vec<&Machine> = merged.machine.iter().collect();
            (count(items.len()), encode_parts(&items))
        }
        SectionName::Observed => (1, encode_parts(&[&merged.observed])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::board::Board;
    use crate::collect::{CollectError, Collected};

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
        assert_eq!(state.complete(), "1/4");
        assert_eq!((state.counts.processes, state.counts.services), (Some(0), None));
        let units = &state.sections[0];
        assert_eq!(units.message.as_deref(), Some("no bus"));
    }

    #[test]
    fn collected_time_moves_only_with_content_or_state() {
        let board = Board::default();
        let section = Some(SectionName::Processes);
        let mut assembler = Assembler::default();
        let mut time = |now: &str, result: Result<Collected, CollectError>| {
            board.post("processes", section, result);
            assembler.assemble(&board.reports(), now).sections[2]
                .collected_time
                .clone()
        };
        let empty = || Ok(Collected::whole(Content::Processes(vec![])));
        assert_eq!(time("1", empty()), "1");
        assert_eq!(time("2", empty()), "1");
        assert_eq!(time("3", Err(CollectError::Panicked)), "3");
    }
}
