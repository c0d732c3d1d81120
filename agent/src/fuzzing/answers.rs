//! What the kernel, the helper process and container engines say when they are asked.

use std::path::Path;
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage, ImageInspect};
use safetytwin_crds::item::container::Engine;
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value};

use super::{TOKEN, is_shown, redactor};
use crate::collect::containers::item::{self, Inspected};
use crate::collect::containers::others::{Member, Others};
use crate::collect::containers::{is_news, stored};
use crate::collect::processes::events::{Watch, connector};
use crate::collect::processes::helper::line::{field, unfield};
use crate::collect::processes::helper::serve::answers;

/// A message; its first letter says whose.
///
/// - `c`: the kernel's process connector (netlink), one after another, of 76 bytes as the kernel sends them
/// - `h`: a request to the helper process
/// - `l`: a line with which the helper answers
/// - `e`: an event of an engine
/// - `j`: Podman's list of containers on disk
pub fn answer(bytes: &[u8]) {
    let Some((whose, rest)) = bytes.split_first() else {
        return;
    };
    match whose {
        b'c' => connector(rest),
        b'h' => request(&String::from_utf8_lossy(rest)),
        b'l' => line(&String::from_utf8_lossy(rest)),
        b'e' => {
            if let Ok(event) = serde_json::from_slice::<EventMessage>(rest) {
                is_news(&event);
            }
        }
        b'j' => {
            let said = stored::said_of(rest);
            assert!(is_shown(&said), "{said}");
        }
        _ => {}
    }
}

/// Length of a message of the process connector: its headers and the largest event.
const MESSAGE: usize = 76;

/// Messages of the process connector, and what they make worth a scan.
fn connector(bytes: &[u8]) {
    let now = Instant::now();
    let mut watch = Watch::new(Duration::from_secs(30));
    for message in bytes.chunks(MESSAGE) {
        connector::acknowledgement(message);
        if let Some(event) = connector::event(message) {
            watch.note(event, now);
        }
    }
    let messages = bytes.len().div_ceil(MESSAGE);
    let news = watch.news(true);
    assert!(news.renewed.len() + news.ended.len() <= messages, "{news:?}");
}

/// The helper answers one request with one answer or four, of no process that is not asked for.
fn request(text: &str) {
    for line in text.lines() {
        let answers = answers(Path::new("/nowhere"), line);
        assert!(matches!(answers.len(), 1 | 4), "{answers:?}");
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
    }
}

/// What the agent reads of an answer is what it would read again.
fn line(text: &str) {
    for answer in text.split('\t').map(unfield) {
        assert_eq!(unfield(&field(&answer)), answer);
    }
}

/// What an engine says of a container, as JSON; after it, if they are there, its image, the engine's list of containers
/// and Podman's own (`/libpod`).
pub fn container(bytes: &[u8]) {
    let mut documents = Deserializer::from_slice(bytes)
        .into_iter::<Value>()
        .map_while(Result::ok);
    let Some(mut details) = next::<ContainerInspectResponse>(&mut documents) else {
        return;
    };
    let image = next::<ImageInspect>(&mut documents);
    let rows: Vec<ContainerSummary> = next(&mut documents).unwrap_or_default();
    let members: Vec<Member> = next(&mut documents).unwrap_or_default();
    let config = details.config.get_or_insert_default();
    let labels = config.labels.get_or_insert_default();
    labels.insert("note".into(), format!("see {TOKEN}"));
    config.cmd.get_or_insert_default().push(format!("--with={TOKEN}"));
    let mut others = Others::new(&rows);
    others.add(members);
    for engine in [Engine::Docker, Engine::Podman] {
        let item = item::container(Inspected {
            engine,
            user: None,
            details: &details,
            image: image.as_ref(),
            others: &others,
            redactor: &redactor(),
        });
        let Ok(item) = item else { continue };
        item::observed(&item, &details);
        let text = serde_json::to_string(&item).unwrap_or_default();
        // The rest of the input may hold the same token where nothing looks.
        let shown = format!("{:?} {:?}", item.labels.get("note"), item.command);
        assert!(!text.is_empty() && !shown.contains(TOKEN), "{shown}");
    }
}

fn next<T: DeserializeOwned>(documents: &mut impl Iterator<Item = Value>) -> Option<T> {
    serde_json::from_value(documents.next()?).ok()
}
