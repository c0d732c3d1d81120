//! Items of a section, cut into parts.

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
#[derive(Debug, Default)]
pub struct PartWriter {
    known: Arc<[Part]>,
    full: Vec<Part>,
    json: Vec<u8>,
    left_out: LeftOut,
    /// Most bytes of all items, each with its comma, where that is less than what the parts hold.
    most: Option<usize>,
    bytes: usize,
}

impl PartWriter {
    /// A writer that does not compress again what is one of the parts in `known`.
    pub fn after(known: Arc<[Part]>) -> Self {
        Self {
            known,
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
        Ok(Fit::At((self.full.len(), at..self.json.len())))
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
mod tests {
    use super::super::decode_items;
    use super::*;

    /// Text that hardly compresses.
    fn noise(seed: u64, length: usize) -> String {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'#' + (state >> 33) as u8 % 90)
        };
        (0..length).map(next).filter(|c| *c != '\\').collect()
    }

    #[test]
    fn a_part_of_many_items_is_never_longer_than_an_object_takes() {
        assert!(zstd::zstd_safe::compress_bound(PART_BYTES).div_ceil(3) * 4 <= MAX_DATA);
    }

    #[test]
    fn an_item_that_no_object_takes_is_left_out_by_its_name_and_the_rest_is_written() {
        let item = |name: &str, text: String| serde_json::json!({"name": name, "text": text});
        let items = [
            item("a", "x".repeat(150_000)),
            item("b", noise(1, 400_000)),
            item("c", "x".repeat(1_000_000)),
            item("d", "x".repeat(MAX_DECODED as usize)),
            item("e", noise(2, 150_000)),
        ];
        let Fitted { parts, left_out } = fit_parts(&items).unwrap();
        let read: Vec<serde_json::Value> = parts
            .iter()
            .flat_map(|p| decode_items(&p.json().unwrap()).unwrap().0)
            .collect();
        assert_eq!(read, [items[0].clone(), items[2].clone(), items[4].clone()]);
        assert!(
            parts
                .iter()
                .all(|p| p.data(Encoding::ZstdBase64).unwrap().len() <= MAX_DATA)
        );
        let messages = left_out.messages();
        assert_eq!((messages.len(), left_out.kept()), (2, 3), "{messages:?}");
        assert!(messages[0].starts_with("item b: "), "{messages:?}");
        assert!(
            messages[0].ends_with(" bytes compressed exceed 262144"),
            "{messages:?}"
        );
        assert!(messages[1].starts_with("item d: 4194"), "{messages:?}");
        assert!(messages[1].ends_with(" bytes exceed 4194304"), "{messages:?}");
    }

    #[test]
    fn what_needs_more_than_sixteen_parts_is_cut_at_its_end() {
        let items: Vec<String> = (0..40).map(|n| format!("{n:0>60000}").repeat(2)).collect();
        let large: Vec<String> = (0..40).map(|n| format!("{n:0>60000}").repeat(5)).collect();
        for items in [items, large] {
            let Fitted { parts, left_out } = fit_parts(&items).unwrap();
            assert_eq!((parts.len(), left_out.kept()), (16, 16));
            let last: Vec<String> = decode_items(&parts[15].json().unwrap()).unwrap().0;
            assert_eq!(last, items[15..16]);
            let message = "24 of 40 items are left out: more than 16 parts of 190 KiB";
            assert_eq!(left_out.messages(), [message]);
        }
    }

    #[test]
    fn an_item_is_where_the_writer_said_it_would_be() {
        let items = ["a".into(), "b".repeat(PART_BYTES), "c".into(), "d".into()];
        let items = items.map(|text: String| serde_json::to_vec(&text).unwrap());
        let mut writer = PartWriter::default();
        let places: Vec<PlaceInParts> = items.iter().map(|i| writer.push(i).unwrap().unwrap()).collect();
        let parts = writer.finish().unwrap().parts;
        assert_eq!(parts.len(), 3);
        for ((part, at), item) in places.into_iter().zip(&items) {
            assert_eq!(&parts[part].json().unwrap()[at], item);
        }
    }
}
