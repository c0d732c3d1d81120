//! How many bytes of JSON a collector's findings are. What is the same allocation as last time is not counted again:
//! a look that finds one change costs that one.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::{CollectError, Collected, Content};

/// What the last findings counted.
#[derive(Default)]
pub struct Sizes {
    /// They are held, so that no other item can come to lie at the same place.
    last: Option<Collected>,
    /// By the item's address.
    items: HashMap<usize, usize>,
    content: usize,
    observed: usize,
}

impl Sizes {
    /// The bytes of `collected`, which comes back in the allocations of last time where it is equal.
    ///
    /// # Errors
    /// They are more than `limit`.
    pub fn count(&mut self, collected: Collected, limit: usize) -> Result<(Collected, usize), CollectError> {
        let last = self.last.take();
        let counted = self.counted(collected, last.as_ref(), limit);
        match &counted {
            Ok((collected, _)) => self.last = Some(collected.clone()),
            // What was counted is let go of.
            Err(_) => *self = Self::default(),
        }
        counted
    }

    fn counted(
        &mut self,
        collected: Collected,
        last: Option<&Collected>,
        limit: usize,
    ) -> Result<(Collected, usize), CollectError> {
        let collected = match last {
            Some(last) => collected.sharing(last),
            None => collected,
        };
        let same_content = last.is_some_and(|last| Arc::ptr_eq(&last.content, &collected.content));
        if !same_content {
            (self.content, self.items) = self.content(&collected.content, limit)?;
        }
        // What moves by itself is about as large as it was while it is of as many.
        if !(same_content && last.is_some_and(|last| entries(last) == entries(&collected))) {
            self.observed = json(&*collected.observed, limit)?;
        }
        let bytes = self.content + self.observed + json(&collected.gaps, limit)?;
        if bytes > limit {
            return Err(CollectError::Large(limit));
        }
        Ok((collected, bytes))
    }

    fn content(
        &self,
        content: &Content,
        limit: usize,
    ) -> Result<(usize, HashMap<usize, usize>), CollectError> {
        match content {
            Content::Units { items, .. } => self.items(items, limit),
            Content::Containers(items) => self.items(items, limit),
            Content::Processes(items) => self.items(items, limit),
            // Encoded and bounded by its collector.
            Content::Listed(listed) => {
                let bytes = listed.parts.iter().map(|part| part.bytes);
                Ok((bytes.sum(), HashMap::new()))
            }
            Content::Machine { .. } | Content::Load(_) => Ok((json(content, limit)?, HashMap::new())),
        }
    }

    fn items<T: Serialize>(
        &self,
        items: &[Arc<T>],
        limit: usize,
    ) -> Result<(usize, HashMap<usize, usize>), CollectError> {
        let (mut sum, mut sizes) = (0, HashMap::with_capacity(items.len()));
        for item in items {
            let address = Arc::as_ptr(item).addr();
            let bytes = match self.items.get(&address) {
                Some(bytes) => *bytes,
                None => json(&**item, limit)?,
            };
            sum += bytes;
            if sum > limit {
                return Err(CollectError::Large(limit));
            }
            sizes.insert(address, bytes);
        }
        Ok((sum, sizes))
    }
}

fn entries(collected: &Collected) -> [usize; 5] {
    let observed = &collected.observed;
    [
        observed.units.len(),
        observed.containers.len(),
        observed.processes.len(),
        observed.usage.len(),
        observed.unknown.len(),
    ]
}

/// Counts what is written to it, up to a limit.
struct Counter {
    bytes: usize,
    limit: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes > self.limit {
            Err(std::io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(bytes.len())
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes of JSON; it stops at the limit and keeps nothing.
fn json(value: &impl Serialize, limit: usize) -> Result<usize, CollectError> {
    let mut counter = Counter { bytes: 0, limit };
    serde_json::to_writer(&mut counter, value).map_err(|_| CollectError::Large(limit))?;
    Ok(counter.bytes)
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::item::{Observed, ProcessItem, Text};

    use super::super::shared;
    use super::*;

    fn item(argument: &str) -> ProcessItem {
        let item = serde_json::from_value::<ProcessItem>(serde_json::json!({
            "key": "k", "comm": "x", "argv": [], "user": {"name": "root"}, "group": {"name": "root"}, "ordinal": 0,
        }));
        let argv = vec![Text(argument.as_bytes().to_vec())];
        ProcessItem {
            argv,
            ..item.unwrap()
        }
    }

    fn bytes(sizes: &mut Sizes, content: &Content) -> usize {
        sizes
            .count(Collected::whole(content.clone()), usize::MAX)
            .unwrap()
            .1
    }

    #[test]
    fn an_item_counts_the_same_whether_it_was_counted_before_or_not() {
        let mut items = shared([item("a"), item("bb"), item("ccc")]);
        let mut sizes = Sizes::default();
        bytes(&mut sizes, &Content::Processes(items.clone()));
        items.remove(0);
        items.push(Arc::new(item("dddd")));
        let content = Content::Processes(items);
        assert_eq!(
            bytes(&mut sizes, &content),
            bytes(&mut Sizes::default(), &content)
        );
    }

    #[test]
    fn what_is_equal_comes_back_as_the_allocation_of_last_time() {
        let collected = || Collected::whole(Content::Processes(shared([item("a")])));
        let mut sizes = Sizes::default();
        let (first, bytes) = sizes.count(collected(), usize::MAX).unwrap();
        let (second, again) = sizes.count(collected(), usize::MAX).unwrap();
        assert!(Arc::ptr_eq(&first.content, &second.content));
        assert!(Arc::ptr_eq(&first.observed, &second.observed));
        assert_eq!(bytes, again);
    }

    #[test]
    fn content_and_what_is_observed_share_one_limit() {
        let unknown = vec!["x".repeat(600)];
        let both = Collected {
            observed: Arc::new(Observed {
                unknown,
                ..Observed::default()
            }),
            ..Collected::whole(Content::Processes(shared([item(&"y".repeat(600))])))
        };
        let mut sizes = Sizes::default();
        let (_, bytes) = sizes.count(both.clone(), usize::MAX).unwrap();
        assert!(sizes.count(both.clone(), bytes).is_ok());
        for limit in [bytes - 1, 700, 100] {
            let error = sizes.count(both.clone(), limit).unwrap_err();
            assert!(matches!(error, CollectError::Large(l) if l == limit), "{error}");
        }
    }
}
