//! Canonical JSON: keys in byte order and no white space, the bytes that digests are taken over.
//!
//! ```text
//! value ─ serde_json ─▶ {"b":1,"a":2   written as it comes, in one buffer
//!                       end of object ─▶ {"a":2,"b":1   its entries put in order, where they are not yet
//! ```
//! Costs one copy of the objects whose fields are not declared in order, and no tree of values.

use std::cell::RefCell;
use std::io::{self, Write};
use std::mem;
use std::ops::Range;
use std::rc::Rc;

use serde::Serialize;
use serde_json::ser::Formatter;

/// JSON with keys in byte order and no white space.
///
/// # Errors
/// A map has keys that are no strings, numbers or booleans; or the value's own error.
pub fn canonical_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let buffer = Buffer::default();
    let sorting = Sorting {
        buffer: buffer.clone(),
        objects: Vec::new(),
        entries: Vec::new(),
        scratch: Vec::new(),
    };
    value.serialize(&mut serde_json::Serializer::with_formatter(
        buffer.clone(),
        sorting,
    ))?;
    Ok(mem::take(&mut *buffer.0.borrow_mut()))
}

/// What is written so far; the formatter looks back into it.
#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where an entry of an object stands in the buffer.
struct Entry {
    /// Its key, quotes included.
    key: Range<usize>,
    /// After its value; known when the next entry or the end of the object comes.
    end: usize,
}

/// Writes compact JSON, and puts the entries of each object in order at its end.
struct Sorting {
    buffer: Buffer,
    /// For each object that is open, where its entries begin in `entries`.
    objects: Vec<usize>,
    entries: Vec<Entry>,
    scratch: Vec<u8>,
}

impl Sorting {
    fn end_entry(&mut self, end: usize) {
        if let Some(entry) = self.entries.last_mut() {
            entry.end = end;
        }
    }

    /// Puts the entries from `first` on in order; of two with one key the later stays, as in a map.
    fn sort(&mut self, first: usize) {
        let mut entries = self.entries.split_off(first);
        let mut bytes = self.buffer.0.borrow_mut();
        let Some(start) = entries.first().map(|entry| entry.key.start) else {
            return;
        };
        if entries
            .windows(2)
            .all(|two| matches!(two, [a, b] if before(&bytes, a, b)))
        {
            return;
        }
        entries.reverse();
        entries.sort_by(|a, b| key(&bytes, a).cmp(&key(&bytes, b)));
        entries.dedup_by(|later, kept| key(&bytes, later) == key(&bytes, kept));
        self.scratch.clear();
        for entry in &entries {
            if !self.scratch.is_empty() {
                self.scratch.push(b',');
            }
            let whole = bytes.get(entry.key.start..entry.end);
            self.scratch.extend_from_slice(whole.unwrap_or_default());
        }
        bytes.truncate(start);
        bytes.extend_from_slice(&self.scratch);
    }
}

fn before(bytes: &[u8], a: &Entry, b: &Entry) -> bool {
    key(bytes, a) < key(bytes, b)
}

/// A key as order goes: what it means, not how it is escaped.
fn key<'a>(bytes: &'a [u8], entry: &Entry) -> std::borrow::Cow<'a, [u8]> {
    let quoted = bytes.get(entry.key.clone()).unwrap_or_default();
    let inner = quoted
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let inner = inner.unwrap_or(quoted);
    if !inner.contains(&b'\\') {
        return inner.into();
    }
    match serde_json::from_slice::<String>(quoted) {
        Ok(meant) => meant.into_bytes().into(),
        Err(_) => inner.into(),
    }
}

impl Formatter for Sorting {
    /// As a number in a [`serde_json::Value`] is written.
    fn write_f32<W: Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.objects.push(self.entries.len());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        let mut at = self.buffer.0.borrow().len();
        if !first {
            self.end_entry(at);
            writer.write_all(b",")?;
            at += 1;
        }
        self.entries.push(Entry { key: at..at, end: at });
        Ok(())
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        let at = self.buffer.0.borrow().len();
        if let Some(entry) = self.entries.last_mut() {
            entry.key.end = at;
        }
        Ok(())
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let first = self.objects.pop().unwrap_or_default();
        let at = self.buffer.0.borrow().len();
        if self.entries.len() > first {
            self.end_entry(at);
            self.sort(first);
        }
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// By way of a tree of values, whose maps are ordered: slower, and plain to see.
    fn by_tree<T: Serialize>(value: &T) -> String {
        serde_json::to_string(&serde_json::to_value(value).unwrap()).unwrap()
    }

    fn canonical<T: Serialize>(value: &T) -> String {
        String::from_utf8(canonical_json(value).unwrap()).unwrap()
    }

    #[derive(Serialize)]
    struct Outer {
        z: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        y: Option<u8>,
        b: Vec<Inner>,
        a: BTreeMap<u32, &'static str>,
    }

    #[derive(Serialize)]
    enum Inner {
        Named { late: f32, early: f64 },
        Pair(i64, ()),
        Plain,
    }

    #[test]
    fn keys_are_in_order_whatever_the_order_of_the_fields() {
        let value = Outer {
            z: 1,
            y: None,
            b: vec![
                Inner::Named {
                    late: 0.1,
                    early: 0.1,
                },
                Inner::Pair(-1, ()),
                Inner::Plain,
            ],
            a: BTreeMap::from([(10, "\u{7}"), (9, "\"ü\"")]),
        };
        let expected = r#"{"a":{"10":"\u0007","9":"\"ü\""},"b":[{"Named":{"early":0.1,"late":0.10000000149011612}},{"Pair":[-1,null]},"Plain"],"z":1}"#;
        assert_eq!(canonical(&value), expected);
        assert_eq!(by_tree(&value), expected);
    }

    /// Writes its entries in the order given, as a flattened or a hand-written map may.
    struct Entries(Vec<(String, Value)>);

    impl Serialize for Entries {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
        }
    }

    #[test]
    fn of_two_entries_with_one_key_the_later_stays_and_escapes_do_not_change_the_order() {
        let entries = |keys: &[&str]| {
            let numbered = keys.iter().enumerate();
            Entries(numbered.map(|(n, key)| ((*key).to_owned(), json!(n))).collect())
        };
        assert_eq!(canonical(&entries(&["b", "a", "b"])), r#"{"a":1,"b":2}"#);
        assert_eq!(canonical(&entries(&["a", "a"])), r#"{"a":1}"#);
        assert_eq!(
            canonical(&entries(&["aA", "a\"", "a"])),
            r#"{"a":2,"a\"":1,"aA":0}"#
        );
    }

    #[test]
    fn keys_that_json_has_no_form_for_are_an_error() {
        assert!(canonical_json(&BTreeMap::from([(vec![1], 1)])).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn entries_in_any_order_come_out_as_a_tree_of_values_has_them(
            entries in proptest::collection::vec((any::<String>(), any_value()), 0..8),
        ) {
            let entries = Entries(entries);
            prop_assert_eq!(canonical(&entries), by_tree(&entries));
        }
    }
}
