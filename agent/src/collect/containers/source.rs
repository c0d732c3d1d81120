//! One engine: whether it runs, and its list of containers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bollard::errors::Error;
use bollard::models::{ContainerSummary, EventMessage, EventMessageTypeEnum, ImageInspect};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::Stream;
use safetytwin_crds::canonical::canonical_json;
use safetytwin_crds::item::container::{ContainerItem, Engine};
use safetytwin_crds::item::observed::ObservedContainer;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::names::printable;

use super::item::{self, Inspected};
use super::others::{self, Others};
use super::rootless::UserEngine;
use super::{DOCKER, PODMAN, stored};
use crate::collect::CollectError;
use crate::collect::bus::Bus;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

const DEADLINE_SECONDS: u64 = 10;
/// All containers are asked about this often, whatever list and events say.
const WHOLE: Duration = Duration::from_secs(600);
/// Largest item as canonical JSON: one part of a section holds it whatever else there is.
const ITEM_BYTES: usize = 128 * 1024;
/// Where an engine's service is, once the engine is installed.
const INSTALLED_IN: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// An engine and where it listens.
pub(super) struct Source {
    engine: Engine,
    /// Whose it is, if not the system's.
    user: Option<Account>,
    unit: &'static str,
    socket: PathBuf,
    client: Option<Docker>,
    redactor: Redactor,
    /// What it listed last, by id.
    known: BTreeMap<String, Kept>,
    /// How its containers belong together, as of then.
    others: Others,
    /// When all were asked about, whatever the list said.
    whole: Option<Instant>,
    /// Containers that events were about since then; none where they were about more than single ones.
    touched: Option<BTreeSet<String>>,
    /// When the last look began, by the wall clock: events since then are still to be told.
    looked: SystemTime,
}

/// A container as it was inspected last.
#[derive(Clone)]
struct Kept {
    /// Its row in the list, without what moves by itself.
    row: ContainerSummary,
    seen: Result<(Arc<ContainerItem>, ObservedContainer), String>,
}

/// The row of a container without the time that it has been up; its health stays.
fn steady(mut row: ContainerSummary) -> ContainerSummary {
    let health = |status: String| status.split_once('(').map(|(_, health)| health.to_owned());
    row.status = row.status.and_then(health);
    row
}

/// Whether the service of an engine is installed.
pub(super) fn is_installed(root: &HostRoot, unit: &str) -> bool {
    let mut files = INSTALLED_IN.iter().map(|dir| format!("{dir}/{unit}"));
    files.any(|file| root.modified(&file).is_some())
}

/// Whether an engine answered, but with what cannot be used: that is one container's affair.
fn is_of_one(error: &Error) -> bool {
    matches!(
        error,
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::DockerResponseServerError { .. }
    )
}

/// Whether what was asked about is gone.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

impl Source {
    fn new(engine: Engine, unit: &'static str, socket: &Path, redactor: &Redactor) -> Self {
        Self {
            engine,
            user: None,
            unit,
            socket: socket.into(),
            client: None,
            redactor: redactor.clone(),
            known: BTreeMap::new(),
            others: Others::default(),
            whole: None,
            touched: Some(BTreeSet::new()),
            looked: SystemTime::now(),
        }
    }

    /// The system's Docker.
    pub fn docker(socket: &Path, redactor: &Redactor) -> Self {
        Self::new(Engine::Docker, DOCKER, socket, redactor)
    }

    /// The system's Podman.
    pub fn podman(socket: &Path, redactor: &Redactor) -> Self {
        Self::new(Engine::Podman, PODMAN, socket, redactor)
    }

