//! What of a list does not fit, as a reader of its section is told.

use serde::Deserialize;

use crate::names::printable;

/// So many items that are too large are named; a message is short.
const NAMED: usize = 2;

/// The items of a list that are left out because they, or all together, are too large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many items the list has.
    pub(super) items: usize,
    /// What is said of the first that are too large by themselves.
    too_large: Vec<String>,
    more_too_large: usize,
    /// Those for which there was no room, and why there is none.
    beyond: usize,
    room: String,
}

impl LeftOut {
    /// Of a list of so many items, nothing yet.
    pub fn of(items: usize) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }

    /// An item can never fit; `why` is for people.
    pub fn too_large(&mut self, name: &str, why: &str) {
        if self.too_large.len() < NAMED {
            self.too_large
                .push(format!("item {}: {why}", printable(name, 80)));
        } else {
            self.more_too_large += 1;
        }
    }

    /// An item is one too many; `room` is what all may take, for people.
    pub fn beyond(&mut self, room: impl FnOnce() -> String) {
        if self.beyond == 0 {
            self.room = room();
        }
        self.beyond += 1;
    }

    /// Whether there was no room for an item: then there is none for those after it, so that what is left out
    /// is always the end of the list.
    pub fn is_full(&self) -> bool {
        self.beyond > 0
    }

    /// How many are not left out.
    pub fn kept(&self) -> usize {
        let too_large = self.too_large.len() + self.more_too_large;
        self.items.saturating_sub(too_large + self.beyond)
    }

    /// Why the list is not whole; nothing when it is.
    pub fn messages(&self) -> Vec<String> {
        let mut messages = self.too_large.clone();
        if self.more_too_large > 0 {
            messages.push(format!("{} more items are too large", self.more_too_large));
        }
        if self.is_full() {
            messages.push(format!(
                "{} of {} items are left out: more than {}",
                self.beyond, self.items, self.room
            ));
        }
        messages
    }
}

/// The fields that are the identity of an item, one of which each has.
#[derive(Deserialize)]
struct Identity {
    name: Option<serde_json::Value>,
    key: Option<serde_json::Value>,
    path: Option<serde_json::Value>,
}

/// What an item of which only the JSON is at hand is called; its place in the list when it says nothing.
pub fn name_of(item: &[u8], place: usize) -> String {
    let named = || {
        let identity: Identity = serde_json::from_slice(item).ok()?;
        let fields = [identity.name, identity.key, identity.path];
        let mut texts = fields.iter().flatten().filter_map(|field| field.as_str());
        texts.next().map(str::to_owned)
    };
    named().unwrap_or_else(|| place.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_shortly_and_counted_whole() {
        let mut left_out = LeftOut::of(10);
        assert_eq!((left_out.kept(), left_out.messages()), (10, vec![]));
        for name in ["a\u{1b}", "b", "c", "d"] {
            left_out.too_large(name, "too long");
        }
        for _ in 0..3 {
            left_out.beyond(|| "fits".into());
        }
        let messages = [
            "item a\\u{1b}: too long",
            "item b: too long",
            "2 more items are too large",
            "3 of 10 items are left out: more than fits",
        ];
        assert_eq!(
            (left_out.kept(), left_out.messages()),
            (3, messages.map(str::to_owned).into())
        );
    }

    #[test]
    fn an_item_is_called_by_its_identity_or_else_by_its_place() {
        assert_eq!(name_of(br#"{"name":"a","key":"k"}"#, 7), "a");
        assert_eq!(name_of(br#"{"path":"/etc/x","size":1}"#, 7), "/etc/x");
        for unnamed in [br#"{"name":{}}"#.as_slice(), b"[]", b"\"text\"", b"{"] {
            assert_eq!(name_of(unnamed, 7), "7");
        }
    }
}
