//! One HTTP request, read as a call of the Kubernetes API.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{Method, header};
use serde_json::Value;

use super::{Failure, Key, Kind};

/// Longest body that is read.
const MAX_BODY: usize = 4 << 20;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    /// Events after this version.
    Watch {
        after: u64,
        seconds: u64,
    },
    Create,
    Replace,
    Merge,
    Apply,
    Delete,
}

/// Which half of an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    pub kind: Kind,
    /// Empty: all namespaces, or a cluster-scoped kind.
    pub namespace: String,
    /// Empty: the collection.
    pub name: String,
    pub part: Part,
    /// `field=value`.
    pub selector: Option<(String, String)>,
    /// Only metadata is wanted.
    pub metadata_only: bool,
    pub body: Value,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = if self.part == Part::Status { "/status" } else { "" };
        let named = self.body.pointer("/metadata/name").and_then(Value::as_str);
        let name = if self.name.is_empty() {
            named.unwrap_or("")
        } else {
            &self.name
        };
        write!(f, "{:?} {}/{name}{part}", self.verb, self.kind.plural)
    }
}

impl Call {
    /// The object that is asked for.
    pub fn key(&self) -> Key {
        self.kind.key(&self.namespace, &self.name)
    }

    /// Reads a request.
    pub async fn read(request: Request) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY).await.unwrap();
        let body = match body.len() {
            0 => Value::Null,
            _ => serde_json::from_slice(&body).map_err(|e| Failure::bad(&e.to_string()))?,
        };
        let unknown = || Failure::unsupported(&format!("{} {}", head.method, head.uri));
        let (kind, namespace, rest) = place(head.uri.path()).ok_or_else(unknown)?;
        let query = query(head.uri.query().unwrap_or_default());
        let header = |name| {
            head.headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
        };
        let (name, part) = match rest.as_slice() {
            [] => (String::new(), Part::Main),
            [name] => (name.clone(), Part::Main),
            [name, status] if status == "status" => (name.clone(), Part::Status),
            _ => return Err(unknown()),
        };
        let verb = match (&head.method, name.is_empty()) {
            (&Method::GET, true) if get(&query, "watch").is_some() => Verb::Watch {
                after: number(&query, "resourceVersion").ok_or_else(unknown)?,
                seconds: number(&query, "timeoutSeconds").unwrap_or(290),
            },
            (&Method::GET, true) => Verb::List,
            (&Method::GET, false) => Verb::Get,
            (&Method::POST, true) => Verb::Create,
            (&Method::PUT, false) => Verb::Replace,
            (&Method::PATCH, false) => match header(header::CONTENT_TYPE) {
                "application/merge-patch+json" => Verb::Merge,
                "application/apply-patch+yaml" => Verb::Apply,
                _ => return Err(unknown()),
            },
            (&Method::DELETE, false) => Verb::Delete,
            _ => return Err(unknown()),
        };
        if get(&query, "labelSelector").is_some() || get(&query, "continue").is_some() {
            return Err(unknown());
        }
        let selector = get(&query, "fieldSelector")
            .map(|s| {
                s.split_once('=')
                    .map(|(f, v)| (f.to_owned(), v.to_owned()))
                    .ok_or_else(unknown)
            })
            .transpose()?;
        Ok(Self {
            verb,
            kind,
            namespace,
            name,
            part,
            selector,
            metadata_only: header(header::ACCEPT).contains("as=PartialObjectMetadata"),
            body,
        })
    }
}

/// Kind, namespace and the rest of a path.
fn place(path: &str) -> Option<(Kind, String, Vec<String>)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, plural, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] => (*namespace, *plural, rest),
        [plural, rest @ ..] => ("", *plural, rest),
        [] => return None,
    };
    let kind = Kind::all()
        .into_iter()
        .find(|k| k.plural == plural && k.group == group && k.version == version)?;
    let named_across = kind.namespaced && namespace.is_empty() && !rest.is_empty();
    let scoped = kind.namespaced || namespace.is_empty();
    let rest = rest.iter().map(|r| decode(r)).collect();
    (scoped && !named_across).then(|| (kind, namespace.to_owned(), rest))
}

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn get<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

fn number(query: &[(String, String)], key: &str) -> Option<u64> {
    get(query, key)?.parse().ok()
}

/// Percent-decoding.
fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex: Vec<u8> = bytes.by_ref().take(2).collect();
                let hex = String::from_utf8(hex).unwrap();
                out.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}
