//! Watches: the log after a version, then every write as it comes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::{Stream, StreamExt as _, stream};
use serde_json::json;

use super::Server;
use super::call::{Call, Verb};

/// Answers a watch; it ends after the seconds that the caller gave it.
pub fn respond(server: &Server, call: &Call) -> Response {
    let Verb::Watch { after, seconds } = call.verb else {
        unreachable!("only watches get here");
    };
    let end = tokio::time::sleep(Duration::from_secs(seconds));
    let lines = lines(server.clone(), call.clone(), after).take_until(end);
    Response::new(Body::from_stream(lines.map(Ok::<_, Infallible>)))
}

fn lines(server: Server, call: Call, after: u64) -> impl Stream<Item = String> + Send + 'static {
    let newest = server.newest.subscribe();
    stream::unfold(
        (server, call, after, newest),
        |(server, call, after, mut newest)| async move {
            loop {
                newest.borrow_and_update();
                let (text, upto) = events(&server, &call, after);
                if !text.is_empty() {
                    return Some((text, (server, call, upto, newest)));
                }
                // An error: the server is gone.
                newest.changed().await.ok()?;
            }
        },
    )
}

/// The events after a version, one a line, and the version that they reach.
fn events(server: &Server, call: &Call, after: u64) -> (String, u64) {
    let store = server.store();
    let events = store
        .after(after)
        .filter(|logged| logged.key.kind == call.kind)
        .filter(|logged| call.namespace.is_empty() || logged.key.namespace == call.namespace);
    let lines = events.map(|logged| format!("{}\n", json!({"type": logged.change, "object": logged.object})));
    (lines.collect(), store.version())
}
