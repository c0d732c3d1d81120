//! An API server as far as an agent knows one: empty merge patches, server-side apply, dry runs, and bad days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, service_fn};

use crate::publish::api::ClusterApi;
use crate::publish::brake::Brake;

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

    /// The agent's way to it.
    pub fn api(&self) -> (ClusterApi, Brake) {
        let brake = Brake::default();
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                assert_eq!(head.method, Method::PATCH, "an agent patches only");
                let object = head
                    .uri
                    .path()
                    .trim_start_matches("/apis/safetytwin.com/v1alpha1/");
                let dry_run = head.uri.query().unwrap_or_default().contains("dryRun=All");
                let answer = server.answer(object, dry_run, &serde_json::from_slice(&body).unwrap());
                match answer {
                    Some(answer) => Ok::<_, kube::Error>(answer),
                    None => std::future::pending().await,
                }
            }
        });
        let client = Client::new(brake.layer().layer(service), "default");
        (ClusterApi::new(client), brake)
    }

    fn answer(&self, object: &str, dry_run: bool, body: &Value) -> Option<Response<Body>> {
        let mut state = self.0.lock().unwrap();
        let is_write = !dry_run && *body != json!({});
        let (code, answer) = match state.mood {
            Mood::Fine => state.act(object, dry_run, is_write, body),
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
    fn act(&mut self, object: &str, dry_run: bool, is_write: bool, body: &Value) -> (u16, Value) {
        if dry_run && self.confines {
            let message = "ValidatingAdmissionPolicy 'safetytwin-agent' denied request";
            return (
                422,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
                "reason": "Invalid", "code": 422}),
            );
        }
        if is_write {
            let made = &mut self.made;
            let stored = self.objects.entry(object.to_owned()).or_insert_with(|| {
                *made += 1;
                let mut new = body.clone();
                new["metadata"]["uid"] = json!(format!("uid-{made}"));
                new
            });
            stored["spec"] = body["spec"].clone();
            return (200, stored.clone());
        }
        match self.objects.get(object) {
            Some(stored) => (200, stored.clone()),
            None if dry_run => (201, body.clone()),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not found",
                "reason": "NotFound", "code": 404}),
            ),
        }
    }
}
