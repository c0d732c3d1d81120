//! The `observed` section: what moves by itself. It is renewed each minute, and most of it has not moved: what seldom
//! does lies in parts of its own, which are neither encoded nor written again.
//!
//! ```text
//! load ───────────────────────────▶ parts │ moves each minute; first, so that there is always room for it
//! containers, processes, machine ─▶ parts │ the same allocations as last time: the same parts
//! units ──────────────────────────▶ parts │
//! ```

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use safetytwin_crds::canonical::canonical_json;
use safetytwin_crds::item::Observed;
use safetytwin_crds::section::{Fit, Part, PartWriter, SectionError, SectionName};

use super::Reports;
use super::encode::Parts;

/// How often what is observed moves, by who observes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moves {
    /// The load.
    Always,
    /// Counters stand still until they are some percent away.
    Seldom,
    /// What is in force of units: most of the section.
    WithUnits,
}

impl Moves {
    const ALL: [Self; 3] = [Self::Always, Self::Seldom, Self::WithUnits];

    /// Of what the collector of this section observes.
    fn of(section: Option<SectionName>) -> Self {
        match section {
            Some(SectionName::Units) => Self::WithUnits,
            Some(SectionName::Observed) => Self::Always,
            _ => Self::Seldom,
        }
    }
}

/// Remembers the parts of each kind.
#[derive(Default)]
pub struct Moving([Known; 3]);

/// The parts that were made of these.
#[derive(Default)]
struct Known {
    /// Their places are held, so that no other observation can come to lie there; what they said is not.
    of: Vec<Weak<Observed>>,
    /// How many items they hold, and the parts; none when something was left out, or nothing was made of them yet.
    parts: Option<(usize, Vec<Part>)>,
}

impl Known {
    fn parts_of(&self, sources: &[Arc<Observed>]) -> Option<&(usize, Vec<Part>)> {
        let same = |(of, source): (&Weak<Observed>, &Arc<Observed>)| of.as_ptr() == Arc::as_ptr(source);
        let same = self.of.len() == sources.len() && self.of.iter().zip(sources).all(same);
        self.parts.as_ref().filter(|_| same)
    }
}

impl Moving {
    /// The parts of all that is observed now.
    pub fn parts(&mut self, reports: &Reports) -> Parts {
        let mut parts = PartWriter::default();
        for (moves, known) in Moves::ALL.into_iter().zip(&mut self.0) {
            let of = reports.values().filter(|report| {
                Moves::of(report.section) == moves && *report.observed != Observed::default()
            });
            let of: Vec<Arc<Observed>> = of.map(|report| Arc::clone(&report.observed)).collect();
            if let Some((items, same)) = known.parts_of(&of)
                && parts.append(same, *items)?
            {
                continue;
            }
            let first = parts.end_part()?;
            let mut items = Some(0);
            for observed in &of {
                let more = write(&mut parts, observed)?;
                items = items.zip(more).map(|(items, more)| items + more);
            }
            let end = parts.end_part()?;
            let made = parts.parts().get(first..end).map(<[Part]>::to_vec);
            *known = Known {
                of: of.iter().map(Arc::downgrade).collect(),
                parts: items.zip(made),
            };
        }
        parts.finish()
    }
}

