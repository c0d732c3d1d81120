//! A container engine at the other end of a socket: it answers as a test says, also by halves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::stream::Pending;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

/// An answer: status, and the body.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// Says that there is more of the body than there is.
    pub half: bool,
}

/// What an answer has, or nothing for ever: an engine at which nothing happens.
type Body = Either<Full<Bytes>, StreamBody<Pending<Result<Frame<Bytes>, Infallible>>>>;
type Answers = Arc<Mutex<BTreeMap<String, Answer>>>;

/// The engine. Paths are without the version of the API.
pub struct FakeEngine {
    pub socket: PathBuf,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
    _dir: Option<tempfile::TempDir>,
}

impl FakeEngine {
    /// Starts one without containers.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = Self::at(&dir.path().join("engine.sock"));
        engine._dir = Some(dir);
        engine
    }

    /// The same at a socket, which appears now.
    pub fn at(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (answers, asked) = (Answers::default(), Arc::<Mutex<Vec<String>>>::default());
        tokio::spawn(serve(listener, answers.clone(), asked.clone()));
        let engine = Self {
            socket: socket.into(),
            answers,
            asked,
            _dir: None,
        };
        engine.says("/version", r#"{"ApiVersion":"1.41"}"#);
        engine.says("/containers/json", "[]");
        engine
    }

    pub fn answers(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Answers a path well.
    pub fn says(&self, path: &str, body: &str) {
        let answer = Answer {
            status: 200,
            body: body.to_owned(),
            half: false,
        };
        self.answers(path, answer);
    }

    /// Has these containers, by id, as `inspect` shows them.
    pub fn has(&self, containers: &[(&str, &str)]) {
        let rows: Vec<String> = containers
            .iter()
            .map(|(id, _)| format!(r#"{{"Id":"{id}","Names":["/name-of-{id}"]}}"#))
            .collect();
        self.says("/containers/json", &format!("[{}]", rows.join(",")));
        for (id, inspected) in containers {
            self.says(&format!("/containers/{id}/json"), inspected);
        }
    }

    /// How often a path was asked for.
    pub fn times_asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|p| *p == path).count()
    }
}

async fn serve(listener: UnixListener, answers: Answers, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answers, asked) = (answers.clone(), asked.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let response = respond(request.uri().path(), &answers, &asked);
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            // A body shorter than its stated length ends the connection: what a crash looks like.
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn respond(path: &str, answers: &Answers, asked: &Mutex<Vec<String>>) -> Response<Body> {
    let bare = path
        .split_once("/v")
        .and_then(|(_, rest)| rest.split_once('/'))
        .filter(|(version, _)| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        .map_or_else(|| path.to_owned(), |(_, rest)| format!("/{rest}"));
    asked.lock().unwrap().push(bare.clone());
    let missing = Answer {
        status: 404,
        body: r#"{"message":"no such thing"}"#.to_owned(),
        half: false,
    };
    let answer = answers.lock().unwrap().get(&bare).cloned();
    if answer.is_none() && bare == "/events" {
        let silent = StreamBody::new(futures::stream::pending());
        return Response::new(Either::Right(silent));
    }
    let answer = answer.unwrap_or(missing);
    let mut response = Response::builder()
        .status(answer.status)
        .header("content-type", "application/json");
    if answer.half {
        response = response.header("content-length", answer.body.len() * 2);
    }
    let body = Full::new(Bytes::from(answer.body));
    response.body(Either::Left(body)).unwrap()
}
