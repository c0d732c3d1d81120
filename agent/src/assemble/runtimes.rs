//! The AI runtimes among units, containers and processes. What an item was recognised as is remembered for as long as
//! it is the same allocation.

use std::collections::HashMap;
use std::sync::Arc;

use safetytwin_crds::item::AiItem;
use safetytwin_crds::section::fit_parts;

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
        let mut all = Vec::with_capacity(self.known.len());
        for source in sources {
            self.recall(encode::units(source), ai::of_unit, &mut all);
            self.recall(encode::containers(source), ai::of_container, &mut all);
            self.recall(encode::processes(source), ai::of_process, &mut all);
        }
        self.of = sources.to_vec();
        let mut found: Vec<Arc<AiItem>> = all.iter().filter_map(|(_, item)| item.clone()).collect();
        self.known = all.into_iter().collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        fit_parts(&found)
    }

    fn recall<T>(
        &self,
        items: &[Arc<T>],
        recognise: impl Fn(&T) -> Option<AiItem>,
        all: &mut Vec<(usize, Option<Arc<AiItem>>)>,
    ) {
        for item in items {
            let address = Arc::as_ptr(item).addr();
            let before = self.known.get(&address).cloned();
            all.push((address, before.unwrap_or_else(|| recognise(item).map(Arc::new))));
        }
    }
}
