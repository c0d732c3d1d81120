//! D-Bus values as plain ones.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

/// Properties by name; `GetAll` of a unit, all interfaces.
pub type Map = HashMap<String, OwnedVariant>;

/// Most members of an array that are read: several times what any unit has.
const MOST: usize = 4096;

/// A string.
pub fn text(value: &OwnedVariant) -> Option<String> {
    match &**value {
        Variant::Str(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Strings of an array.
pub fn texts(value: &OwnedVariant) -> Vec<String> {
    let text = |value: &Variant<'_>| match value {
        Variant::Str(text) => Some(text.to_string()),
        _ => None,
    };
    items(value).iter().filter_map(text).collect()
}

/// What is in an array, as far as it is read.
pub fn items(value: &OwnedVariant) -> &[Variant<'static>] {
    match &**value {
        Variant::Array(values) => values.inner().get(..MOST).unwrap_or(values.inner()),
        _ => &[],
    }
}

/// The members of each structure of an array.
pub fn rows(value: &OwnedVariant) -> impl Iterator<Item = &[Variant<'static>]> + '_ {
    items(value).iter().filter_map(|value| match value {
        Variant::Structure(fields) => Some(fields.fields()),
        _ => None,
    })
}

/// Pairs of strings: `a(ss)`.
pub fn pairs(value: &OwnedVariant) -> Vec<(String, String)> {
    let pair = |fields: &[Variant<'static>]| match fields {
        [Variant::Str(first), Variant::Str(second), ..] => Some((first.to_string(), second.to_string())),
        _ => None,
    };
    rows(value).filter_map(pair).collect()
}

/// A boolean.
pub fn truth(value: &OwnedVariant) -> bool {
    matches!(&**value, Variant::Bool(true))
}

/// A number that is not negative.
pub fn number(value: Option<&OwnedVariant>) -> Option<u64> {
    match &**value? {
        Variant::U64(n) => Some(*n),
        Variant::U32(n) => Some(u64::from(*n)),
        _ => None,
    }
}
