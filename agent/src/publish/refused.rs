//! Sections that the API server does not take: an object of theirs is refused for itself, by its schema or by a policy,
//! so that asking again helps nothing until the content is another one. Pure.
//!
//! The head goes on without them. It names such a section Unavailable, says why, and names what was accepted last, which
//! is still in its slots: nothing is concluded from it, and a twin keeps what it has.

use std::collections::BTreeMap;

use safetytwin_crds::digest::PartDigest;
use safetytwin_crds::hoststate::Section;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::{SectionName, SectionState};

use crate::assemble::AssembledSection;

/// A section that is refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What was refused; none when it is to be tried again.
    content: Option<Vec<PartDigest>>,
    /// Since when nothing of this section was accepted, RFC 3339.
    since: String,
    message: String,
}

impl Refused {
    /// The section as the head names it; `last` is what the head in the cluster says of it.
    pub fn section(&self, name: SectionName, last: Option<&Section>) -> Section {
        Section {
            name,
            parts: last.map(|last| last.parts.clone()).unwrap_or_default(),
            items: last.map_or(0, |last| last.items),
            state: SectionState::Unavailable,
            collected_time: Some(self.since.clone()),
            message: Some(self.message.clone()),
        }
    }
}

/// The sections that are refused.
#[derive(Clone, Debug, Default)]
pub struct Refusals(BTreeMap<SectionName, Refused>);

impl Refusals {
    /// The refusal of just this content.
    pub fn of(&self, section: &AssembledSection) -> Option<&Refused> {
        let refused = self.0.get(&section.name)?;
        let content = section.parts.iter().map(|part| part.digest);
        (refused.content.as_ref()?.iter().copied().eq(content)).then_some(refused)
    }

    /// Notes that this content is refused; `why` is of the API server, `now` is RFC 3339.
    pub fn refuse(&mut self, section: &AssembledSection, why: &str, now: &str) {
        let before = self.0.remove(&section.name);
        let refused = Refused {
            content: Some(section.parts.iter().map(|part| part.digest).collect()),
            since: before.map_or_else(|| now.to_owned(), |before| before.since),
            message: printable(why, 256),
        };
        self.0.insert(section.name, refused);
    }

    /// Notes that the content of this section is accepted.
    pub fn accept(&mut self, name: SectionName) {
        self.0.remove(&name);
    }

    /// Has everything tried again.
    pub fn forget(&mut self) {
        self.0.values_mut().for_each(|refused| refused.content = None);
    }

    /// Those of which something is refused.
    pub fn names(&self) -> impl Iterator<Item = SectionName> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::section;

    #[test]
    fn the_same_content_stays_refused_until_everything_is_tried_again() {
        let mut refusals = Refusals::default();
        refusals.refuse(&section("a"), "too\u{1b} long", "1");
        assert!(refusals.of(&section("a")).is_some() && refusals.of(&section("b")).is_none());
        refusals.forget();
        assert!(refusals.of(&section("a")).is_none());
        refusals.refuse(&section("a"), &"too long ".repeat(99), "2");
        let said = refusals
            .of(&section("a"))
            .unwrap()
            .section(SectionName::Units, None);
        assert_eq!(said.collected_time.as_deref(), Some("1"), "since then");
        assert!(said.message.unwrap().len() <= 256 && said.parts.is_empty());
        refusals.accept(SectionName::Units);
        assert_eq!(refusals.names().count(), 0);
    }
}
