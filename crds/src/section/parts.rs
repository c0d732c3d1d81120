//! Items of a section, cut into parts.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::left_out::{LeftOut, name_of};
use super::{Encoding, MAX_DATA, MAX_DECODED, MAX_PARTS, PART_BYTES, SectionError, pack, unpack};
use crate::canonical::canonical_json;
use crate::digest::PartDigest;

/// One encoded part. What is kept is compressed: it is written in this form, and seldom looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Digest of the canonical JSON.
    pub digest: PartDigest,
    /// Length of the canonical JSON.
    pub bytes: usize,
    packed: Arc<[u8]>,
}

impl Part {
    /// Of `json` without its closing bracket; one of `known` where that is the same.
    fn new(mut json: Vec<u8>, known: &[Self]) -> Result<Self, SectionError> {
        json.push(b']');
        let digest = PartDigest::of(&json);
        if let Some(same) = known.iter().find(|part| part.digest == digest) {
            return Ok(same.clone());
        }
        Ok(Self {
            digest,
            bytes: json.len(),
            packed: pack(&json)?.into(),
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

/// The parts of a list, and what of it is in none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The parts; one empty one of no item.
    pub parts: Vec<Part>,
    /// What does not fit.
    pub left_out: LeftOut,
}

/// Cuts `items`, which must be in identity order, into parts; what does not fit is left out and said.
///
/// # Errors
/// An item cannot be written as JSON.
pub fn fit_parts<T: Serialize>(items: &[T]) -> Result<Fitted, SectionError> {
    let mut parts = PartWriter::default();
    for item in items {
        parts.push(&canonical_json(item).map_err(SectionError::Encode)?)?;
    }
    parts.finish()
}

/// As [`fit_parts`], of items that must all fit. An empty list is one empty part.
///
/// # Errors
/// An item cannot be written as JSON, or something does not fit.
pub fn encode_parts<T: Serialize>(items: &[T]) -> Result<Vec<Part>, SectionError> {
    let Fitted { parts, left_out } = fit_parts(items)?;
    match left_out.messages() {
        messages if messages.is_empty() => Ok(parts),
        messages => Err(SectionError::TooLarge(messages.join("; "))),
    }
}

/// How long parts are on average; without a length, as long as possible. None is shorter than half of it but the last,
/// and those before an item that has a part of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut(Option<usize>);

impl Cut {
    /// That of a section of so many bytes of canonical JSON, in no more than [`MAX_PARTS`]; `last` is what it had before,
    /// which a section that is about as long keeps.
    pub fn of(total: usize, last: Option<Self>) -> Self {
        let holds = |average: usize| average * MAX_PARTS / 2;
        let fits = |average: &usize| match last {
            Some(last) if last.is_coarser(*average) => total <= holds(*average) / 10 * 9,
            _ => total <= holds(*average),
        };
        Self([64 * 1024, 128 * 1024].into_iter().find(fits))
    }

    fn is_coarser(self, average: usize) -> bool {
        self.0.is_none_or(|own| own > average)
    }

    /// Whether a part of so many bytes ends behind this item: one byte in half the average does it.
    fn is_behind(self, item: &[u8], bytes: usize) -> bool {
        self.0.is_some_and(|average| {
            bytes >= average / 2 && {
                let mut hasher = DefaultHasher::new();
                hasher.write(item);
                hasher.finish() % (average as u64 / 2) < item.len() as u64
            }
        })
    }
}

/// Where the canonical JSON of an item is: the number of the part, and the place in it.
pub type PlaceInParts = (usize, Range<usize>);

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It will be here.
    At(PlaceInParts),
    /// No part can hold it, for this reason.
    TooLarge(String),
    /// It could have a part, but there is room for no more.
    Beyond,
}

/// Fills parts with items that are canonical JSON already, in identity order.
///
/// Each part is what an object takes: [`PART_BYTES`] always are, however badly they compress. A larger item gets a
/// part of its own, if it is small enough when compressed.
///
/// Where there is room for it parts are smaller ([`Cut`]), so that a change writes less, and end behind items that are
/// chosen by their content: an item that comes, goes or grows moves the end of its own part, seldom of more.
#[derive(Debug, Default)]
pub struct PartWriter {
    known: Arc<[Part]>,
    full: Vec<Part>,
    json: Vec<u8>,
    left_out: LeftOut,
    cut: Cut,
    /// Most bytes of all items, each with its comma, where that is less than what the parts hold.
    most: Option<usize>,
    bytes: usize,
}

impl PartWriter {
    /// A writer of parts of this length, which does not compress again what is one of the parts in `known`.
    pub fn after(known: Arc<[Part]>, cut: Cut) -> Self {
        Self {
            known,
            cut,
            ..Self::default()
        }
    }

    /// A writer of at most so many bytes of canonical JSON.
    pub fn within(most: usize) -> Self {
        Self {
            most: Some(most),
            ..Self::default()
        }
    }

    /// Adds an item, and says where it will be; one that does not fit is left out, and so are all after one for which
    /// there is no room.
    ///
    /// # Errors
    /// Compression failed.
    pub fn push(&mut self, item: &[u8]) -> Result<Option<PlaceInParts>, SectionError> {
        match self.try_push(item)? {
            Fit::At(place) => return Ok(Some(place)),
            Fit::TooLarge(why) => {
                self.left_out.too_large(&name_of(item, self.left_out.items), &why);
                self.left_out.items += 1;
            }
            Fit::Beyond => {}
        }
        Ok(None)
    }

    /// As [`PartWriter::push`], but one that is too large is neither counted nor named.
    ///
    /// # Errors
    /// As there.
    pub fn try_push(&mut self, item: &[u8]) -> Result<Fit, SectionError> {
        let fit = self.place(item)?;
        match &fit {
            Fit::At(_) => {
                self.left_out.items += 1;
                self.bytes += item.len() + 1;
            }
            Fit::Beyond => {
                let most = self.most;
                self.left_out.items += 1;
                self.left_out.beyond(|| room(most));
            }
            Fit::TooLarge(_) => {}
        }
        Ok(fit)
    }

    fn place(&mut self, item: &[u8]) -> Result<Fit, SectionError> {
        let is_over = |most: usize| self.bytes + item.len() + 1 > most;
        if self.left_out.is_full() || self.most.is_some_and(is_over) {
            return Ok(Fit::Beyond);
        }
        if item.len() + 2 > PART_BYTES {
            return self.place_alone(item);
        }
        if !self.json.is_empty() && self.json.len() + item.len() + 2 > PART_BYTES {
            // Before the rest costs memory.
            if self.full.len() + 1 >= MAX_PARTS {
                return Ok(Fit::Beyond);
            }
            self.flush()?;
        }
        if self.full.len() >= MAX_PARTS {
            return Ok(Fit::Beyond);
        }
        self.json.push(if self.json.is_empty() { b'[' } else { b',' });
        let at = self.json.len();
        self.json.extend_from_slice(item);
        let place = (self.full.len(), at..self.json.len());
        if self.cut.is_behind(item, self.json.len()) {
            self.flush()?;
        }
        Ok(Fit::At(place))
    }

    /// A part of its own for an item that fits beside no other.
    fn place_alone(&mut self, item: &[u8]) -> Result<Fit, SectionError> {
        if item.len() as u64 + 2 > MAX_DECODED {
            let why = format!("{} bytes exceed {MAX_DECODED}", item.len());
            return Ok(Fit::TooLarge(why));
        }
        if self.full.len() + usize::from(!self.json.is_empty()) >= MAX_PARTS {
            return Ok(Fit::Beyond);
        }
        let part = Part::new([b"[", item].concat(), &self.known)?;
        let data = part.packed.len().div_ceil(3) * 4;
        if data > MAX_DATA {
            let why = format!("{data} bytes compressed exceed {MAX_DATA}");
            return Ok(Fit::TooLarge(why));
        }
        self.flush()?;
        self.full.push(part);
        Ok(Fit::At((self.full.len() - 1, 1..item.len() + 1)))
    }

    /// Adds parts that are whole, of so many items, as they are: a copy of no bytes. Nothing is added, and it answers
    /// false, where there is no room for all of them.
    ///
    /// # Errors
    /// Compression failed.
    pub fn append(&mut self, parts: &[Part], items: usize) -> Result<bool, SectionError> {
        let taken = self.end_part()?;
        if self.left_out.is_full() || self.most.is_some() || taken + parts.len() > MAX_PARTS {
            return Ok(false);
        }
        self.full.extend_from_slice(parts);
        self.left_out.items += items;
        Ok(true)
    }

    /// Has the next item begin a part of its own, and says which number that part will have.
    ///
    /// # Errors
    /// Compression failed.
    pub fn end_part(&mut self) -> Result<usize, SectionError> {
        self.flush()?;
        Ok(self.full.len())
    }

    /// The parts that are full.
    pub fn parts(&self) -> &[Part] {
        &self.full
    }

    /// Makes a part of what was gathered.
    fn flush(&mut self) -> Result<(), SectionError> {
        if !self.json.is_empty() {
            let json = std::mem::take(&mut self.json);
            self.full.push(Part::new(json, &self.known)?);
        }
        Ok(())
    }

    /// The parts, and what is in none of them.
    ///
    /// # Errors
    /// Compression failed.
    pub fn finish(mut self) -> Result<Fitted, SectionError> {
        if self.json.is_empty() && self.full.is_empty() {
            self.json.push(b'[');
        }
        self.flush()?;
        Ok(Fitted {
            parts: self.full,
            left_out: self.left_out,
        })
    }
}

/// What all items may take, for people.
fn room(most: Option<usize>) -> String {
    match most {
        Some(most) => format!("{} KiB", most / 1024),
        None => format!("{MAX_PARTS} parts of {} KiB", PART_BYTES / 1024),
    }
}

#[cfg(test)]
mod tests;
