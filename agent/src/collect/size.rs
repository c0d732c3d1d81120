//! How many bytes of JSON a collector's findings are, and which of them are within its budget. What is the same
//! allocation as last time is not counted again: a look that finds one change costs that one.
//!
//! A list that is over its budget is cut, always at the end of its identity order, and says so: a host that runs too
//! much to be published whole is published in part.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use safetytwin_crds::item::{ContainerItem, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::LeftOut;
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

/// An item with an identity.
trait Named: Serialize {
    /// What lists of it are sorted by.
    fn name(&self) -> Cow<'_, str>;
}

impl Named for UnitItem {
    fn name(&self) -> Cow<'_, str> {
        self.name.as_str().into()
    }
}

impl Named for ContainerItem {
    fn name(&self) -> Cow<'_, str> {
        self.id().name.into()
    }
}

impl Named for ProcessItem {
    fn name(&self) -> Cow<'_, str> {
        self.key.as_str().into()
    }
}

/// The items that are within the budget, in identity order, where not all are.
type Cut<T> = Option<(Vec<Arc<T>>, LeftOut)>;

impl Sizes {
    /// What of `collected` is within `limit` bytes, and the bytes of that. It comes back in the allocations of last time
    /// where it is equal. Items, and what moves by itself, may each have so many.
    ///
    /// # Errors
    /// They are more than `limit`, and no list that could be cut.
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
        let shared = |collected: Collected| match last {
            Some(last) => collected.sharing(last),
            None => collected,
        };
        let mut collected = shared(collected);
        let same_content = last.is_some_and(|last| Arc::ptr_eq(&last.content, &collected.content));
        if !same_content && let Some((cut, left_out)) = self.content(&collected.content, limit)? {
            collected.content = cut.into();
            collected.gaps.extend(left_out.messages());
        }
        // What moves by itself is about as large as it was while it is of as many.
        if !(same_content && last.is_some_and(|last| entries(last) == entries(&collected))) {
            self.observed = bound(&mut collected.observed, limit);
        }
        let bytes = self.content + self.observed + json(&collected.gaps, limit)?;
        Ok((shared(collected), bytes))
    }

    /// Counts a content; answers what of it is within the limit, where not all is.
    fn content(
        &mut self,
        content: &Content,
        limit: usize,
    ) -> Result<Option<(Content, LeftOut)>, CollectError> {
        let before = std::mem::take(&mut self.items);
        Ok(match content {
            Content::Units {
                items,
                services,
                failed,
            } => {
                let units = |items| Content::Units {
                    items,
                    services: *services,
                    failed: *failed,
                };
                self.items(items, &before, limit)
                    .map(|(items, left_out)| (units(items), left_out))
            }
            Content::Containers(items) => self
                .items(items, &before, limit)
                .map(|(items, left_out)| (Content::Containers(items), left_out)),
            Content::Processes(items) => self
                .items(items, &before, limit)
                .map(|(items, left_out)| (Content::Processes(items), left_out)),
            // Encoded and bounded by its collector.
            Content::Listed(listed) => {
                self.content = listed.parts.iter().map(|part| part.bytes).sum();
                None
            }
            Content::Machine { .. } | Content::Load(_) => {
                self.content = json(content, limit)?;
                None
            }
        })
    }

    /// Counts items, of which `before` knows some.
    fn items<T: Named>(&mut self, items: &[Arc<T>], before: &HashMap<usize, usize>, limit: usize) -> Cut<T> {
        (self.content, self.items) = (0, HashMap::with_capacity(items.len()));
        if items.iter().all(|item| self.takes(item, before, limit)) {
            return None;
        }
        // Some of the first are known by now, whether or not they are the first by name.
        let mut before = before.clone();
        before.extend(self.items.drain());
        self.content = 0;
        let mut sorted = items.to_vec();
        sorted.sort_by(|a, b| a.name().cmp(&b.name()));
        let mut left_out = LeftOut::of(items.len());
        sorted.retain(|item| {
            let fits = !left_out.is_full() && self.takes(item, &before, limit);
            // One that would not fit alone takes no others with it.
            if !fits && !left_out.is_full() && self.bytes(item, &before, limit).is_none() {
                let why = format!("more than {} KiB", limit / 1024);
                left_out.too_large(&item.name(), &why);
            } else if !fits {
                left_out.beyond(|| format!("{} KiB", limit / 1024));
            }
            fits
        });
        Some((sorted, left_out))
    }

    /// Counts an item, unless the limit would be passed.
    fn takes<T: Named>(&mut self, item: &Arc<T>, before: &HashMap<usize, usize>, limit: usize) -> bool {
        let Some(bytes) = self.bytes(item, before, limit) else {
            return false;
        };
        let fits = self.content + bytes <= limit;
        if fits {
            self.content += bytes;
            self.items.insert(Arc::as_ptr(item).addr(), bytes);
        }
        fits
    }

    /// The bytes of an item; none when it alone passes the limit.
    fn bytes<T: Named>(&self, item: &Arc<T>, before: &HashMap<usize, usize>, limit: usize) -> Option<usize> {
        match before.get(&Arc::as_ptr(item).addr()) {
            Some(bytes) => Some(*bytes),
            None => json(&**item, limit).ok(),
        }
    }
}

