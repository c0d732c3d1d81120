//! Items of a section, cut into parts.

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Encoding, MAX_PARTS, PART_BYTES, SectionError, pack, unpack};
use crate::canonical::canonical_json;
use crate::digest::PartDigest;

/// One encoded part. What is kept is compressed: it is written in this form, and seldom looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Digest of the canonical JSON.
    pub digest: PartDigest,
    /// Length of the canonical JSON.
    pub bytes: usize,
    packed: Vec<u8>,
}

impl Part {
    /// Of `json` without its closing bracket; one of `known` where that is the same.
    fn new(mut json: Vec<u8>, known: &[Self]) -> Result<Self, SectionError> {
        json.push(b']');
        let digest = PartDigest::of(&json);
        if let Some(same) = known.iter().find(|part| part.digest == digest) {
            return Ok(same.clone());
        }
        let mut packed = pack(&json)?;
        packed.shrink_to_fit();
        Ok(Self {
            digest,
            bytes: json.len(),
            packed,
        })
    }

    /// The canonical JSON.
    ///
    /// # Errors
    /// It is longer than [`super::MAX_DECODED`].
    pub fn json(&self) -> Result<Vec<u8>, SectionError> {
        unpack(&self.packed)
    }

    /// The `data` of a HostSection in this encoding.
    ///
    /// # Errors
    /// As [`Part::json`].
    pub fn data(&self, encoding: Encoding) -> Result<String, SectionError> {
        match encoding {
            Encoding::Json => Ok(String::from_utf8_lossy(&self.json()?).into_owned()),
            Encoding::ZstdBase64 => Ok(STANDARD.encode(&self.packed)),
        }
    }
}

/// Cuts `items`, which must be in identity order, into parts. An empty list is one empty part.
pub fn encode_parts<T: Serialize>(items: &[T]) -> Result<Vec<Part>, SectionError> {
    let mut parts = PartWriter::default();
    for item in items {
        parts.push(&canonical_json(item).map_err(SectionError::Encode)?)?;
    }
    parts.finish()
}

/// Where the canonical JSON of an item is: the number of the part, and the place in it.
pub type PlaceInParts = (usize, Range<usize>);

/// Fills parts with items that are canonical JSON already, in identity order.
#[derive(Debug, Default)]
pub struct PartWriter {
    known: Arc<[Part]>,
    full: Vec<Part>,
    json: Vec<u8>,
}

impl PartWriter {
    /// A writer that does not compress again what is one of the parts in `known`.
    pub fn after(known: Arc<[Part]>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Adds an item, and says where it will be.
    pub fn push(&mut self, item: &[u8]) -> Result<PlaceInParts, SectionError> {
        if !self.json.is_empty() && self.json.len() + item.len() + 2 > PART_BYTES {
            self.full
                .push(Part::new(std::mem::take(&mut self.json), &self.known)?);
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
    pub fn finish(mut self) -> Result<Vec<Part>, SectionError> {
        if self.json.is_empty() {
            self.json.push(b'[');
        }
        self.full.push(Part::new(self.json, &self.known)?);
        Ok(self.full)
    }
}
