//! Tells when an engine may have started or ended, without asking it: one that does not run has no
//! events of its own.
//!
//! ```text
//! system's, systemd:   signals say that its service is active, or no longer
//! system's, without:   inotify sees the socket, or the directory that it will be in
//! users':              inotify sees the control group of the service, and the socket
//! ```
//! None of it is a reason to connect: whether an engine may be asked is for the look that follows. Where
//! nothing can be watched, and of users who come later, the audit tells.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant};

use crate::collect::CollectError;
use crate::collect::bus::{self, Bus, PROPERTIES, SYSTEMD, unit_path};
use crate::collect::watch::Watch;

const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// Names below the directories of users: sockets, their directory, groups of services, their slice.
const USERS: [&str; 6] = [
    "docker.sock",
    "podman",
    "podman.sock",
    "docker.service",
    "podman.service",
    "app.slice",
];

/// What is watched and heard.
pub(super) struct Starts {
    watch: Option<Watch>,
    signals: Option<Signals>,
}

impl Starts {
    /// Nothing yet, for the system's `sockets` and those of users.
    pub fn new<'a>(sockets: impl IntoIterator<Item = &'a Path>) -> Self {
        let parts = sockets.into_iter().flat_map(|socket| socket.iter());
        let mut names: BTreeSet<Vec<u8>> = parts.map(|part| part.as_encoded_bytes().to_vec()).collect();
        names.extend(USERS.map(|name| name.as_bytes().to_vec()));
        Self {
            watch: Watch::new(move |name| names.contains(name)).ok(),
            signals: None,
        }
    }

    /// Takes what was told so far as known, for a look begins, and hears of these services from now on.
    pub async fn begin(&mut self, bus: &Bus, units: &[&'static str]) {
        if let Some(watch) = &self.watch {
            watch.read();
        }
        if self.signals.as_ref().is_some_and(Signals::ended) {
            self.signals = None;
        }
        match &self.signals {
            Some(signals) => drop(signals.bell.notified().now_or_never()),
            // Without systemd there is nobody to hear; of a failure the look has its own.
            None => {
                if let Ok(connection) = bus.connection().await {
                    self.signals = Signals::subscribe(&connection, units).await.ok();
                }
            }
        }
    }

    /// Watches directories, as this process sees them.
    pub fn directories(&mut self, dirs: impl IntoIterator<Item = PathBuf>) {
        if let Some(watch) = &mut self.watch {
            watch.follow_paths(dirs);
        }
    }

    /// Watches where sockets are or will be: as deep as there are directories.
    pub fn sockets<'a>(&mut self, sockets: impl IntoIterator<Item = &'a Path>) {
        let sockets = sockets.into_iter();
        self.directories(sockets.filter_map(|socket| {
            let mut above = socket.ancestors().skip(1);
            above.find(|dir| dir.is_dir()).map(Path::to_path_buf)
        }));
    }

    /// Resolves when an engine may have started or ended.
    pub async fn changed(&self) {
        let seen = async {
            match &self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let heard = async {
            match &self.signals {
                Some(signals) => signals.bell.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { () = seen => {} () = heard => {} }
    }
}

/// A subscription to the states of some services; ends when dropped.
struct Signals {
    bell: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Signals {
    async fn subscribe(connection: &Connection, units: &[&'static str]) -> Result<Self, CollectError> {
        let fail = |source| CollectError::Bus {
            call: "AddMatch",
            source,
        };
        let mut streams = Vec::new();
        for unit in units {
            let rule = MatchRule::builder()
                .msg_type(Type::Signal)
                .sender(SYSTEMD)
                .interface(PROPERTIES)
                .member("PropertiesChanged")
                .path(unit_path(unit))
                .add_arg(UNIT)
                .build()
                .map_err(fail)?;
            let stream = MessageStream::for_match_rule(rule, connection, None).await;
            streams.push(stream.map_err(fail)?);
        }
        bus::subscribe(connection).await?;
        let bell = Arc::<Notify>::default();
        let task = tokio::spawn(drain(streams, bell.clone())).abort_handle();
        Ok(Self { bell, task })
    }

    /// Whether the connection is gone.
    fn ended(&self) -> bool {
        self.task.is_finished()
    }
}

/// Rings for each state in which a service stays. A task of its own, so that signals never block a reply.
async fn drain(streams: Vec<MessageStream>, bell: Arc<Notify>) {
    let mut messages = futures::stream::select_all(streams);
    let mut known = HashMap::new();
    while let Some(Ok(message)) = messages.next().await {
        let Some((unit, state)) = state(&message) else {
            continue;
        };
        let stays = matches!(state.as_str(), "active" | "inactive" | "failed");
        // The states between count: of a restart the last may be the same as the first.
        let is_news = known.insert(unit, state.clone()).as_ref() != Some(&state);
        if stays && is_news {
            bell.notify_one();
        }
    }
    bell.notify_one();
}

/// The object of a unit and its `ActiveState`, when a signal says it.
fn state(message: &Message) -> Option<(String, String)> {
    type Body = (String, HashMap<String, OwnedVariant>, Vec<String>);
    let path = message.header().path()?.to_string();
    let (_, mut values, _) = message.body().deserialize::<Body>().ok()?;
    let state = String::try_from(values.remove("ActiveState")?).ok()?;
    Some((path, state))
}
