//! The requests that the agent ever makes: an empty merge patch that answers with the head, a JSON patch that puts a head
//! or a section in the place of the last, creation of either, and of a token at the door. Each has a deadline.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures::TryFutureExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Config, Resource, ResourceExt as _};
use safetytwin_crds::names::AGENT_MANAGER;
use safetytwin_crds::{HostSection, HostSectionSpec, HostState, HostStateSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::brake::Brake;
use super::door::Door;
use crate::connection::{self, Bearer, ConnectionError};

const DEADLINE: Duration = Duration::from_secs(10);

/// A request that failed. All but a refusal are Transient: the agent goes on trying with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer in time; the write may have happened.
    #[error("failed to {what}: no answer within {} s", DEADLINE.as_secs())]
    Deadline {
        /// What was asked.
        what: String,
    },
    /// The API server refused, or was not reached.
    #[error("failed to {what}: {source}")]
    Request {
        /// What was asked.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The host's account is not there yet, or has not its rights yet.
    #[error(
        "HostState {host} is there, but its host may not write it yet: {source}; the controller makes the account {host} and lets it: does twin-controller run?"
    )]
    NotYet {
        /// Whose account.
        host: String,
        /// What was refused.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ApiError {
    /// Whether who asked is nobody to the API server, or may not ask.
    pub fn is_shut_out(&self) -> bool {
        matches!(self.code(), 401 | 403)
    }

    /// The same for who has knocked.
    pub fn not_yet(self, host: &str) -> Self {
        match self.is_shut_out() {
            true => Self::NotYet {
                host: host.to_owned(),
                source: Box::new(self),
            },
            false => self,
        }
    }

    /// Whether the writer may not, rather than that the object is wrong: a policy answers 422 as the schema does,
    /// and names itself.
    fn is_denial(&self) -> bool {
        let Self::Request { source, .. } = self else {
            return false;
        };
        match source.as_ref() {
            kube::Error::Api(status) => {
                status.code == 403
                    || (status.code == 422 && status.message.contains("ValidatingAdmissionPolicy"))
            }
            _ => false,
        }
    }

    /// Why the API server does not take this very object, so that the next attempt ends as this one: its schema (422),
    /// its size (413), a policy, rights by name that a controller gave who does not know this section (403). None where it
    /// is about the moment or the server, such as 401 and 429.
    pub fn refusal(&self) -> Option<String> {
        let Self::Request { what, source } = self else {
            return None;
        };
        let kube::Error::Api(status) = source.as_ref() else {
            return None;
        };
        let others = [401, 404, 408, 409, 425, 429];
        let is_own = (400..500).contains(&status.code) && !others.contains(&status.code);
        is_own.then(|| format!("failed to {what}: refused ({}): {}", status.code, status.message))
    }

    /// HTTP status of a refusal; 0 when there was none.
    pub fn code(&self) -> u16 {
        match self {
            Self::Request { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code,
                _ => 0,
            },
            Self::Deadline { .. } | Self::NotYet { .. } => 0,
        }
    }
}

/// A client of the cluster, and what its API server wishes.
///
/// # Errors
/// The configuration cannot be used.
pub fn client(config: &Config) -> Result<(Client, Brake), ConnectionError> {
    let brake = Brake::default();
    let client = client_presenting(config, &brake, &Bearer::of(&config.auth_info)?)?;
    Ok((client, brake))
}

/// A client that presents this token, whichever the configuration names.
///
/// # Errors
/// The configuration cannot be used.
pub fn client_presenting(config: &Config, brake: &Brake, bearer: &Bearer) -> Result<Client, ConnectionError> {
    let client = connection::builder(config)?;
    Ok(client
        .with_layer(&brake.layer())
        .with_layer(&bearer.layer())
        .build())
}

/// The agent's view of the API server.
pub struct ClusterApi {
    heads: Api<HostState>,
    sections: Api<HostSection>,
    door: Option<Door>,
}

impl ClusterApi {
    /// Over `client`, which presents a token of the host's account, or at the `door` takes one first.
    pub fn new(client: Client, door: Option<Door>) -> Self {
        Self {
            heads: Api::all(client.clone()),
            sections: Api::all(client),
            door,
        }
    }

    /// Takes a new token where one is due; until then, and where that fails, the last one is used.
    pub async fn renew(&mut self) {
        if let Some(door) = self.door.as_mut().filter(|door| door.is_due())
            && let Err(error) = enter(door).await
        {
            tracing::warn!(%error, "failed to renew the token of this host's account");
        }
    }

    /// Makes the head if there is none, and takes a token at the door: what an agent does whom the API server does not let
    /// in. The rest is the controller's.
    pub async fn knock(&mut self, spec: &HostStateSpec) -> Result<(), ApiError> {
        let host = spec.host.as_str();
        let head = HostState::new(host, spec.clone());
        let what = format!("make HostState {host}");
        match within(what, self.outside().create(&post(), &head)).await {
            Err(error) if error.code() != 409 => return Err(error),
            _ => {}
        }
        match &mut self.door {
            Some(door) => enter(door).await,
            None => Ok(()),
        }
    }

    /// Heads, as who is not in yet may ask for them.
    fn outside(&self) -> Api<HostState> {
        match &self.door {
            Some(door) => Api::all(door.client.clone()),
            None => self.heads.clone(),
        }
    }

