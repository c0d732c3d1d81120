//! Dependencies in force between units. An agent holds thousands of them, most of which name the same few units.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Properties of the unit interface that name units, both directions (org.freedesktop.systemd1(5)); sorted.
pub const PROPERTIES: [&str; 27] = [
    "After",
    "Before",
    "BindsTo",
    "BoundBy",
    "ConflictedBy",
    "Conflicts",
    "ConsistsOf",
    "JoinsNamespaceOf",
    "OnFailure",
    "OnFailureOf",
    "OnSuccess",
    "OnSuccessOf",
    "PartOf",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "ReloadPropagatedFrom",
    "RequiredBy",
    "Requires",
    "Requisite",
    "RequisiteOf",
    "StopPropagatedFrom",
    "TriggeredBy",
    "Triggers",
    "UpheldBy",
    "Upholds",
    "WantedBy",
    "Wants",
];

/// Dependencies and ordering of a unit, both directions: property to sorted unit names, and written so. Unit names are
/// allocations that others may share; of a property that is not among [`PROPERTIES`] nothing is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct InForce(Arc<[Dependency]>);

/// Place of the property in [`PROPERTIES`], and what it names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    property: u8,
    unit: Arc<str>,
}

impl Dependency {
    fn property(&self) -> &'static str {
        PROPERTIES.get(usize::from(self.property)).unwrap_or(&"")
    }
}

impl InForce {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a property names.
    pub fn get(&self, property: &str) -> impl Iterator<Item = &str> {
        let property = place(property);
        let named = self.0.iter().filter(move |d| Some(d.property) == property);
        named.map(|dependency| &*dependency.unit)
    }

    /// The same with other names where `change` has one; the same allocation where it has none.
    pub fn renamed(&self, mut change: impl FnMut(&str) -> Option<Arc<str>>) -> Self {
        let others: Vec<Option<Arc<str>>> = self.0.iter().map(|d| change(&d.unit)).collect();
        if others.iter().all(Option::is_none) {
            return self.clone();
        }
        let pairs = self.0.iter().zip(others);
        pairs
            .map(|(d, other)| (d.property(), other.unwrap_or_else(|| Arc::clone(&d.unit))))
            .collect()
    }

    /// Whether both are one allocation.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// By property.
    fn lists(&self) -> impl Iterator<Item = (&'static str, &[Dependency])> {
        let lists = self.0.chunk_by(|a, b| a.property == b.property);
        lists.filter_map(|list| Some((list.first()?.property(), list)))
    }
}

fn place(property: &str) -> Option<u8> {
    let place = PROPERTIES.binary_search(&property).ok()?;
    u8::try_from(place).ok()
}

impl<P: AsRef<str>> FromIterator<(P, Arc<str>)> for InForce {
    fn from_iter<I: IntoIterator<Item = (P, Arc<str>)>>(named: I) -> Self {
        let named = named.into_iter().filter_map(|(property, unit)| {
            let property = place(property.as_ref())?;
            Some(Dependency { property, unit })
        });
        let mut all: Vec<Dependency> = named.collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into())
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists().map(|(property, list)| (property, Units(list)));
        f.debug_map().entries(lists).finish()
    }
}

/// The names of a list.
struct Units<'a>(&'a [Dependency]);

impl fmt::Debug for Units<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|d| &d.unit)).finish()
    }
}

impl Serialize for Units<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|d| &*d.unit))
    }
}

impl Serialize for InForce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (property, list) in self.lists() {
            map.serialize_entry(property, &Units(list))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for InForce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lists = BTreeMap::<String, Vec<Arc<str>>>::deserialize(deserializer)?;
        let named = lists
            .iter()
            .flat_map(|(property, list)| list.iter().map(move |unit| (property, Arc::clone(unit))));
        Ok(named.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> InForce {
        let named = [
            ("Wants", "b"),
            ("After", "z"),
            ("Wants", "a"),
            ("Other", "x"),
            ("Wants", "a"),
        ];
        named
            .map(|(property, unit)| (property, Arc::from(unit)))
            .into_iter()
            .collect()
    }

    #[test]
    fn dependencies_are_written_as_lists_by_property_and_read_back_as_they_were() {
        assert!(PROPERTIES.is_sorted());
        let json = serde_json::to_string(&some()).unwrap();
        assert_eq!(json, r#"{"After":["z"],"Wants":["a","b"]}"#);
        assert_eq!(serde_json::from_str::<InForce>(&json).unwrap(), some());
        assert_eq!(
            format!("{:?}", some()),
            r#"{"After": ["z"], "Wants": ["a", "b"]}"#
        );
        assert_eq!(some().get("Wants").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(some().get("Other").count(), 0);
        assert!(InForce::default().is_empty());
    }

    #[test]
    fn what_is_not_renamed_stays_the_same_allocation() {
        let before = some();
        assert!(before.renamed(|_| None).is_same(&before));
        let after = before.renamed(|unit| (unit == "a").then(|| Arc::from("c")));
        assert_eq!(after.get("Wants").collect::<Vec<_>>(), ["b", "c"]);
        assert!(!after.is_same(&before));
    }
}
