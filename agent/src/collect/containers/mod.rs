//! Containers of Docker and Podman, of the system and of users, over Docker's API: events first, a
//! list as audit.
//!
//! Invariant: no engine is started by looking. The API sockets are activated by a connection, so
//! one is opened only while the service behind it runs (over D-Bus; without systemd, while a
//! `dockerd` process exists; for users' engines see `rootless`). Kubernetes' containers are in
//! neither engine and do not appear. An engine that fails keeps its last known containers, and the
//! section says so.

mod devices;
mod health;
pub(crate) mod item;
mod options;
pub(crate) mod others;
mod ports;
mod rootless;
mod source;
mod starts;
mod storage;
pub(crate) mod stored;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use safetytwin_crds::item::Observed;
use safetytwin_crds::section::SectionName;
use tokio::time::Instant;

use self::source::Source;
use self::starts::Starts;
use super::bus::Bus;
use super::{Budget, CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::HostRoot;
use crate::redact::Redactor;
use crate::settings::Settings;

/// Between two lists, where each is whole; events tell what changes meanwhile.
const AUDIT: Duration = Duration::from_secs(60);
/// Where something is missing.
const AGAIN: Duration = Duration::from_secs(30);
/// An engine that starts on an emulated machine answers that slowly.
const SLOWEST_LOOK: Duration = Duration::from_secs(60);
/// Events of one `docker run` are looked at together.
const BURST: Duration = Duration::from_millis(150);

/// Services of the system's engines.
const DOCKER: &str = "docker.service";
const PODMAN: &str = "podman.service";

/// Whether an event of Docker's asks for a look.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn is_news(event: &bollard::models::EventMessage) -> bool {
    let nowhere = std::path::Path::new("/nowhere");
    Source::docker(nowhere, &Redactor::default()).note(event)
}

/// The collector of all engines.
pub struct Containers {
    root: HostRoot,
    bus: Bus,
    redactor: Redactor,
    sources: Vec<Source>,
    starts: Starts,
    /// The last look found all there is.
    whole: bool,
}

impl Containers {
    /// A collector that connects when an engine runs.
    pub fn new(settings: &Settings, bus: Bus) -> Self {
        let sources = vec![
            Source::docker(&settings.docker_socket, &settings.redactor),
            Source::podman(&settings.podman_socket, &settings.redactor),
        ];
        Self::of(settings.root.clone(), bus, settings.redactor.clone(), sources)
    }

    fn of(root: HostRoot, bus: Bus, redactor: Redactor, sources: Vec<Source>) -> Self {
        Self {
            root,
            bus,
            redactor,
            starts: Starts::new(sources.iter().map(Source::socket)),
            sources,
            whole: false,
        }
    }

    /// Takes in which users' engines run now; answers what may be missing.
    fn follow_users(&mut self) -> Vec<String> {
        let (engines, gaps) = rootless::running(&self.root);
        self.sources
            .retain(|source| source.is_of_system() || engines.iter().any(|e| source.is(e)));
        for engine in engines {
            if !self.sources.iter().any(|source| source.is(&engine)) {
                self.sources.push(Source::of_user(engine, &self.redactor));
            }
        }
        gaps
    }
}

#[async_trait]
impl Collector for Containers {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Containers)
    }

    fn budget(&self) -> Budget {
        Budget {
            wall: SLOWEST_LOOK,
            ..Budget::default()
        }
    }

    fn audit_interval(&self) -> Duration {
        if self.whole { AUDIT } else { AGAIN }
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        // Before each look at what it tells of: what starts meanwhile is told.
        self.starts.begin(&self.bus, &[DOCKER, PODMAN]).await;
        self.starts.directories(rootless::groups(&self.root));
        let mut gaps = self.follow_users();
        self.starts.sockets(self.sources.iter().map(Source::socket));
        let (mut items, mut observed) = (Vec::new(), Vec::new());
        // Borrowed, never taken out: a look that is given up at any await must find them again.
        let (bus, root) = (&self.bus, &self.root);
        for source in &mut self.sources {
            source.look(bus, root, &mut gaps).await;
            for (item, seen) in source.known() {
                items.push(Arc::clone(item));
                observed.push(seen.clone());
            }
        }
        observed.sort_by(|a, b| a.name.cmp(&b.name));
        self.whole = gaps.is_empty();
        Ok(Collected {
            content: Content::Containers(items).into(),
            gaps,
            observed: Arc::new(Observed {
                containers: observed,
                ..Observed::default()
            }),
        })
    }

    async fn changed(&mut self) {
        let Self { sources, starts, .. } = self;
        let events = sources.iter().enumerate().filter_map(|(at, source)| {
            let events = source.events()?;
            Some(events.map(move |event| (at, event)).boxed())
        });
        let mut events = futures::stream::select_all(events);
        let mut until = None;
        loop {
            // What belongs to it comes within this time; what comes later is told to the next call.
            let over = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = events.next(), if !events.is_empty() => event,
                () = starts.changed() => {
                    until.get_or_insert_with(|| Instant::now() + BURST);
                    continue;
                }
                () = over => return,
            };
            match event {
                Some((at, Ok(event))) => {
                    if sources.get_mut(at).is_some_and(|source| source.note(&event)) {
                        until.get_or_insert_with(|| Instant::now() + BURST);
                    }
                }
                // The engine went or restarted: the next look says so; not in a hot loop.
                Some((_, Err(_))) | None => return tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
}
