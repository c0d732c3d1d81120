//! The items of one section as they are written, and what they were made of. An item that is the same allocation as
//! last time is copied from what was written then.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use safetytwin_crds::canonical::canonical_json;
use safetytwin_crds::item::{ContainerItem, Machine, ProcessItem, UnitItem};
use safetytwin_crds::section::{
    Cut, Fitted, LeftOut, Part, PartWriter, PlaceInParts, SectionError, SectionName, fit_parts,
};
use serde::Serialize;

use crate::collect::Content;

/// What a collector found; the board keeps the allocation for as long as the content is equal.
pub type Source = Arc<Content>;

/// The parts of all items that fit.
pub type Parts = Result<Fitted, SectionError>;

/// What is published of a section's items.
pub struct Written {
    /// How many.
    pub items: i32,
    /// Their parts.
    pub parts: Arc<[Part]>,
    /// Why that is not all of them.
    pub gaps: Vec<String>,
}

/// The encoded items of a section.
pub struct Encoded {
    /// Held, so that no other content can come to lie at the same place.
    of: Vec<Source>,
    /// The content, or why it cannot be written.
    pub written: Result<Written, SectionError>,
    layout: Layout,
}

/// How items lie in parts.
#[derive(Default)]
struct Layout {
    /// Where each is, by its address.
    places: HashMap<usize, PlaceInParts>,
    /// How long the parts are.
    cut: Option<Cut>,
}

impl Encoded {
    /// What was made of `of`.
    pub fn new(parts: Parts, of: Vec<Source>) -> Self {
        let written = |Fitted { parts, left_out }: Fitted| Written {
            items: count(left_out.kept()),
            parts: parts.into(),
            gaps: left_out.messages(),
        };
        Self {
            of,
            written: parts.map(written),
            layout: Layout::default(),
        }
    }

    /// Merges and encodes what feeds this section; `last` is what it was before.
    pub fn section(name: SectionName, of: Vec<Source>, last: Option<&Self>) -> Self {
        if let Some(Content::Listed(listed)) = of.first().map(|source| &**source) {
            return Self {
                written: Ok(Written {
                    items: count(listed.items),
                    parts: Arc::clone(&listed.parts),
                    gaps: Vec::new(),
                }),
                layout: Layout::default(),
                of,
            };
        }
        let mut layout = Layout::default();
        let parts = match name {
            SectionName::Units => {
                let mut items: Vec<&Arc<UnitItem>> = of.iter().flat_map(|source| units(source)).collect();
                items.sort_by(|a, b| a.name.cmp(&b.name));
                written(&items, last, &mut layout)
            }
            SectionName::Containers => {
                let mut items: Vec<&Arc<ContainerItem>> =
                    of.iter().flat_map(|source| containers(source)).collect();
                items.sort_by_cached_key(|container| container.id());
                written(&items, last, &mut layout)
            }
            SectionName::Processes => {
                let mut items: Vec<&Arc<ProcessItem>> =
                    of.iter().flat_map(|source| processes(source)).collect();
                items.sort_by(|a, b| a.key.cmp(&b.key));
                written(&items, last, &mut layout)
            }
            SectionName::Machine => {
                let items: Vec<&Machine> = of.iter().filter_map(|source| machine(source)).collect();
                fit_parts(&items)
            }
            // Nothing feeds it yet.
            _ => Ok(Fitted {
                parts: Vec::new(),
                left_out: LeftOut::default(),
            }),
        };
        Self {
            layout,
            ..Self::new(parts, of)
        }
    }

    /// Its parts; none when it could not be written.
    fn parts(&self) -> Arc<[Part]> {
        self.written
            .as_ref()
            .map(|written| Arc::clone(&written.parts))
            .unwrap_or_default()
    }

    /// Whether it was made of just these.
    pub fn is_of(&self, sources: &[Source]) -> bool {
        let pairs = self.of.iter().zip(sources);
        self.of.len() == sources.len() && pairs.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// Items in identity order as parts. What `last` was made of still lives, so no other item has the address of one of
/// its items.
fn written<T: Serialize>(items: &[&Arc<T>], last: Option<&Encoded>, layout: &mut Layout) -> Parts {
    let known = last.map(Encoded::parts).unwrap_or_default();
    let before: Vec<Vec<u8>> = known.iter().map(|part| part.json().unwrap_or_default()).collect();
    let written = |address: usize| {
        let (part, place) = last?.layout.places.get(&address)?;
        before.get(*part)?.get(place.clone())
    };
    let mut encoded = Vec::with_capacity(items.len());
    for item in items {
        let address = Arc::as_ptr(item).addr();
        let json = match written(address) {
            Some(json) => Cow::Borrowed(json),
            None => Cow::Owned(canonical_json(item).map_err(SectionError::Encode)?),
        };
        encoded.push((address, json));
    }
    let total = encoded.iter().map(|(_, json)| json.len() + 1).sum();
    let cut = Cut::of(total, last.and_then(|last| last.layout.cut));
    layout.cut = Some(cut);
    let mut parts = PartWriter::after(known, cut);
    for (address, json) in encoded {
        if let Some(place) = parts.push(&json)? {
            layout.places.insert(address, place);
        }
    }
    parts.finish()
}

/// As the head writes it.
pub fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

/// The units in this content.
pub fn units(content: &Content) -> &[Arc<UnitItem>] {
    match content {
        Content::Units { items, .. } => items,
        _ => &[],
    }
}

/// The containers in this content.
pub fn containers(content: &Content) -> &[Arc<ContainerItem>] {
    match content {
        Content::Containers(items) => items,
        _ => &[],
    }
}

/// The processes in this content.
pub fn processes(content: &Content) -> &[Arc<ProcessItem>] {
    match content {
        Content::Processes(items) => items,
        _ => &[],
    }
}

fn machine(content: &Content) -> Option<&Machine> {
    match content {
        Content::Machine { item, .. } => Some(item),
        _ => None,
    }
}