/// Cuts lists in halves until all is within the limit, and says so; answers the bytes. What moves by itself is no
/// reason to know nothing of the items.
fn bound(observed: &mut Arc<Observed>, limit: usize) -> usize {
    let why = format!("lists are cut: more than {} KiB", limit / 1024);
    loop {
        if let Ok(bytes) = json(&**observed, limit) {
            return bytes;
        }
        let first = Arc::make_mut(observed);
        if first.split().is_none() {
            let unknown = vec![why];
            *first = Observed {
                unknown,
                ..Observed::default()
            };
            return json(first, usize::MAX).unwrap_or_default();
        }
        if !first.unknown.contains(&why) {
            first.unknown.insert(0, why.clone());
        }
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

    /// The keys of processes that a limit leaves, and the gaps.
    fn kept(items: &[Arc<ProcessItem>], limit: usize) -> (Vec<String>, Vec<String>) {
        let whole = Collected::whole(Content::Processes(items.to_vec()));
        let mut sizes = Sizes::default();
        let (first, bytes) = sizes.count(whole.clone(), limit).unwrap();
        assert!(bytes <= limit + json(&first.gaps, usize::MAX).unwrap(), "{bytes}");
        // The next look finds the same and costs no new allocation.
        let (again, same) = sizes.count(whole, limit).unwrap();
        assert!(Arc::ptr_eq(&first.content, &again.content) && same == bytes);
        assert_eq!(first.gaps, again.gaps);
        let Content::Processes(items) = &*first.content else {
            unreachable!()
        };
        let keys = items.iter().map(|item| item.key.clone()).collect();
        (keys, first.gaps)
    }

    #[test]
    fn a_list_over_its_limit_is_cut_at_its_end_whatever_order_it_comes_in() {
        let named = |key: &str, argument: &str| {
            let key = key.to_owned();
            Arc::new(ProcessItem {
                key,
                ..item(argument)
            })
        };
        let mut items: Vec<_> = (0..9).map(|n| named(&n.to_string(), &"x".repeat(1024))).collect();
        items.insert(2, named("15", &"x".repeat(8 * 1024)));
        let expected = ["0", "1", "2", "3"].map(str::to_owned).to_vec();
        let gaps = vec![
            "item 15: more than 5 KiB".to_owned(),
            "5 of 10 items are left out: more than 5 KiB".to_owned(),
        ];
        for _ in 0..items.len() {
            items.rotate_left(1);
            assert_eq!(kept(&items, 5 * 1024), (expected.clone(), gaps.clone()));
            items.reverse();
            assert_eq!(kept(&items, 5 * 1024), (expected.clone(), gaps.clone()));
        }
        let (all, none) = kept(&items, 64 * 1024);
        assert_eq!((all.len(), none), (10, vec![]));
    }

    #[test]
    fn what_moves_by_itself_is_cut_alone_and_says_so() {
        let unit = |n: usize| safetytwin_crds::item::observed::ObservedUnit {
            name: format!("{n:0>100}.service"),
            ..Default::default()
        };
        let both = Collected {
            observed: Arc::new(Observed {
                units: (0..64).map(unit).collect(),
                ..Observed::default()
            }),
            ..Collected::whole(Content::Processes(shared([item(&"y".repeat(600))])))
        };
        let (counted, _) = Sizes::default().count(both.clone(), 4 * 1024).unwrap();
        assert_eq!((&counted.content, counted.gaps.len()), (&both.content, 0));
        assert_eq!(counted.observed.units, both.observed.units[..16]);
        assert_eq!(counted.observed.unknown, ["lists are cut: more than 4 KiB"]);
        let (nothing, _) = Sizes::default().count(both.clone(), 800).unwrap();
        assert_eq!(nothing.content, both.content);
        assert_eq!(nothing.observed.units, both.observed.units[..4]);
    }

    #[test]
    fn what_is_no_list_is_within_its_limit_or_refused() {
        let machine = Content::Machine {
            item: Box::default(),
            summary: Default::default(),
        };
        let (_, bytes) = Sizes::default()
            .count(Collected::whole(machine.clone()), 4096)
            .unwrap();
        assert!(bytes > 100, "{bytes}");
        let refused = Sizes::default().count(Collected::whole(machine), 100);
        assert!(matches!(refused, Err(CollectError::Large(100))));
    }
}