/// One item, or where no part would hold it, several that add up to it. How many; none where that is not all of it.
fn write(parts: &mut PartWriter, observed: &Observed) -> Result<Option<usize>, SectionError> {
    let mut items = Some(0);
    let mut rest = vec![Cow::Borrowed(observed)];
    while let Some(next) = rest.pop() {
        let json = canonical_json(&*next).map_err(SectionError::Encode)?;
        match parts.try_push(&json)? {
            Fit::At(_) => items = items.map(|items| items + 1),
            Fit::Beyond => items = None,
            Fit::TooLarge(_) => {
                let mut first = next.into_owned();
                match first.split() {
                    Some(second) => rest.extend([Cow::Owned(second), Cow::Owned(first)]),
                    // What is said of a single thing.
                    None => {
                        parts.push(&json)?;
                        items = None;
                    }
                }
            }
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::hoststate::Load;
    use safetytwin_crds::item::observed::{ObservedLoad, ObservedUnit};
    use safetytwin_crds::section::SectionState;

    use super::super::tests::read;
    use super::super::{AssembledSection, Assembler};
    use super::*;
    use crate::collect::board::Board;
    use crate::collect::{Collected, Content};

    /// A text that does not compress.
    fn blake3_of(n: usize) -> String {
        safetytwin_crds::digest::Digest::of(&n.to_le_bytes()).to_string()
    }

    #[test]
    fn a_single_thing_that_moves_and_fits_into_no_part_is_left_out_and_the_rest_is_there() {
        let mut unit = ObservedUnit {
            name: "a.service".into(),
            ..ObservedUnit::default()
        };
        let names = (0..60_000).map(|n| ("WantedBy", blake3_of(n).into()));
        unit.dependencies = names.collect();
        let others = (0..9).map(|n| ObservedUnit {
            name: format!("b{n}.service"),
            ..ObservedUnit::default()
        });
        let all = Observed {
            units: std::iter::once(unit).chain(others).collect(),
            ..Observed::default()
        };
        let board = Board::default();
        let mut assembler = Assembler::default();
        // The same when nothing has moved: what does not fit is said each time.
        for _ in 0..2 {
            let section = moving(&mut assembler, &board, "units", SectionName::Units, all.clone());
            let message = section.message.as_deref().unwrap();
            assert!(message.contains(" compressed exceed "), "{message}");
            assert_eq!(section.state, SectionState::Partial);
            let names: Vec<String> = read::<Observed>(&section)
                .into_iter()
                .flat_map(|observed| observed.units.into_iter().map(|unit| unit.name))
                .collect();
            assert_eq!(names, (0..9).map(|n| format!("b{n}.service")).collect::<Vec<_>>());
        }
    }

    /// The `observed` section, once a collector has observed this.
    fn moving(
        assembler: &mut Assembler,
        board: &Board,
        collector: &'static str,
        section: SectionName,
        observed: Observed,
    ) -> AssembledSection {
        let content = match section {
            SectionName::Observed => Content::Load(Load::default()),
            _ => Content::Units {
                items: vec![],
                services: 0,
                failed: 0,
            },
        };
        let collected = Collected {
            observed: Arc::new(observed),
            ..Collected::whole(content)
        };
        board.post(collector, Some(section), Ok(collected));
        let sections = assembler.assemble(&board.reports(), "t").sections;
        let mut observed = sections.into_iter().filter(|s| s.name == SectionName::Observed);
        observed.next().unwrap()
    }

    #[test]
    fn a_load_that_moves_leaves_what_is_observed_of_units_in_its_own_part_as_it_was() {
        let board = Board::default();
        let mut assembler = Assembler::default();
        let mut look =
            |collector, section, observed| moving(&mut assembler, &board, collector, section, observed);
        let unit = |name: &str, state: &str| Observed {
            units: vec![ObservedUnit {
                name: name.into(),
                active_state: state.into(),
                ..ObservedUnit::default()
            }],
            ..Observed::default()
        };
        let load = |bytes| Observed {
            load: Some(ObservedLoad {
                memory_used_bytes: Some(bytes),
                ..ObservedLoad::default()
            }),
            ..Observed::default()
        };
        look("units", SectionName::Units, unit("a.service", "active"));
        let first = look("load", SectionName::Observed, load(1));
        assert_eq!((first.parts.len(), first.items), (2, 2));
        let then = look("load", SectionName::Observed, load(2));
        assert_eq!(then.parts[1], first.parts[1]);
        assert_ne!(then.parts[0], first.parts[0]);
        let last = look("units", SectionName::Units, unit("a.service", "failed"));
        assert_ne!(last.parts[1], first.parts[1]);
        assert_eq!(last.parts[0], then.parts[0]);
        let [moves, units] = &read::<Observed>(&last)[..] else {
            panic!("two items");
        };
        assert_eq!((units, moves), (&unit("a.service", "failed"), &load(2)));
    }
}
