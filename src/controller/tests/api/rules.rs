//! The rules of writing: what becomes of an object, or why it is refused. Nothing is stored here.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::call::Part;
use super::{Key, Kind, Store};

/// A planned write.
#[derive(Clone, Debug)]
pub enum Write {
    /// The object is so already: no new version, no event.
    Nothing(Value),
    Put(Key, Value),
    Remove(Key),
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self {
            code,
            reason,
            message,
        }
    }

    pub fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{key} not found"))
    }

    pub fn bad(message: &str) -> Self {
        Self::new(400, "BadRequest", message.to_owned())
    }

    pub fn unsupported(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("this server does not know {what}"))
    }

    /// The server does not know either whether the call succeeded.
    pub fn timeout() -> Self {
        Self::new(504, "Timeout", "the request timed out".into())
    }

    fn conflict(key: &Key, why: &str) -> Self {
        Self::new(409, "Conflict", format!("{key}: {why}"))
    }

    fn invalid(key: &Key, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{key} is invalid: {why}"))
    }

    /// As `metav1.Status`.
    pub fn to_status(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.message,
        })
    }
}

impl Store {
    /// Plans the creation of an object.
    pub fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        now: Timestamp,
    ) -> Result<Write, Failure> {
        let name = text(&object, "/metadata/name");
        if name.is_empty() || !object["metadata"]["generateName"].is_null() {
            return Err(Failure::unsupported("generateName"));
        }
        let key = kind.key(namespace, &name);
        if self.find(&key).is_some() {
            return Err(Failure::new(
                409,
                "AlreadyExists",
                format!("{key} already exists"),
            ));
        }
        let serial = self.version() + 1;
        if kind.namespaced {
            meta(&mut object).insert("namespace".into(), json!(key.namespace));
        }
        meta(&mut object).insert(
            "uid".into(),
            json!(format!("{serial:08x}-0000-4000-8000-{serial:012x}")),
        );
        meta(&mut object).insert("creationTimestamp".into(), json!(format!("{now:.0}")));
        if kind.generation {
            meta(&mut object).insert("generation".into(), json!(1));
        }
        if kind.status {
            remove(&mut object, "status");
        }
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        Ok(Write::Put(key, object))
    }

    /// Plans a PUT, which must name the version it is based on.
    pub fn replace(&self, key: &Key, part: Part, body: Value) -> Result<Write, Failure> {
        self.get(key)?;
        if text(&body, "/metadata/resourceVersion").is_empty() {
            return Err(Failure::invalid(
                key,
                "metadata.resourceVersion: must be specified for an update",
            ));
        }
        self.change(key, part, body)
    }

    /// Plans a merge patch (RFC 7386); a version in it is a precondition.
    pub fn merge(&self, key: &Key, part: Part, patch: &Value) -> Result<Write, Failure> {
        let mut body = self.get(key)?.clone();
        json_patch::merge(&mut body, patch);
        self.change(key, part, body)
    }

    /// Plans a server-side apply of a status that has one writer only: what it leaves out goes.
    pub fn apply(&self, key: &Key, part: Part, body: &Value) -> Result<Write, Failure> {
        if part != Part::Status {
            return Err(Failure::unsupported("server-side apply of anything but a status"));
        }
        let mut object = self.get(key)?.clone();
        let uid = text(body, "/metadata/uid");
        if !uid.is_empty() && uid != text(&object, "/metadata/uid") {
            return Err(Failure::conflict(key, "the UID is another"));
        }
        object["status"] = body["status"].clone();
        self.change(key, part, object)
    }

    /// Plans a deletion: at once, or by a mark when finalizers are left.
    pub fn delete(&self, key: &Key, options: &Value, now: Timestamp) -> Result<Write, Failure> {
        let object = self.get(key)?;
        for precondition in ["uid", "resourceVersion"] {
            let wanted = text(options, &format!("/preconditions/{precondition}"));
            if !wanted.is_empty() && wanted != text(object, &format!("/metadata/{precondition}")) {
                return Err(Failure::conflict(
                    key,
                    &format!("precondition failed: {precondition}"),
                ));
            }
        }
        if finalizers(object).is_empty() {
            return Ok(Write::Remove(key.clone()));
        }
        if is_going(object) {
            return Ok(Write::Nothing(object.clone()));
        }
        let mut marked = object.clone();
        meta(&mut marked).insert("deletionTimestamp".into(), json!(format!("{now:.0}")));
        meta(&mut marked).insert("deletionGracePeriodSeconds".into(), json!(0));
        count_generation(key, &mut marked);
        Ok(Write::Put(key.clone(), marked))
    }

    /// Plans the change of an object to `body`, of which only `part` counts.
    pub fn change(&self, key: &Key, part: Part, body: Value) -> Result<Write, Failure> {
        let old = self.get(key)?;
        for field in ["uid", "resourceVersion"] {
            let path = format!("/metadata/{field}");
            let named = text(&body, &path);
            if !named.is_empty() && named != text(old, &path) {
                return Err(Failure::conflict(
                    key,
                    &format!("the object has been modified: {field}"),
                ));
            }
        }
        let new = match part {
            Part::Status if !key.kind.status => return Err(Failure::not_found(key)),
            Part::Status => {
                let mut new = old.clone();
                set(&mut new, "status", body.get("status"));
                new
            }
            Part::Main => main_part(key, old, body)?,
        };
        if new == *old {
            return Ok(Write::Nothing(new));
        }
        if is_going(&new) && finalizers(&new).is_empty() {
            return Ok(Write::Remove(key.clone()));
        }
        Ok(Write::Put(key.clone(), new))
    }
}

