//! Items of an opt-in section, encoded when they were read, so that a beat costs nothing.

use std::sync::Arc;

use safetytwin_crds::canonical::canonical_json;
use safetytwin_crds::section::{Fitted, Part, PartWriter, SectionError};
use serde::Serialize;

/// Most bytes of canonical JSON of one opt-in section: some 8,000 packages.
const MOST_BYTES: usize = 1024 * 1024;

/// Items of one kind as parts of their section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// How many.
    pub items: usize,
    /// The content.
    pub parts: Arc<[Part]>,
}

impl Listed {
    /// Encodes `items`, which are in identity order; those that do not fit are left out and a gap
    /// says so.
    ///
    /// # Errors
    /// An item cannot be written as JSON.
    pub fn of<T: Serialize>(items: &[T], gaps: &mut Vec<String>) -> Result<Self, SectionError> {
        let mut writer = PartWriter::within(MOST_BYTES);
        for item in items {
            writer.push(&canonical_json(item).map_err(SectionError::Encode)?)?;
        }
        let Fitted { parts, left_out } = writer.finish()?;
        gaps.extend(left_out.messages());
        Ok(Self {
            items: left_out.kept(),
            parts: parts.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let items: Vec<String> = (0..3000).map(|n| format!("{n:0>1000}")).collect();
        let mut gaps = Vec::new();
        let listed = Listed::of(&items, &mut gaps).unwrap();
        let bytes: usize = listed.parts.iter().map(|part| part.bytes).sum();
        assert!(
            listed.items > 1000 && bytes <= MOST_BYTES + 64,
            "{} {bytes}",
            listed.items
        );
        assert!(gaps[0].contains("of 3000 items are left out"), "{gaps:?}");
    }
}
