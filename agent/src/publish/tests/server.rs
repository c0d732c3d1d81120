//! An API server as far as an agent knows one: empty merge patches, JSON patches, creation, dry runs, and bad days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request, Response, request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube::Client;
use kube::client::Body;
use safetytwin_crds::access::ACCOUNTS;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, Service, service_fn};

use crate::connection::Bearer;
use crate::publish::api::ClusterApi;
use crate::publish::brake::Brake;
use crate::publish::door::Door;

/// What the server does with requests instead of what they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    Fine,
    /// It is overloaded; `Retry-After` in seconds, when it says so.
    Answers(u16, Option<u32>),
    /// It never answers.
    Silent,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Since the server's start.
    pub at: Duration,
    /// Plural and name: "hoststates/web-01".
    pub object: String,
    /// A write that counts: neither an empty patch nor a dry run.
    pub is_write: bool,
    /// What it was answered.
    pub code: u16,
}

struct State {
    start: Instant,
    mood: Mood,
    confines: bool,
    lets_in: bool,
    /// How names of objects begin that it refuses, and the code.
    refuses: Option<(String, u16)>,
    objects: BTreeMap<String, Value>,
    made: u32,
    asked: Vec<Asked>,
}

/// The server. Cloning shares it.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    /// An empty one, with the admission policy.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            start: Instant::now(),
            mood: Mood::Fine,
            confines: true,
            lets_in: true,
            refuses: None,
            objects: BTreeMap::new(),
            made: 0,
            asked: Vec::new(),
        })))
    }

    /// How it behaves from now on.
    pub fn is(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// Whether the admission policy is in force from now on.
    pub fn confines(&self, yes: bool) {
        self.0.lock().unwrap().confines = yes;
    }

    /// Refuses writes of objects whose names begin so with this code, or none from now on.
    pub fn refuses(&self, objects: Option<(&str, u16)>) {
        let objects = objects.map(|(begin, code)| (begin.to_owned(), code));
        self.0.lock().unwrap().refuses = objects;
    }

    /// What arrived since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// The spec of an object.
    pub fn spec(&self, object: &str) -> Value {
        self.0.lock().unwrap().objects[object]["spec"].clone()
    }

    /// As `kubectl delete hoststates,hostsections --all`.
    pub fn delete_all(&self) {
        self.0.lock().unwrap().objects.clear();
    }

    /// Whether the host's account is there, with the right to patch its objects.
    pub fn lets_in(&self, yes: bool) {
        self.0.lock().unwrap().lets_in = yes;
    }

    /// Whether there is an object of this name.
    pub fn has(&self, object: &str) -> bool {
        self.0.lock().unwrap().objects.contains_key(object)
    }

    /// As a controller that cannot read what the head names: the sections were deleted.
    pub fn lose_sections(&self, token: &str) {
        let mut state = self.0.lock().unwrap();
        state.objects.retain(|name, _| name.starts_with("hoststates/"));
        for head in state.objects.values_mut() {
            head["status"]["resendRequest"] = json!(token);
        }
    }

    /// The way of an agent that presents its host's token from the beginning.
    pub fn api(&self) -> (ClusterApi, Brake) {
        let brake = Brake::default();
        let client = Client::new(brake.layer().layer(self.service(false)), "default");
        (ClusterApi::new(client, None), brake)
    }

    /// The way of an agent of a node: it begins with another token.
    pub fn api_with_door(&self) -> (ClusterApi, Brake) {
        let (brake, bearer) = (Brake::default(), Bearer::default());
        let own = Client::new(bearer.layer().layer(self.service(true)), "default");
        let first = Client::new(brake.layer().layer(self.service(false)), "default");
        let door = Door::new(first, ACCOUNTS, "web-01".parse().unwrap(), bearer);
        (ClusterApi::new(own, Some(door)), brake)
    }

    /// What answers requests; with `checks`, only those with the token of the host's account.
    fn service(
        &self,
        checks: bool,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = kube::Error, Future: Send>
    + Clone
    + Send
    + use<> {
        let server = self.clone();
        service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap();
                let (object, mut asks) = read(&head, body);
                let presented = head
                    .headers
                    .get(AUTHORIZATION)
                    .map(|value| value.to_str().unwrap());
                if checks && presented != Some(&format!("Bearer {}", token())) {
                    asks = Asks::ByNobody;
                }
                match server.answer(&object, asks) {
                    Some(answer) => Ok(answer),
                    None => std::future::pending().await,
                }
            }
        })
    }

    fn answer(&self, object: &str, asks: Asks) -> Option<Response<Body>> {
        let mut state = self.0.lock().unwrap();
        let is_write = matches!(asks, Asks::Replace(_) | Asks::Create { dry_run: false, .. });
        let (code, answer) = match state.mood {
            Mood::Fine => match state.refusal_of(object, is_write) {
                Some(code) => refusal(
                    code,
                    "Invalid",
                    &format!("{object} is \u{1b}invalid: spec.data: Too long"),
                ),
                None => state.act(object, asks),
            },
            Mood::Answers(code, _) => (code, json!("too many requests, please try again later")),
            Mood::Silent => (0, Value::Null),
        };
        let at = state.start.elapsed();
        let object = object.to_owned();
        state.asked.push(Asked {
            at,
            object,
            is_write,
            code,
        });
        let mut response = Response::builder().status(code.max(200));
        if let Mood::Answers(_, Some(seconds)) = state.mood {
            response = response.header("Retry-After", seconds);
        }
        (code != 0).then(|| {
            response
                .body(Body::from(answer.to_string().into_bytes()))
                .unwrap()
        })
    }
}