/// The object after its main part was written.
fn main_part(key: &Key, old: &Value, mut new: Value) -> Result<Value, Failure> {
    if key.kind.status {
        set(&mut new, "status", old.get("status"));
    }
    for fixed in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "namespace",
    ] {
        let value = old["metadata"].get(fixed).cloned();
        set(&mut new["metadata"], fixed, value.as_ref());
    }
    if finalizers(&new).is_empty() {
        remove(&mut new["metadata"], "finalizers");
    }
    let known = finalizers(old);
    if is_going(old) && finalizers(&new).iter().any(|f| !known.contains(f)) {
        let why = "metadata.finalizers: no new finalizers can be added if the object is being deleted";
        return Err(Failure::invalid(key, why));
    }
    if old["immutable"] == json!(true) && old["data"] != new["data"] {
        return Err(Failure::invalid(
            key,
            "data: field is immutable when `immutable` is set",
        ));
    }
    if body_of(old) != body_of(&new) {
        count_generation(key, &mut new);
    }
    Ok(new)
}

/// Everything but metadata and status.
fn body_of(object: &Value) -> Map<String, Value> {
    let mut body = object.as_object().cloned().unwrap_or_default();
    body.remove("metadata");
    body.remove("status");
    body
}

fn count_generation(key: &Key, object: &mut Value) {
    if key.kind.generation {
        let next = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        meta(object).insert("generation".into(), json!(next));
    }
}

/// Whether an object is marked for deletion.
pub fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn finalizers(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether an object names an owner of this UID.
pub fn is_owned_by(object: &Value, uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners
        .into_iter()
        .flatten()
        .any(|owner| owner["uid"] == json!(uid))
}

/// The object without this owner; none when it was the only one.
pub fn without_owner(object: &Value, uid: &str) -> Option<Value> {
    let mut kept = object.clone();
    let owners = kept["metadata"]["ownerReferences"].as_array_mut()?;
    owners.retain(|owner| owner["uid"] != json!(uid));
    (!owners.is_empty()).then_some(kept)
}

/// The text at a JSON pointer; empty when there is none.
pub fn text(object: &Value, path: &str) -> String {
    let found = object.pointer(path).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// An object's metadata.
pub fn meta(object: &mut Value) -> &mut Map<String, Value> {
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().unwrap()
}

fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

fn set(object: &mut Value, field: &str, value: Option<&Value>) {
    match value.filter(|v| !v.is_null()) {
        Some(value) => object[field] = value.clone(),
        None => remove(object, field),
    }
}
