//! The objects, their versions, and the log that watches read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::rules::{self, Failure, Write, is_owned_by, without_owner};
use super::{Key, Kind};

/// One change, as watches tell it.
#[derive(Clone, Debug)]
pub struct Logged {
    pub version: u64,
    pub key: Key,
    /// ADDED, MODIFIED or DELETED.
    pub change: &'static str,
    pub object: Value,
}

/// All objects.
#[derive(Clone, Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    log: Vec<Logged>,
}

impl Store {
    /// Version of the newest write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The same objects without the log.
    pub fn fork(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            version: self.version,
            log: Vec::new(),
        }
    }

    /// All objects, by key.
    pub fn objects(&self) -> &BTreeMap<Key, Value> {
        &self.objects
    }

    /// An object, if it is there.
    pub fn find(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// An object.
    pub fn get(&self, key: &Key) -> Result<&Value, Failure> {
        self.find(key).ok_or_else(|| Failure::not_found(key))
    }

    /// Objects of a kind.
    pub fn of_kind(&self, kind: &Kind) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().filter(move |(key, _)| key.kind == *kind)
    }

    /// The list that a call asks for.
    pub fn list(&self, call: &Call) -> Result<Value, Failure> {
        let kind = &call.kind;
        if let Some((field, _)) = &call.selector
            && !kind.selectable.contains(&field.as_str())
        {
            return Err(Failure::bad(&format!("field label not supported: {field}")));
        }
        let wanted = |object: &Value| {
            call.selector.as_ref().is_none_or(|(field, value)| {
                let path = format!("/{}", field.replace('.', "/"));
                object.pointer(&path).and_then(Value::as_str) == Some(value)
            })
        };
        let items: Vec<Value> = self
            .of_kind(kind)
            .filter(|(key, object)| {
                (call.namespace.is_empty() || key.namespace == call.namespace) && wanted(object)
            })
            .map(|(_, object)| shown(call, object))
            .collect();
        let (api_version, list) = if call.metadata_only {
            (
                "meta.k8s.io/v1".to_owned(),
                "PartialObjectMetadataList".to_owned(),
            )
        } else {
            (kind.api_version(), format!("{}List", kind.kind))
        };
        Ok(json!({
            "apiVersion": api_version, "kind": list,
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": items,
        }))
    }

    /// Changes after a version.
    pub fn after(&self, version: u64) -> impl Iterator<Item = &Logged> {
        let begin = self.log.partition_point(|logged| logged.version <= version);
        self.log[begin..].iter()
    }

    /// Carries out a write; answers the object as it is then. What was owned by an object that goes,
    /// goes too, as the garbage collector does it.
    pub fn commit(&mut self, write: Write, now: Timestamp) -> Value {
        match write {
            Write::Nothing(object) => object,
            Write::Put(key, object) => self.put(key, object),
            Write::Remove(key) => self.remove(&key, now),
        }
    }

    fn put(&mut self, key: Key, mut object: Value) -> Value {
        self.version += 1;
        rules::meta(&mut object).insert("resourceVersion".into(), json!(self.version.to_string()));
        let before = self.objects.insert(key.clone(), object.clone());
        self.log.push(Logged {
            version: self.version,
            key,
            change: if before.is_some() { "MODIFIED" } else { "ADDED" },
            object: object.clone(),
        });
        object
    }

    fn remove(&mut self, key: &Key, now: Timestamp) -> Value {
        let Some(mut object) = self.objects.remove(key) else {
            return Value::Null;
        };
        self.version += 1;
        rules::meta(&mut object).insert("resourceVersion".into(), json!(self.version.to_string()));
        self.log.push(Logged {
            version: self.version,
            key: key.clone(),
            change: "DELETED",
            object: object.clone(),
        });
        let uid = rules::text(&object, "/metadata/uid");
        let orphans: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, dependent)| is_owned_by(dependent, &uid))
            .map(|(key, _)| key.clone())
            .collect();
        for orphan in orphans {
            self.collect(orphan, &uid, now);
        }
        object
    }

    fn collect(&mut self, key: Key, owner: &str, now: Timestamp) {
        let Some(object) = self.objects.get(&key) else {
            return;
        };
        let write = match without_owner(object, owner) {
            Some(kept) => Write::Put(key, kept),
            // No finalizer of another object is in the way: deletion has no preconditions here.
            None => match self.delete(&key, &Value::Null, now) {
                Ok(write) => write,
                Err(_) => return,
            },
        };
        self.commit(write, now);
    }
}

/// An object as a call wants it.
fn shown(call: &Call, object: &Value) -> Value {
    if !call.metadata_only {
        return object.clone();
    }
    let mut partial = Map::new();
    partial.insert("apiVersion".into(), json!("meta.k8s.io/v1"));
    partial.insert("kind".into(), json!("PartialObjectMetadata"));
    partial.insert("metadata".into(), object["metadata"].clone());
    Value::Object(partial)
}
