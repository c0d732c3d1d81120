//! A Kubernetes API in memory: as much of a real server as the controller's calls need.
//!
//! ```text
//! kube::Client ─▶ call (path, query, body) ─▶ store: rules (409, 422, finalizers …) ─▶ fate ─▶ commit, log ─▶ watches
//! ```
//! What it does not know it refuses by name (501); it never guesses. Objects are JSON: the server
//! knows no schema, so what only a schema would refuse passes here.

mod call;
mod kinds;
mod rules;
mod store;
mod tests;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use super::fate::{Fate, Moment};
use super::time::Time;
use crate::controller::ports::Clock as _;
pub use call::Part;
use call::{Call, Verb};
pub use kinds::{Key, Kind};
pub use rules::{Failure, Write, is_going};
pub use store::Store;

/// A server and what it stores. Clones share it; it outlives every client.
#[derive(Clone)]
pub struct Server {
    store: Arc<Mutex<Store>>,
    /// Version of the newest write, for watches.
    newest: channel::Sender<u64>,
    fate: Fate,
    time: Time,
}

impl Server {
    /// A server of `store`. Writes of clients are effects that `fate` may lose.
    pub fn new(store: Store, fate: Fate, time: Time) -> Self {
        Self {
            newest: channel::Sender::new(store.version()),
            store: Arc::new(Mutex::new(store)),
            fate,
            time,
        }
    }

    /// A client of its own. Needs a tokio runtime.
    pub fn client(&self) -> Client {
        let server = self.clone();
        // A router of axum is a tower service already.
        let service = Router::new().fallback(move |request: Request| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        Client::new(service, "default")
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All objects as they are now.
    pub fn look<T>(&self, at: impl FnOnce(&Store) -> T) -> T {
        at(&self.store())
    }

    /// Writes past all clients: a user, an agent. Not an effect.
    pub fn act(&self, plan: impl FnOnce(&Store, Timestamp) -> Result<Write, Failure>) {
        let mut store = self.store();
        let now = self.time.now();
        let write = plan(&store, now).unwrap_or_else(|failure| panic!("{failure:?}"));
        store.commit(write, now);
        self.newest.send_replace(store.version());
    }

    async fn answer(&self, request: Request) -> Response {
        let call = match Call::read(request).await {
            Ok(call) => call,
            Err(failure) => return refuse(&failure),
        };
        match self.perform(&call) {
            Some(Ok(Answer::Object(object))) => respond(StatusCode::OK, &object),
            Some(Ok(Answer::Watch)) => watch::respond(self, &call),
            Some(Err(failure)) => refuse(&failure),
            // Nobody is there any more to hear the answer.
            None => std::future::pending().await,
        }
    }

    /// The answer to a call; none for a caller that is dead, or dies now.
    fn perform(&self, call: &Call) -> Option<Result<Answer, Failure>> {
        if self.fate.is_dead() {
            return None;
        }
        let mut store = self.store();
        let now = self.time.now();
        let planned = match &call.verb {
            Verb::Get => return Some(store.get(&call.key()).cloned().map(Answer::Object)),
            Verb::List => return Some(store.list(call).map(Answer::Object)),
            Verb::Watch { .. } => return Some(Ok(Answer::Watch)),
            Verb::Create => store.create(&call.kind, &call.namespace, call.body.clone(), now),
            Verb::Replace => store.replace(&call.key(), call.part, call.body.clone()),
            Verb::Merge => store.merge(&call.key(), call.part, &call.body),
            Verb::Apply => store.apply(&call.key(), call.part, &call.body),
            Verb::Delete => store.delete(&call.key(), &call.body, now),
        };
        let write = match planned {
            Ok(write) => write,
            Err(failure) => return Some(Err(failure)),
        };
        if let Write::Nothing(object) = write {
            return Some(Ok(Answer::Object(object)));
        }
        let fate = self.fate.ask(&call.to_string());
        if fate == Some(Moment::Before) {
            return self.lose();
        }
        let gone = matches!(write, Write::Remove(_)) && call.verb == Verb::Delete;
        let object = store.commit(write, now);
        let object = if gone { success(&object) } else { object };
        self.newest.send_replace(store.version());
        match fate {
            None => Some(Ok(Answer::Object(object))),
            Some(_) => self.lose(),
        }
    }

    /// The answer to a call whose answer is lost: none for the dead.
    fn lose(&self) -> Option<Result<Answer, Failure>> {
        (!self.fate.is_dead()).then(|| Err(Failure::timeout()))
    }
}

enum Answer {
    Object(Value),
    Watch,
}

/// What a deletion answers when nothing held the object.
fn success(object: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Success",
        "details": {"name": object["metadata"]["name"], "uid": object["metadata"]["uid"]},
    })
}

fn refuse(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.code).unwrap();
    respond(status, &failure.to_status())
}

fn respond(status: StatusCode, body: &Value) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}
