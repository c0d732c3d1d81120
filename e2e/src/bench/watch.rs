//! Watches the API server and notes when the host's state was published, when the twin's operations began and
//! ended, and when points were ready: by this process's clock, without polling.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{Stream, StreamExt};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use safetytwin_crds::condition::ConditionStatus;
use safetytwin_crds::hoststate::Section;
use safetytwin_crds::section::SectionName;
use safetytwin_crds::{DigitalTwin, HostState, PartDigest, TwinSnapshot};
use tokio::sync::oneshot;

use crate::lab::{Lab, node};
use crate::product::{TWINS, twin};
use crate::wait::{self, Look};

/// Something that happened on the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// The host's head names another content of this section.
    Published(SectionName),
    /// The twin began this operation.
    Began(i64),
    /// The twin has no operation under way any more.
    Ended,
    /// A point of this name is Ready.
    PointReady(String),
}

type Log = Arc<Mutex<Vec<(Instant, Seen)>>>;

/// A running watch; ends when dropped.
pub(super) struct Watch {
    log: Log,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to watch.
    pub(super) fn start(lab: &Lab) -> Self {
        let log = Log::default();
        let (stop, stopped) = oneshot::channel();
        let (lab, noted) = (lab.clone(), Arc::clone(&log));
        let thread = std::thread::spawn(move || {
            let watched = lab.with_client(|client| follow(client, noted, stopped));
            if let Err(error) = watched {
                eprintln!("the watch of the API server ended: {error:#}");
            }
        });
        Self {
            log,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// When the first thing of this kind was seen since a moment.
    pub(super) fn first(&self, since: Instant, is: impl Fn(&Seen) -> bool) -> Option<Instant> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let found = log.iter().find(|(at, seen)| *at >= since && is(seen));
        found.map(|(at, _)| *at)
    }

    /// How many things of this kind were seen since a moment.
    pub(super) fn count(&self, since: Instant, is: impl Fn(&Seen) -> bool) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|(at, seen)| *at >= since && is(seen)).count()
    }

    /// Waits for the first thing of this kind since a moment.
    ///
    /// # Errors
    /// It does not happen within `limit`.
    pub(super) fn wait(
        &self,
        what: &str,
        since: Instant,
        limit: Duration,
        is: impl Fn(&Seen) -> bool,
    ) -> Result<Instant> {
        wait::until(what, limit, || {
            Ok(match self.first(since, &is) {
                Some(at) => Look::Ready(at),
                None => Look::NotYet("not seen by the watch".into()),
            })
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails when the thread has ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn follow(client: Client, log: Log, stopped: oneshot::Receiver<()>) -> Result<()> {
    let note = |seen: Seen| {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((Instant::now(), seen));
    };
    let only = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let heads = objects(Api::<HostState>::all(client.clone()), only(node::NAME));
    let twins = Api::<DigitalTwin>::namespaced(client.clone(), TWINS);
    let twins = objects(twins, only(twin::NAME));
    let points = Api::<TwinSnapshot>::namespaced(client, TWINS);
    let points = objects(points, watcher::Config::default());

    let mut named: Option<Named> = None;
    let heads = heads.for_each(|head| {
        let now = digests(&head);
        if let Some(before) = named.replace(now.clone()) {
            let other = now
                .iter()
                .filter(|(section, parts)| before.get(section) != Some(parts));
            other.for_each(|(section, _)| note(Seen::Published(*section)));
        }
        std::future::ready(())
    });
    let mut operation = None;
    let twins = twins.for_each(|twin| {
        let now = twin.status.and_then(|status| status.operation).map(|o| o.number);
        if std::mem::replace(&mut operation, now) != now {
            note(now.map_or(Seen::Ended, Seen::Began));
        }
        std::future::ready(())
    });
    let mut ready = BTreeSet::new();
    let points = points.for_each(|point| {
        if is_ready(&point) && ready.insert(point.name_any()) {
            note(Seen::PointReady(point.name_any()));
        }
        std::future::ready(())
    });
    tokio::select! {
        _ = stopped => {}
        ((), (), ()) = async { tokio::join!(heads, twins, points) } => {}
    }
    Ok(())
}

/// Objects as they are applied; a watch that breaks is begun anew.
fn objects<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let applied = watcher(api, config).default_backoff().applied_objects();
    applied.filter_map(|object| std::future::ready(object.ok()))
}

/// The parts that a head names, by section.
type Named = BTreeMap<SectionName, Vec<PartDigest>>;

fn digests(head: &HostState) -> Named {
    let parts = |section: &Section| section.parts.iter().map(|part| part.digest).collect();
    let sections = head.spec.sections.iter();
    sections.map(|section| (section.name, parts(section))).collect()
}

fn is_ready(point: &TwinSnapshot) -> bool {
    let conditions = point.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == ConditionStatus::True)
}
