//! One engine: whether it runs, and its list of containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use safetytwin_crds::digest::canonical_json;
use safetytwin_crds::item::container::{ContainerItem, Engine};
use safetytwin_crds::item::observed::ObservedContainer;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::names::printable;

use super::item::{self, Inspected};
use super::others::{self, Others};
use super::rootless::UserEngine;
use super::stored::{self, LIBPOD};
use crate::collect::CollectError;
use crate::collect::bus::Bus;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

const DEADLINE_SECONDS: u64 = 10;
/// Largest item as canonical JSON: one part of a section holds it whatever else there is.
const ITEM_BYTES: usize = 128 * 1024;
/// The directory that it is in; it is there before the first container.
const LIBPOD_ROOT: &str = "/var/lib/containers";
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
    /// What it listed last.
    known: Vec<(ContainerItem, ObservedContainer)>,
}

/// Whether a directory that does not exist would be missing on the host, too.
fn sees(root: &HostRoot, dir: &str) -> bool {
    root.locate("/") == Path::new("/") || root.modified(dir).is_some()
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
            known: Vec::new(),
        }
    }

    /// The system's Docker.
    pub fn docker(socket: &Path, redactor: &Redactor) -> Self {
        Self::new(Engine::Docker, "docker.service", socket, redactor)
    }

    /// The system's Podman.
    pub fn podman(socket: &Path, redactor: &Redactor) -> Self {
        Self::new(Engine::Podman, "podman.service", socket, redactor)
    }

    /// A user's engine, which runs.
    pub fn of_user(engine: UserEngine, redactor: &Redactor) -> Self {
        Self {
            user: Some(engine.user),
            ..Self::new(engine.engine, "", &engine.socket, redactor)
        }
    }

    /// Whether it is the system's.
    pub fn is_of_system(&self) -> bool {
        self.user.is_none()
    }

    /// Whether it is this user's engine.
    pub fn is(&self, engine: &UserEngine) -> bool {
        self.engine == engine.engine && self.user.as_ref() == Some(&engine.user)
    }

    /// The connection, while the engine runs.
    pub fn client(&self) -> Option<&Docker> {
        self.client.as_ref()
    }

    /// What it listed last; nothing when it does not run.
    pub fn known(&self) -> &[(ContainerItem, ObservedContainer)] {
        &self.known
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
            gaps.extend(self.silent(root));
            return;
        }
        match self.list(gaps).await {
            Ok(found) => self.known = found,
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
        match self.engine {
            Engine::Docker => (self.socket.exists() || self.is_installed(root))
                .then(|| "docker: installed but not running; asking would start it".to_owned()),
            Engine::Podman => match root.read(LIBPOD, 16 * 1024 * 1024) {
                Ok(list) => stored::unasked("podman", &list),
                Err(error) if error.is_not_found() => (!sees(root, LIBPOD_ROOT) && self.is_installed(root))
                    .then(|| format!("podman: installed, but {LIBPOD_ROOT} is not visible")),
                Err(error) => Some(format!("podman: {error}")),
            },
        }
    }

    fn is_installed(&self, root: &HostRoot) -> bool {
        let mut files = INSTALLED_IN.iter().map(|dir| format!("{dir}/{}", self.unit));
        files.any(|file| root.modified(&file).is_some())
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

    /// All containers; `gaps` gets those that could not be read.
    async fn list(
        &mut self,
        gaps: &mut Vec<String>,
    ) -> Result<Vec<(ContainerItem, ObservedContainer)>, CollectError> {
        let client = self.connect().await?;
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
        let mut images = BTreeMap::new();
        let mut found = Vec::new();
        for id in rows.into_iter().filter_map(|row| row.id) {
            if others.is_infra(&id) {
                continue;
            }
            match self.one(&client, &id, &others, &mut images).await? {
                Ok(Some(seen)) => found.push(seen),
                Ok(None) => {}
                Err(why) => gaps.push(format!("{}: {}", self.name(), printable(&why, 200))),
            }
        }
        Ok(found)
    }

    /// One container; none when it was removed meanwhile. The inner error is of this one alone.
    async fn one(
        &self,
        client: &Docker,
        id: &str,
        others: &Others,
        images: &mut BTreeMap<String, Option<ImageInspect>>,
    ) -> Result<Result<Option<(ContainerItem, ObservedContainer)>, String>, CollectError> {
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
            Some((item, observed))
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