    /// The head in the cluster, by a merge patch that changes nothing; none when there is none.
    pub async fn head(&self, host: &str) -> Result<Option<HostState>, ApiError> {
        let what = format!("ask for HostState {host}");
        let patch = Patch::Merge(json!({}));
        let params = PatchParams::default();
        match within(what, self.heads.patch(host, &params, &patch)).await {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.code() == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the head, made when there is none, and answers with it, status included.
    pub async fn put_head(&self, spec: &HostStateSpec) -> Result<HostState, ApiError> {
        let head = HostState::new(spec.host.as_str(), spec.clone());
        let (what, name) = (writing(&head), head.name_any());
        let (params, patch) = replacing(&what, &head.spec)?;
        let written = within(what.clone(), self.heads.patch(&name, &params, &patch)).await;
        or_make(written, within(what, self.heads.create(&post(), &head))).await
    }

    /// Writes one section, made when there is none. Only its metadata is asked for in return: the rest is what was sent.
    pub async fn put_section(&self, name: &str, spec: HostSectionSpec) -> Result<(), ApiError> {
        let section = HostSection::new(name, spec);
        let what = writing(&section);
        let (params, patch) = replacing(&what, &section.spec)?;
        let written = within(what.clone(), self.sections.patch_metadata(name, &params, &patch)).await;
        let params = post();
        let make = within(what, self.sections.create(&params, &section));
        or_make(written.map(drop), make.map_ok(drop)).await
    }

    /// Whether a dry run of writing another host's head is refused, as admission policy should.
    pub async fn foreign_write_is_refused(
        &self,
        spec: &HostStateSpec,
        foreign: &str,
    ) -> Result<bool, ApiError> {
        let what = "try a foreign HostState".to_owned();
        let mut spec = spec.clone();
        spec.host = made(&what, json!(foreign))?;
        let params = PostParams {
            dry_run: true,
            ..post()
        };
        let head = HostState::new(foreign, spec);
        match within(what, self.outside().create(&params, &head)).await {
            Ok(_) => Ok(false),
            Err(error) if error.is_denial() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// What is done when this is written, for people.
fn writing<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("write {} {}", K::kind(&()), object.name_any())
}

/// A patch that replaces the spec of an object. Writing what is there already costs the store nothing.
///
/// It clears `metadata.managedFields`, and the API server keeps none from then on for writers that do not apply: of a
/// head they would be a sixth, written every beat, and they tell nobody anything, because the admission policy leaves
/// one writer for spec, and the status subresource another.
/// (kubernetes.io/docs/reference/using-api/server-side-apply, "Clearing managedFields")
fn replacing<S: Serialize>(what: &str, spec: &S) -> Result<(PatchParams, Patch<()>), ApiError> {
    let operations = json!([
        {"op": "add", "path": "/spec", "value": spec},
        {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
    ]);
    let params = PatchParams {
        field_manager: Some(AGENT_MANAGER.into()),
        ..PatchParams::default()
    };
    Ok((params, Patch::Json(made(what, operations)?)))
}

/// Makes what is not there to be written.
async fn or_make<T>(
    written: Result<T, ApiError>,
    make: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    match written {
        Err(error) if error.code() == 404 => make.await,
        answer => answer,
    }
}

fn made<T: DeserializeOwned>(what: &str, value: serde_json::Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|source| ApiError::Request {
        what: what.to_owned(),
        source: Box::new(kube::Error::SerdeError(source)),
    })
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(AGENT_MANAGER.into()),
        ..PostParams::default()
    }
}

async fn enter(door: &mut Door) -> Result<(), ApiError> {
    let host = door.host().to_string();
    match tokio::time::timeout(DEADLINE, door.enter()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(ApiError::NotYet {
            host,
            source: Box::new(source),
        }),
        Err(_) => Err(ApiError::Deadline {
            what: format!("take a token of account {host}"),
        }),
    }
}

async fn within<T>(what: String, request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ApiError::Request {
            what,
            source: Box::new(source),
        }),
        Err(_) => Err(ApiError::Deadline { what }),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16, message: &str) -> ApiError {
        let status = Status::failure(message, "Invalid").with_code(code);
        ApiError::Request {
            what: "try a foreign HostState".into(),
            source: Box::new(kube::Error::Api(Box::new(status))),
        }
    }

    #[test]
    fn an_object_that_the_schema_refuses_is_no_proof_that_a_policy_would() {
        let denied = "hoststates \"x\" is forbidden: ValidatingAdmissionPolicy 'safetytwin-agent' denied request: spec.host x";
        assert!(refusal(422, denied).is_denial());
        assert!(refusal(403, "forbidden").is_denial());
        assert!(!refusal(422, "HostState \"x\" is invalid: spec.bootId: Required value").is_denial());
        assert!(!refusal(500, "ValidatingAdmissionPolicy").is_denial());
    }

    #[test]
    fn only_what_the_next_attempt_would_not_change_is_a_refusal() {
        for code in [400, 403, 413, 422] {
            let why = refusal(code, "is invalid").refusal().unwrap();
            assert_eq!(
                why,
                format!("failed to try a foreign HostState: refused ({code}): is invalid")
            );
        }
        for code in [401, 404, 408, 409, 425, 429, 500, 503, 504] {
            assert_eq!(refusal(code, "").refusal(), None, "{code}");
        }
        let what = String::new();
        assert_eq!(ApiError::Deadline { what }.refusal(), None);
    }
}