impl State {
    fn refusal_of(&self, object: &str, is_write: bool) -> Option<u16> {
        let (begin, code) = self.refuses.as_ref()?;
        (is_write && object.starts_with(begin)).then_some(*code)
    }

    fn act(&mut self, object: &str, asks: Asks) -> (u16, Value) {
        let lets_in = self.lets_in;
        let stored = self.objects.get_mut(object);
        match (asks, stored) {
            (Asks::ByNobody, _) => refusal(401, "Unauthorized", "Unauthorized"),
            (Asks::Token, _) if !lets_in => refusal(404, "NotFound", "serviceaccounts \"web-01\" not found"),
            (Asks::Token, _) => (201, granted()),
            (Asks::Nothing | Asks::Replace(_), _) if !lets_in => refusal(403, "Forbidden", "cannot patch"),
            (Asks::Create { dry_run: true, .. }, _) if self.confines => refusal(
                422,
                "Invalid",
                "ValidatingAdmissionPolicy 'safetytwin-agent' denied request",
            ),
            (Asks::Create { .. }, Some(_)) => refusal(409, "AlreadyExists", "already exists"),
            (Asks::Create { new, dry_run: true }, None) => (201, new),
            (Asks::Create { mut new, .. }, None) => {
                self.made += 1;
                new["metadata"]["uid"] = json!(format!("uid-{}", self.made));
                self.objects.insert(object.to_owned(), new.clone());
                (201, new)
            }
            (Asks::Nothing | Asks::Replace(_), None) => refusal(404, "NotFound", "not found"),
            (Asks::Nothing, Some(stored)) => (200, stored.clone()),
            (Asks::Replace(spec), Some(stored)) => {
                stored["spec"] = spec;
                (200, stored.clone())
            }
        }
    }
}

/// A request of an agent.
enum Asks {
    /// Anything, without a token that is known.
    ByNobody,
    /// A token of the host's account.
    Token,
    /// An empty merge patch.
    Nothing,
    /// Another spec, and no record of who wrote it.
    Replace(Value),
    /// A new object.
    Create { new: Value, dry_run: bool },
}

/// What is asked, and of which object: "hoststates/web-01".
fn read(head: &request::Parts, body: Value) -> (String, Asks) {
    let path = head
        .uri
        .path()
        .trim_start_matches("/apis/safetytwin.com/v1alpha1/");
    let form = head.headers.get(CONTENT_TYPE).unwrap().to_str().unwrap();
    match (&head.method, form) {
        (&Method::POST, _) if path.ends_with("/serviceaccounts/web-01/token") => {
            (path.to_owned(), Asks::Token)
        }
        (&Method::POST, "application/json") => {
            let object = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
            let dry_run = head.uri.query().unwrap_or_default().contains("dryRun=All");
            (object, Asks::Create { new: body, dry_run })
        }
        (&Method::PATCH, "application/json-patch+json") => {
            let spec = body[0]["value"].clone();
            let whole = json!([
                {"op": "add", "path": "/spec", "value": &spec},
                {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
            ]);
            assert_eq!(body, whole);
            (path.to_owned(), Asks::Replace(spec))
        }
        (&Method::PATCH, "application/merge-patch+json") if body == json!({}) => {
            (path.to_owned(), Asks::Nothing)
        }
        (method, form) => panic!("an agent does not ask so: {method} {form} {body}"),
    }
}

/// The host's account's token, of six hours.
fn token() -> String {
    let claims = json!({"sub": format!("system:serviceaccount:{ACCOUNTS}:web-01"), "iat": 1_000_000, "exp": 1_021_600});
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part("{}"),
        part(&claims.to_string()),
        part("signature")
    )
}

fn granted() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": {"audiences": []},
        "status": {"token": token(), "expirationTimestamp": "2026-11-27T12:00:00Z"}})
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": code});
    (code, body)
}
