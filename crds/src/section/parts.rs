//! Items of a section, cut into parts.

use std::ops::Range;

use serde::Serialize;

use super::{MAX_PARTS, PART_BYTES, SectionError};
use crate::canonical::canonical_json;
use crate::digest::PartDigest;

/// One encoded part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Digest of the canonical JSON.
    pub digest: PartDigest,
    /// The canonical JSON.
    pub json: Vec<u8>,
}

/// Cuts `items`, which must be in identity order, into parts. An empty list is one empty part.
pub fn encode_parts<T: Serialize>(items: &[T]) -> Result<Vec<Part>, SectionError> {
    let mut parts = PartWriter::default();
    for item in items {
        parts.push(&canonical_json(item).map_err(SectionError::Encode)?)?;
    }
    Ok(parts.finish())
}

/// Where the canonical JSON of an item is: the number of the part, and the place in it.
pub type PlaceInParts = (usize, Range<usize>);

/// Fills parts with items that are canonical JSON already, in identity order.
#[derive(Debug, Default)]
pub struct PartWriter {
    full: Vec<Part>,
    json: Vec<u8>,
}

impl PartWriter {
    /// Adds an item, and says where it will be.
    pub fn push(&mut self, item: &[u8]) -> Result<PlaceInParts, SectionError> {
        if !self.json.is_empty() && self.json.len() + item.len() + 2 > PART_BYTES {
            self.full.push(finish(std::mem::take(&mut self.json)));
            // Before the rest costs memory.
            if self.full.len() == MAX_PARTS {
                return Err(SectionError::TooLarge);
            }
        }
        self.json.push(if self.json.is_empty() { b'[' } else { b',' });
        let at = self.json.len();
        self.json.extend_from_slice(item);
        Ok((self.full.len(), at..self.json.len()))
    }

    /// The parts; one empty one of no item.
    pub fn finish(mut self) -> Vec<Part> {
        if self.json.is_empty() {
            self.json.push(b'[');
        }
        self.full.push(finish(self.json));
        self.full
    }
}

fn finish(mut json: Vec<u8>) -> Part {
    json.push(b']');
    json.shrink_to_fit();
    Part {
        digest: PartDigest::of(&json),
        json,
    }
}
