//! Merges what the collectors reported into sections, in identity order, and the head's numbers.
//! Pure but for what it remembers: sections whose sources stayed as they were are not made anew.
//!
//! ```text
//! reports ─▶ by section: the same contents as last time? ── yes ──▶ the encoded items of last time ─┐
//!                                       └── no ──▶ merge, sort, encode ──────────────────────────────┴─▶ state, time
//! ```

mod encode;
mod observed;
mod runtimes;

use std::collections::BTreeMap;
use std::sync::Arc;

use safetytwin_crds::hoststate::{Counts, Load, MachineSummary};
use safetytwin_crds::section::{Part, SectionName, SectionState};

use self::encode::{Encoded, Source};
use self::observed::Moving;
use self::runtimes::Runtimes;
use crate::collect::Content;
use crate::collect::board::Report;

/// The latest reports, by collector name.
type Reports = BTreeMap<&'static str, Report>;

/// A section ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct AssembledSection {
    /// Which.
    pub name: SectionName,
    /// Its content.
    pub parts: Arc<[Part]>,
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

/// What becomes of the `observed` section, most of which moves with every look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedIs {
    /// As the collectors say now.
    Renewed,
    /// As it was last time, if there was one.
    Kept,
}

/// Remembers the last sections.
#[derive(Default)]
pub struct Assembler {
    last: BTreeMap<SectionName, AssembledSection>,
    encoded: BTreeMap<SectionName, Encoded>,
    moving: Moving,
    runtimes: Runtimes,
    opt_in: Vec<SectionName>,
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

    /// Assembles `reports`, all of it new; `now` is RFC 3339.
    pub fn assemble(&mut self, reports: &Reports, now: &str) -> Assembled {
        self.assemble_with(reports, now, ObservedIs::Renewed)
    }

    /// Assembles `reports`; `now` is RFC 3339.
    pub fn assemble_with(&mut self, reports: &Reports, now: &str, observed: ObservedIs) -> Assembled {
        let mut sections = Vec::new();
        for name in SectionName::COUNTED {
            let stands = match name {
                SectionName::Ai => no_surer_than(&sections),
                name => stands(reports, name),
            };
            self.encode(reports, name);
            sections.push(self.section(name, stands, now));
        }
        sections.push(self.observed(reports, now, observed));
        for name in self.opt_in.clone() {
            self.encode(reports, name);
            sections.push(self.section(name, stands(reports, name), now));
        }
        Assembled {
            counts: counts(reports, &sections),
            machine: contents(reports, SectionName::Machine)
                .find_map(|content| match &**content {
                    Content::Machine { summary, .. } => Some(summary.clone()),
                    _ => None,
                })
                .unwrap_or_default(),
            load: load(reports),
            sections,
        }
    }

    /// Encodes what feeds a section, unless that is what was encoded last.
    fn encode(&mut self, reports: &Reports, name: SectionName) {
        let feeds: &[SectionName] = if name == SectionName::Ai {
            &AMONG
        } else {
            std::slice::from_ref(&name)
        };
        let sources: Vec<Source> = feeds
            .iter()
            .flat_map(|name| contents(reports, *name).cloned())
            .collect();
        if self.encoded.get(&name).is_some_and(|known| known.is_of(&sources)) {
            return;
        }
        let encoded = match name {
            SectionName::Ai => Encoded::new(self.runtimes.among(&sources), sources),
            name => Encoded::section(name, sources, self.encoded.get(&name)),
        };
        self.encoded.insert(name, encoded);
    }

    fn observed(&mut self, reports: &Reports, now: &str, is: ObservedIs) -> AssembledSection {
        let name = SectionName::Observed;
        if is == ObservedIs::Renewed || !self.last.contains_key(&name) {
            let encoded = Encoded::new(self.moving.parts(reports), Vec::new());
            self.encoded.insert(name, encoded);
        }
        self.section(name, observed_stands(reports), now)
    }

