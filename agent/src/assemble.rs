//! Merges what the collectors reported into sections, in identity order, and the head's numbers.
//! Pure but for what it remembers: when each section's content or state last changed.

use std::collections::BTreeMap;

use safetytwin_crds::digest::PartDigest;
use safetytwin_crds::hoststate::{Counts, Load, MachineSummary};
use safetytwin_crds::item::{AiItem, ContainerItem, Machine, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::{Part, SectionError, SectionName, SectionState, encode_parts};

use crate::ai;
use crate::collect::Content;
use crate::collect::board::Report;
use crate::collect::optin::Listed;

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
    /// When content or state last changed, RFC 3339; none where Complete, which is of the moment.
    pub collected_time: Option<String>,
    /// Why it is not Complete.
    pub message: Option<String>,
}

/// The host's state at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembled {
    /// The counted sections, in order, then `observed`, then the opt-in ones.
    pub sections: Vec<AssembledSection>,
    /// Numbers of the head.
    pub counts: Counts,
    /// Summary of the head.
    pub machine: MachineSummary,
    /// Load of the head.
    pub load: Load,
}

impl Assembled {
    /// "n/5": complete sections of those that count.
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
    ai: Vec<AiItem>,
    summary: MachineSummary,
    load: Load,
    services: i32,
    failed: i32,
    observed: Observed,
    listed: BTreeMap<SectionName, Listed>,
    /// State and messages by section.
    states: BTreeMap<SectionName, (SectionState, Vec<String>)>,
}

/// Remembers the last sections, so that times move only with content.
#[derive(Default)]
pub struct Assembler {
    last: BTreeMap<SectionName, AssembledSection>,
    recognised: Option<Recognised>,
    opt_in: Vec<SectionName>,
}

/// What AI runtimes were found in which content: looked for again only when that changes.
struct Recognised {
    among: Vec<PartDigest>,
    found: Vec<AiItem>,
}

/// The sections in which AI runtimes are looked for.
const AMONG: [SectionName; 3] = [
    SectionName::Units,
    SectionName::Containers,
    SectionName::Processes,
];

impl Assembler {
    /// An assembler that also publishes these opt-in sections.
    pub fn with(opt_in: Vec<SectionName>) -> Self {
        Self {
            opt_in,
            ..Self::default()
        }
    }

    /// Assembles `reports`; `now` is RFC 3339.
    pub fn assemble(&mut self, reports: &BTreeMap<&'static str, Report>, now: &str) -> Assembled {
        let mut merged = merge(reports);
        let mut sections = Vec::new();
        for name in SectionName::COUNTED {
            if name == SectionName::Ai {
                self.recognise(&mut merged, &sections);
            }
            sections.push(self.section(name, &merged, now));
        }
        sections.push(self.section(SectionName::Observed, &merged, now));
        for name in self.opt_in.clone() {
            sections.push(self.section(name, &merged, now));
        }
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
                ai: available(SectionName::Ai, items(merged.ai.len())),
            },
            machine: merged.summary,
            load: merged.load,
            sections,
        }
    }

    /// Finds the AI runtimes among the items; no surer than the sections they come from.
    fn recognise(&mut self, merged: &mut Merged, sections: &[AssembledSection]) {
        let sources: Vec<_> = sections.iter().filter(|s| AMONG.contains(&s.name)).collect();
        let among: Vec<PartDigest> = sources.iter().flat_map(|s| &s.parts).map(|p| p.digest).collect();
        let recognised = match self.recognised.take().filter(|known| known.among == among) {
            Some(known) => known,
            None => Recognised {
                found: ai::recognise(&merged.units, &merged.containers, &merged.processes),
                among,
            },
        };
        merged.ai.clone_from(&recognised.found);
        self.recognised = Some(recognised);
        let of = |state: SectionState| sources.iter().filter(|s| s.state == state).count();
        let state = match (of(SectionState::Complete), of(SectionState::Unavailable)) {
            (whole, _) if whole == sources.len() => SectionState::Complete,
            (_, none) if none == sources.len() => SectionState::Unavailable,
            _ => SectionState::Partial,
        };
        let gaps = sources.iter().filter(|s| s.state != SectionState::Complete);
        let messages = gaps.map(|s| format!("{} is {:?}", s.name, s.state)).collect();
        merged.states.insert(SectionName::Ai, (state, messages));
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
            collected_time: (state != SectionState::Complete).then(|| now.to_owned()),
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
            // It is of one moment only: an old one says nothing.
            Content::Load(load) if report.state != SectionState::Unavailable => merged.load = load,
            Content::Load(_) => {}
            Content::Listed(listed) => {
                merged.listed.extend(report.section.map(|name| (name, listed)));
            }
        }
        merged.observed.add(collected.observed.clone());
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
        SectionName::Ai => (count(merged.ai.len()), encode_parts(&merged.ai)),
        SectionName::Observed => (1, encode_parts(&[&merged.observed])),
        opt_in => match merged.listed.get(&opt_in) {
            Some(listed) => (count(listed.items), Ok(listed.parts.to_vec())),
            None => (0, Ok(Vec::new())),
        },
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
        assert_eq!(state.complete(), "1/5");
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
}
