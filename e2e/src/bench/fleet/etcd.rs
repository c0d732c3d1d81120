//! What etcd holds: objects as they are stored, asked through its JSON gateway.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::http;

/// Where kube-apiserver keeps the heads.
const HEADS: &str = "/registry/safetytwin.com/hoststates/";

/// A stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Stored {
    /// Bytes of the value.
    pub(super) bytes: usize,
    /// Bytes of `metadata.managedFields` in it.
    pub(super) managed_fields: usize,
}

/// The head of a host.
///
/// # Errors
/// etcd does not answer or has none.
pub(super) fn head(etcd: SocketAddr, host: &str) -> Result<Stored> {
    let question = json!({"key": STANDARD.encode(format!("{HEADS}{host}"))});
    let answer = http::post(etcd, "/v3/kv/range", &question.to_string())?;
    stored(&answer).with_context(|| format!("etcd has no head of {host}: {answer}"))
}

fn stored(answer: &str) -> Result<Stored> {
    let answer: Value = serde_json::from_str(answer)?;
    let value = answer.pointer("/kvs/0/value").and_then(Value::as_str);
    let bytes = STANDARD.decode(value.context("there is no such key")?)?;
    let object: Value = serde_json::from_slice(&bytes).context("the object is no JSON")?;
    let managed = object.pointer("/metadata/managedFields").unwrap_or(&Value::Null);
    Ok(Stored {
        bytes: bytes.len(),
        managed_fields: serde_json::to_string(managed)?.len(),
    })
}

/// Bytes that a database grows by in a second, from its size in use at several moments. Spans in which it shrank are
/// left out: a compaction gave back in them what was written minutes before.
pub(super) fn growth(sizes: &[(f64, f64)]) -> Option<f64> {
    let spans = sizes.iter().zip(sizes.iter().skip(1));
    let grown = spans
        .filter_map(|((from, small), (to, large))| (large >= small).then_some((to - from, large - small)));
    let (seconds, bytes) = grown.fold((0.0, 0.0), |sum, span| (sum.0 + span.0, sum.1 + span.1));
    (seconds > 0.0).then(|| bytes / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_object_tells_its_size_and_the_part_of_managed_fields() {
        let object = r#"{"metadata":{"managedFields":[{"manager":"a"}]},"spec":{}}"#;
        let answer = json!({"kvs": [{"value": STANDARD.encode(object)}]}).to_string();
        let expected = Stored {
            bytes: object.len(),
            managed_fields: 17,
        };
        assert_eq!(stored(&answer).unwrap(), expected);
        assert!(stored("{}").unwrap_err().to_string().contains("no such key"));
    }

    #[test]
    fn a_compaction_does_not_hide_what_was_written() {
        let sizes = [(0.0, 1000.0), (10.0, 2000.0), (20.0, 500.0), (30.0, 1500.0)];
        assert_eq!(growth(&sizes), Some(100.0));
        assert_eq!(growth(&[(0.0, 9.0), (10.0, 3.0)]), None);
    }
}