    fn section(
        &mut self,
        name: SectionName,
        (mut state, mut messages): (SectionState, Vec<String>),
        now: &str,
    ) -> AssembledSection {
        let last = self.last.get(&name);
        let (items, parts) = match self.encoded.get(&name).map(|encoded| &encoded.written) {
            Some(Ok(written)) => {
                if !written.gaps.is_empty() {
                    // They name what is missing; the rest of a message may be cut off.
                    messages.splice(0..0, written.gaps.iter().cloned());
                    state = match state {
                        SectionState::Complete => SectionState::Partial,
                        state => state,
                    };
                }
                (written.items, Arc::clone(&written.parts))
            }
            Some(Err(error)) => {
                // The last content that could be written stays, and the state says that it is old.
                state = SectionState::Unavailable;
                messages.push(error.to_string());
                last.map_or((0, Arc::default()), |l| (l.items, Arc::clone(&l.parts)))
            }
            None => (0, Arc::default()),
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

/// The contents that feed a section, by collector name.
fn contents(reports: &Reports, name: SectionName) -> impl Iterator<Item = &Source> {
    let feeds = reports
        .values()
        .filter(move |report| report.section == Some(name));
    feeds.filter_map(|report| report.content.as_ref())
}

/// State and messages of a section: several collectors make it whole only if all are, unavailable only if all are.
fn stands(reports: &Reports, name: SectionName) -> (SectionState, Vec<String>) {
    let mut found: Option<(SectionState, Vec<String>)> = None;
    for report in reports.values().filter(|report| report.section == Some(name)) {
        let (state, messages) = found.get_or_insert((report.state, Vec::new()));
        if *state != report.state {
            *state = SectionState::Partial;
        }
        messages.extend(report.message.clone());
    }
    found.unwrap_or_else(|| (SectionState::Unavailable, vec!["not collected yet".to_owned()]))
}

/// What moves by itself comes from all collectors, and what their sections say of them is said there. Who feeds this
/// section alone is told here; the rest of it is known without.
fn observed_stands(reports: &Reports) -> (SectionState, Vec<String>) {
    let own = |(_, report): &(&&str, &Report)| report.section == Some(SectionName::Observed);
    let gaps: Vec<String> = reports
        .iter()
        .filter(own)
        .filter(|(_, report)| report.state != SectionState::Complete)
        .map(|(name, report)| format!("{name}: {}", report.message.as_deref().unwrap_or("unknown")))
        .collect();
    match gaps.is_empty() {
        true => (SectionState::Complete, gaps),
        false => (SectionState::Partial, gaps),
    }
}

/// AI runtimes are no surer than the sections that they are found in.
fn no_surer_than(sections: &[AssembledSection]) -> (SectionState, Vec<String>) {
    let sources: Vec<_> = sections.iter().filter(|s| AMONG.contains(&s.name)).collect();
    let of = |state: SectionState| sources.iter().filter(|s| s.state == state).count();
    let state = match (of(SectionState::Complete), of(SectionState::Unavailable)) {
        (whole, _) if whole == sources.len() => SectionState::Complete,
        (_, none) if none == sources.len() => SectionState::Unavailable,
        _ => SectionState::Partial,
    };
    let gaps = sources.iter().filter(|s| s.state != SectionState::Complete);
    (
        state,
        gaps.map(|s| format!("{} is {:?}", s.name, s.state)).collect(),
    )
}

/// Numbers of the head; a section that is unavailable has none.
fn counts(reports: &Reports, sections: &[AssembledSection]) -> Counts {
    let section = |name: SectionName| {
        let section = sections.iter().find(|s| s.name == name)?;
        (section.state != SectionState::Unavailable).then_some(section.items)
    };
    let mut units = section(SectionName::Units).map(|_| (0, 0));
    for content in contents(reports, SectionName::Units) {
        if let (Some(sums), Content::Units { services, failed, .. }) = (&mut units, &**content) {
            *sums = (sums.0 + services, sums.1 + failed);
        }
    }
    Counts {
        services: units.map(|(services, _)| services),
        failed: units.map(|(_, failed)| failed),
        containers: section(SectionName::Containers),
        processes: section(SectionName::Processes),
        ai: section(SectionName::Ai),
    }
}

/// The load; it is of one moment only, and an old one says nothing.
fn load(reports: &Reports) -> Load {
    let fresh = reports
        .values()
        .filter(|report| report.state != SectionState::Unavailable);
    let mut loads = fresh.filter_map(|report| match report.content.as_deref()? {
        Content::Load(load) => Some(load.clone()),
        _ => None,
    });
    loads.next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
