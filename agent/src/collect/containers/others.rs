//! What an engine says of its containers together: names by id, and Podman's pods.
//!
//! Podman's pods are in its own API only (`/libpod`), which bollard does not speak: one request a look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bollard::models::ContainerSummary;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::redact::Tally;

/// Longest answer that is read.
const ANSWER: usize = 8 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);
/// Versions of the API, the one of Podman 4 and 5 first.
const VERSIONS: [&str; 2] = ["v4.0.0", "v3.0.0"];

/// The other containers of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Names by id, without the leading slash.
    names: BTreeMap<String, String>,
    /// Names of pods by id of a container.
    pods: BTreeMap<String, String>,
    /// Containers that only hold the namespaces of a pod.
    infra: BTreeSet<String>,
}

/// A container in the answer of `GET /libpod/containers/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    id: String,
    is_infra: Option<bool>,
    pod_name: Option<String>,
}

impl Others {
    /// What the engine's list says.
    pub fn new(rows: &[ContainerSummary]) -> Self {
        let names = rows.iter().filter_map(|row| {
            let name = row.names.as_ref()?.first()?;
            Some((row.id.clone()?, name.trim_start_matches('/').to_owned()))
        });
        Self {
            names: names.collect(),
            ..Self::default()
        }
    }

    /// Adds what Podman says of its pods.
    pub fn add(&mut self, members: Vec<Member>) {
        for member in members {
            if member.is_infra == Some(true) {
                self.infra.insert(member.id.clone());
            }
            if let Some(pod) = member.pod_name.filter(|name| !name.is_empty()) {
                self.pods.insert(member.id, pod);
            }
        }
    }

    /// Whether a container only holds the namespaces of a pod.
    pub fn is_infra(&self, id: &str) -> bool {
        self.infra.contains(id)
    }

    /// Name of the pod of a container.
    pub fn pod(&self, id: &str) -> Option<&str> {
        self.pods.get(id).map(String::as_str)
    }

    /// Whether a namespace mode is that of a pod.
    pub fn is_pods(&self, mode: &str) -> bool {
        mode.strip_prefix("container:")
            .is_some_and(|id| self.is_infra(id))
    }

    /// A namespace mode with the name of a container instead of its id, which changes when it is made anew. Redacted.
    pub fn mode(&self, mode: &str, clean: &mut Tally<'_>) -> String {
        match mode.split_once(':') {
            Some((kind, id)) => {
                let name = self.names.get(id).filter(|_| kind == "container");
                format!(
                    "{}:{}",
                    clean.name(kind),
                    clean.name(name.map_or(id, String::as_str))
                )
            }
            None => clean.name(mode),
        }
    }
}

/// Asks Podman which containers belong to which pod.
///
/// # Errors
/// It does not answer, or with something else; the text says what.
pub async fn members(socket: &Path) -> Result<Vec<Member>, String> {
    let mut last = String::new();
    for version in VERSIONS {
        let path = format!("/{version}/libpod/containers/json?all=true");
        let answer = tokio::time::timeout(DEADLINE, get(socket, &path)).await;
        match answer.map_err(|_| "it does not answer".to_owned())?? {
            (status, body) if status.is_success() => {
                // No containers are `null` to some versions.
                let members: Option<Vec<Member>> =
                    serde_json::from_slice(&body).map_err(|error| error.to_string())?;
                return Ok(members.unwrap_or_default());
            }
            (status, _) => last = format!("status {status}"),
        }
    }
    Err(last)
}

async fn get(socket: &Path, path: &str) -> Result<(hyper::StatusCode, Bytes), String> {
    let fail = |error: &dyn std::fmt::Display| error.to_string();
    let stream = tokio::net::UnixStream::connect(socket)
        .await
        .map_err(|e| fail(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| fail(&e))?;
    let request = hyper::Request::get(path).header(hyper::header::HOST, "d");
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| fail(&e))?;
    let exchange = async {
        // What is read stays bounded whatever the engine says.
        let response = sender.send_request(request).await.map_err(|e| fail(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        Ok((status, body.map_err(|e| fail(&e))?.to_bytes()))
    };
    // The connection is driven here and ends with the exchange: no task outlives the look.
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => (&mut exchange).await,
            Err(error) => Err(fail(&error)),
        },
    }
}
