//! The AI runtimes among units, containers and processes. What an item was recognised as is remembered for as long as
//! it is the same allocation.

use std::collections::HashMap;
use std::sync::Arc;

use safetytwin_crds::item::AiItem;
use safetytwin_crds::section::encode_parts;

use super::encode::{self, Parts, Source};
use crate::ai;

/// What was recognised last.
#[derive(Default)]
pub struct Runtimes {
    /// Held, so that no other item can come to lie at the address of one of theirs.
    of: Vec<Source>,
    /// By address of the item.
    known: HashMap<usize, Option<Arc<AiItem>>>,
}

impl Runtimes {
    /// Those among the items of `sources`, in the order of their keys.
    pub fn among(&mut self, sources: &[Source]) -> Parts {
        let mut known = HashMap::with_capacity(self.known.len());
        for source in sources {
            self.recall(encode::units(source), ai::of_unit, &mut known);
            self.recall(encode::containers(source), ai::of_container, &mut known);
            self.recall(encode::processes(source), ai::of_process, &mut known);
        }
        self.of = sources.to_vec();
        let mut found: Vec<Arc<AiItem>> = known.values().flatten().cloned().collect();
        self.known = known;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        (encode::count(found.len()), encode_parts(&found))
    }

    fn recall<T>(
        &self,
        items: &[Arc<T>],
        recognise: impl Fn(&T) -> Option<AiItem>,
        known: &mut HashMap<usize, Option<Arc<AiItem>>>,
    ) {
        for item in items {
            let address = Arc::as_ptr(item).addr();
            let before = self.known.get(&address).cloned();
            known.insert(address, before.unwrap_or_else(|| recognise(item).map(Arc::new)));
        }
    }
}