    /// A user's engine, which runs.
    pub fn of_user(engine: UserEngine, redactor: &Redactor) -> Self {
        Self {
            user: Some(engine.user),
            ..Self::new(engine.engine, "", &engine.socket, redactor)
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether it is the system's.
    pub fn is_of_system(&self) -> bool {
        self.user.is_none()
    }

    /// Whether it is this user's engine.
    pub fn is(&self, engine: &UserEngine) -> bool {
        self.engine == engine.engine && self.user.as_ref() == Some(&engine.user)
    }

    /// What it listed last; nothing when it does not run.
    pub fn known(&self) -> impl Iterator<Item = &(Arc<ContainerItem>, ObservedContainer)> {
        self.known.values().filter_map(|kept| kept.seen.as_ref().ok())
    }

    /// Its events since the last look began.
    pub fn events(&self) -> Option<impl Stream<Item = Result<EventMessage, Error>> + Send + use<>> {
        let since = self
            .looked
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let kinds = HashMap::from([("type", vec!["container", "network"])]);
        let options = EventsOptionsBuilder::default()
            .filters(&kinds)
            .since(&since)
            .build();
        let client = self.client.clone()?;
        Some(client.events(Some(options)))
    }

    /// Takes in an event; answers whether there is something to look at.
    pub fn note(&mut self, event: &EventMessage) -> bool {
        // Health checks run all the time and change nothing that is declared.
        if event
            .action
            .as_deref()
            .is_some_and(|action| action.starts_with("exec_"))
        {
            return false;
        }
        let of_container = event.typ == Some(EventMessageTypeEnum::CONTAINER);
        let id = event.actor.as_ref().and_then(|actor| actor.id.clone());
        match (&mut self.touched, id.filter(|_| of_container)) {
            (Some(touched), Some(id)) => {
                touched.insert(id);
            }
            _ => self.touched = None,
        }
        true
    }

    fn name(&self) -> String {
        match &self.user {
            Some(user) => format!("{} of {}", self.engine.command(), printable(&user.name, 32)),
            None => self.engine.command().to_owned(),
        }
    }

    /// Looks at it; `gaps` gets what may be missing from [`Source::known`] afterwards.
    pub async fn look(&mut self, bus: &Bus, root: &HostRoot, gaps: &mut Vec<String>) {
        if !self.runs(bus, root).await {
            self.client = None;
            self.known.clear();
            self.whole = None;
            gaps.extend(self.silent(root));
            return;
        }
        match self.list().await {
            Ok(missing) => gaps.extend(missing),
            Err(error) => {
                self.client = None;
                gaps.push(match self.user {
                    Some(_) => format!("{}: {error}", self.name()),
                    None => error.to_string(),
                });
            }
        }
    }

    /// Whether the service behind the socket runs by itself.
    async fn runs(&self, bus: &Bus, root: &HostRoot) -> bool {
        if self.user.is_some() {
            return true;
        }
        match bus.active_state(self.unit).await {
            Ok(state) => matches!(state.as_deref(), Some("active" | "reloading")),
            Err(_) => self.engine == Engine::Docker && root.has_process(b"dockerd"),
        }
    }

    /// What is known of an engine that cannot be asked: a reason if it may have containers. A pod
    /// sees neither socket nor list that it was not given, so their absence alone says nothing.
    fn silent(&self, root: &HostRoot) -> Option<String> {
        let is_installed = is_installed(root, self.unit);
        match self.engine {
            Engine::Docker => (self.socket.exists() || is_installed)
                .then(|| "docker: installed but not running; asking would start it".to_owned()),
            Engine::Podman => stored::unasked(root, is_installed),
        }
    }

    fn fail(&self, source: Error) -> CollectError {
        CollectError::Engine {
            engine: self.engine.command(),
            source,
        }
    }

    async fn connect(&mut self) -> Result<Docker, CollectError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let path = self.socket.to_string_lossy();
        let client = Docker::connect_with_unix(&path, DEADLINE_SECONDS, API_DEFAULT_VERSION)
            .map_err(|e| self.fail(e))?;
        let client = client.negotiate_version().await.map_err(|e| self.fail(e))?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Lists all containers, asks about those of which something may have changed, and answers what may be missing.
    async fn list(&mut self) -> Result<Vec<String>, CollectError> {
        let client = self.connect().await?;
        let (began, mut gaps) = (SystemTime::now(), Vec::new());
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let rows = client
            .list_containers(Some(options))
            .await
            .map_err(|e| self.fail(e))?;
        let mut others = Others::new(&rows);
        if self.engine == Engine::Podman && !rows.is_empty() {
            match others::members(&self.socket).await {
                Ok(members) => others.add(members),
                Err(why) => gaps.push(format!("{}: its pods are unknown: {why}", self.name())),
            }
        }
        let old = self.whole.is_none_or(|at| at.elapsed() >= WHOLE);
        let touched = self.touched.as_ref().filter(|_| !old && others == self.others);
        let mut images = BTreeMap::new();
        let mut found = BTreeMap::new();
        for row in rows.into_iter().map(steady) {
            let Some(id) = row.id.clone().filter(|id| !others.is_infra(id)) else {
                continue;
            };
            // One that could not be read is asked about again.
            let same = self
                .known
                .get(&id)
                .filter(|kept| kept.row == row && kept.seen.is_ok());
            if let Some(kept) = same.filter(|_| touched.is_some_and(|touched| !touched.contains(&id))) {
                found.insert(id, kept.clone());
                continue;
            }
            let seen = match self.one(&client, &id, &others, &mut images).await? {
                Ok(None) => continue,
                Ok(Some(seen)) => Ok(seen),
                Err(why) => Err(format!("{}: {}", self.name(), printable(&why, 200))),
            };
            found.insert(id, Kept { row, seen });
        }
        if touched.is_none() {
            self.whole = Some(Instant::now());
        }
        // Only now: a look that is given up at an await above leaves everything as it was.
        (self.known, self.others, self.looked) = (found, others, began);
        self.touched = Some(BTreeSet::new());
        gaps.extend(
            self.known
                .values()
                .filter_map(|kept| kept.seen.as_ref().err().cloned()),
        );
        Ok(gaps)
    }

    /// One container; none when it was removed meanwhile. The inner error is of this one alone.
    async fn one(
        &self,
        client: &Docker,
        id: &str,
        others: &Others,
        images: &mut BTreeMap<String, Option<ImageInspect>>,
    ) -> Result<Result<Option<(Arc<ContainerItem>, ObservedContainer)>, String>, CollectError> {
        let inspected = client
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        let details = match inspected {
            Ok(details) => details,
            Err(error) if is_gone(&error) => return Ok(Ok(None)),
            Err(error) if is_of_one(&error) => {
                return Ok(Err(format!("container {}: {error}", id.get(..12).unwrap_or(id))));
            }
            Err(error) => return Err(self.fail(error)),
        };
        let image = details.image.clone().unwrap_or_default();
        if !image.is_empty() && !images.contains_key(&image) {
            let inspected = match client.inspect_image(&image).await {
                Ok(inspected) => Some(inspected),
                Err(error) if is_gone(&error) => None,
                // What is the image's would read as the container's own.
                Err(error) if is_of_one(&error) => return Ok(Err(format!("image of {id}: {error}"))),
                Err(error) => return Err(self.fail(error)),
            };
            images.insert(image.clone(), inspected);
        }
        let seen = Inspected {
            engine: self.engine,
            user: self.user.as_ref(),
            details: &details,
            image: images.get(&image).and_then(Option::as_ref),
            others,
            redactor: &self.redactor,
        };
        Ok(item::container(seen).and_then(bounded).map(|item| {
            let observed = item::observed(&item, &details);
            Some((Arc::new(item), observed))
        }))
    }
}

/// Refuses an item that would not fit beside others.
fn bounded(item: ContainerItem) -> Result<ContainerItem, String> {
    let bytes = canonical_json(&item).map_err(|error| error.to_string())?;
    if bytes.len() > ITEM_BYTES {
        let kib = bytes.len() / 1024;
        return Err(format!(
            "{} is refused: {kib} KiB, more than {}",
            item.name,
            ITEM_BYTES / 1024
        ));
    }
    Ok(item)
}
