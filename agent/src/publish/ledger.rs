//! Which slot holds what: the bookkeeping behind "two slots make a commit". Pure.
//!
//! A changed part goes into the slot that the head does not name, then the head names it. What a
//! slot was last given is remembered, so that equal content is not written twice.

use std::collections::HashMap;

use safetytwin_crds::digest::PartDigest;
use safetytwin_crds::hoststate::{HostStateSpec, PartRef, Section};
use safetytwin_crds::section::{SectionName, Slot};

use crate::assemble::AssembledSection;

/// A part and the slot it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Section.
    pub section: SectionName,
    /// Number of the part.
    pub part: usize,
    /// Slot.
    pub slot: Slot,
}

impl Place {
    fn key(self) -> (SectionName, usize, char) {
        (self.section, self.part, self.slot.letter())
    }
}

/// What the head names and what the slots were given.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What the head in the cluster says of each section.
    named: HashMap<SectionName, Section>,
    /// What this process has written.
    written: HashMap<(SectionName, usize, char), PartDigest>,
}

impl Ledger {
    /// Takes in the head in the cluster. Without one the sections may be gone, too.
    pub fn learn(&mut self, head: Option<&HostStateSpec>) {
        match head {
            Some(head) => self.committed(head),
            None => *self = Self::default(),
        }
    }

    /// Where each part of `section` belongs: unchanged ones stay, changed ones change slots.
    pub fn places(&self, section: &AssembledSection) -> Vec<PartRef> {
        let named = self.section(section.name).map(|section| section.parts.as_slice());
        let place = |(number, part): (usize, &safetytwin_crds::section::Part)| {
            let slot = match named.unwrap_or_default().get(number) {
                Some(named) if named.digest == part.digest => named.slot,
                Some(named) => named.slot.other(),
                None => Slot::A,
            };
            PartRef {
                slot,
                digest: part.digest,
            }
        };
        section.parts.iter().enumerate().map(place).collect()
    }

    /// What the head in the cluster says of a section.
    pub fn section(&self, name: SectionName) -> Option<&Section> {
        self.named.get(&name)
    }

    /// What the head in the cluster names of a section may be gone.
    pub fn lose(&mut self, name: SectionName) {
        self.named.remove(&name);
    }

    /// Whether this must be written: the slot is not known to hold it.
    pub fn needs(&self, place: Place, digest: PartDigest) -> bool {
        self.written.get(&place.key()) != Some(&digest)
    }

    /// Notes that a slot was given this content.
    pub fn wrote(&mut self, place: Place, digest: PartDigest) {
        self.written.insert(place.key(), digest);
    }

    /// Forgets what slots hold, so that all named ones are written again.
    pub fn forget(&mut self) {
        self.written.clear();
    }

    /// Notes what the head in the cluster names now.
    pub fn committed(&mut self, head: &HostStateSpec) {
        let named = head
            .sections
            .iter()
            .map(|section| (section.name, section.clone()));
        self.named = named.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::section;

    fn commit(ledger: &mut Ledger, section: &AssembledSection) -> Slot {
        let named = crate::head::section(section, ledger.places(section));
        let slot = named.parts[0].slot;
        ledger.named.insert(section.name, named);
        slot
    }

    #[test]
    fn changed_content_never_goes_into_the_slot_that_the_head_names() {
        let mut ledger = Ledger::default();
        let slots: Vec<Slot> = ["1", "2", "2", "3"]
            .iter()
            .map(|content| commit(&mut ledger, &section(content)))
            .collect();
        assert_eq!(slots, [Slot::A, Slot::B, Slot::B, Slot::A]);
    }

    #[test]
    fn a_crash_between_section_and_head_leaves_the_named_slot_alone() {
        let mut ledger = Ledger::default();
        commit(&mut ledger, &section("old"));
        // Written, but the head was not: the agent starts again and learns the old head.
        let again = ledger.places(&section("newer"));
        assert_eq!(again[0].slot, Slot::B);
    }

    #[test]
    fn equal_content_is_written_once_until_it_is_asked_for_again() {
        let mut ledger = Ledger::default();
        let place = Place {
            section: SectionName::Units,
            part: 0,
            slot: Slot::A,
        };
        let digest = PartDigest::of(b"x");
        assert!(ledger.needs(place, digest));
        ledger.wrote(place, digest);
        assert!(!ledger.needs(place, digest));
        ledger.forget();
        assert!(ledger.needs(place, digest));
    }
}
