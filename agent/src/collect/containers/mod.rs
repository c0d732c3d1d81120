//! Containers of Docker and Podman, over Docker's API: events first, a list as audit.
//!
//! Invariant: no engine is started by looking. The API sockets are activated by a connection, so
//! one is opened only while the service behind it runs (over D-Bus; without systemd, while a
//! `dockerd` process exists). Kubernetes' containers are in neither engine and do not appear.

mod health;
pub(crate) mod item;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt;
use safetytwin_crds::item::Observed;
use safetytwin_crds::item::container::{ContainerItem, Engine};
use safetytwin_crds::item::observed::ObservedContainer;
use safetytwin_crds::section::SectionName;

use super::bus::Bus;
use super::{Budget, CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::{HostRoot, read_plain};
use crate::redact::Redactor;
use crate::settings::Settings;

const AUDIT: Duration = Duration::from_secs(30);
const DEADLINE_SECONDS: u64 = 10;
/// An engine that starts on an emulated machine answers that slowly.
const SLOWEST_LOOK: Duration = Duration::from_secs(60);
/// Events of one `docker run` are looked at together.
const BURST: Duration = Duration::from_millis(150);
/// Podman's list of containers, which needs no API.
const LIBPOD: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
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
struct Source {
    engine: Engine,
    unit: &'static str,
    socket: PathBuf,
    client: Option<Docker>,
}

/// The collector of both engines.
pub struct Containers {
    root: HostRoot,
    bus: Bus,
    redactor: Redactor,
    sources: Vec<Source>,
}

impl Containers {
    /// A collector that connects when an engine runs.
    pub fn new(settings: &Settings, bus: Bus) -> Self {
        let source = |engine, unit, socket: &Path| Source {
            engine,
            unit,
            socket: socket.into(),
            client: None,
        };
        Self {
            root: settings.root.clone(),
            bus,
            redactor: settings.redactor.clone(),
            sources: vec![
                source(Engine::Docker, "docker.service", &settings.docker_socket),
                source(Engine::Podman, "podman.service", &settings.podman_socket),
            ],
        }
    }
}

/// Whether a directory that does not exist would be missing on the host, too.
fn sees(root: &HostRoot, dir: &str) -> bool {
    root.locate("/") == Path::new("/") || root.modified(dir).is_some()
}

/// What the list of a Podman without a service says: it needs none to have containers.
fn idle_podman(list: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(list) {
        Ok(containers) if containers.is_empty() => None,
        Ok(containers) => Some(format!(
            "podman: {} containers, but podman.service does not run",
            containers.len()
        )),
        Err(error) => Some(format!("podman: {LIBPOD} is not readable: {error}")),
    }
}

/// Whether a process of this name exists.
fn process_exists(proc: &Path, comm: &[u8]) -> bool {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| read_plain(&entry.path().join("comm"), 64).ok())
        .any(|name| name.trim_ascii_end() == comm)
}

impl Source {
    /// Whether the service behind the socket runs by itself.
    async fn runs(&self, bus: &Bus, root: &HostRoot) -> bool {
        match bus.active_state(self.unit).await {
            Ok(state) => matches!(state.as_deref(), Some("active" | "reloading")),
            Err(_) => self.engine == Engine::Docker && process_exists(root.proc(), b"dockerd"),
        }
    }

    /// What is known of an engine that cannot be asked: a reason if it may have containers. A pod
    /// sees neither socket nor list that it was not given, so their absence alone says nothing.
    fn silent(&self, root: &HostRoot) -> Option<String> {
        match self.engine {
            Engine::Docker => (self.socket.exists() || self.is_installed(root))
                .then(|| "docker: installed but not running; asking would start it".to_owned()),
            Engine::Podman => match root.read(LIBPOD, 16 * 1024 * 1024) {
                Ok(list) => idle_podman(&list),
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

    async fn connect(&mut self) -> Result<Docker, CollectError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let fail = |source| CollectError::Engine {
            engine: self.engine.command(),
            source,
        };
        let path = self.socket.to_string_lossy();
        let client = Docker::connect_with_unix(&path, DEADLINE_SECONDS, API_DEFAULT_VERSION).map_err(fail)?;
        let client = client.negotiate_version().await.map_err(fail)?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// All containers; `gaps` gets those that could not be read.
    async fn list(
        &mut self,
        redactor: &Redactor,
        gaps: &mut Vec<String>,
        observed: &mut Vec<ObservedContainer>,
    ) -> Result<Vec<ContainerItem>, CollectError> {
        let engine = self.engine;
        let client = self.connect().await?;
        let fail = |source| CollectError::Engine {
            engine: engine.command(),
            source,
        };
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let rows = client.list_containers(Some(options)).await.map_err(fail)?;
        let mut items = Vec::new();
        for id in rows.into_iter().filter_map(|row| row.id) {
            let inspected = client
                .inspect_container(&id, None::<InspectContainerOptions>)
                .await;
            let details = match inspected {
                Ok(details) => details,
                // Removed meanwhile.
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => continue,
                Err(source) => return Err(fail(source)),
            };
            let image = match details.image.as_deref() {
                Some(image) => client.inspect_image(image).await.ok().and_then(|i| i.config),
                None => None,
            };
            match item::container(engine, &details, image.as_ref(), redactor) {
                Ok(Some(item)) => {
                    observed.push(item::observed(&item, &details));
                    items.push(item);
                }
                Ok(None) => {}
                Err(why) => gaps.push(format!("{}: {why}", engine.command())),
            }
        }
        Ok(items)
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
        AUDIT
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        let mut items = Vec::new();
        let mut gaps = Vec::new();
        let mut observed = Vec::new();
        // Borrowed, never taken out: a look that is given up at any await must find them again.
        let (bus, root, redactor) = (&self.bus, &self.root, &self.redactor);
        for source in &mut self.sources {
            if !source.runs(bus, root).await {
                source.client = None;
                gaps.extend(source.silent(root));
                continue;
            }
            match source.list(redactor, &mut gaps, &mut observed).await {
                Ok(found) => items.extend(found),
                Err(error) => {
                    source.client = None;
                    gaps.push(error.to_string());
                }
            }
        }
        observed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Collected {
            content: Content::Containers(items),
            gaps,
            observed: Observed {
                containers: observed,
                ..Observed::default()
            },
        })
    }

    async fn changed(&mut self) {
        let mut streams = Vec::new();
        for client in self.sources.iter().filter_map(|s| s.client.as_ref()) {
            let kinds = std::collections::HashMap::from([("type", vec!["container", "network"])]);
            let options = EventsOptionsBuilder::default().filters(&kinds).build();
            streams.push(client.events(Some(options)).boxed());
        }
        if streams.is_empty() {
            return std::future::pending().await;
        }
        let mut events = futures::stream::select_all(streams);
        loop {
            match events.next().await {
                // Health checks run all the time and change nothing that is declared.
                Some(Ok(event)) if event.action.as_deref().is_some_and(|a| a.starts_with("exec_")) => {}
                Some(Ok(_)) => break,
                // The engine went or restarted: the next look says so; not in a hot loop.
                Some(Err(_)) | None => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    break;
                }
            }
        }
        tokio::time::sleep(BURST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host without a bus on which `dockerd` runs and its socket accepts, but never answers.
    fn with_silent_docker(root: &Path) -> (Containers, std::os::unix::net::UnixListener) {
        std::fs::create_dir_all(root.join("proc/7")).unwrap();
        std::fs::write(root.join("proc/7/comm"), "dockerd\n").unwrap();
        let socket = root.join("docker.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let source = Source {
            engine: Engine::Docker,
            unit: "docker.service",
            socket,
            client: None,
        };
        let collector = Containers {
            root: HostRoot::new(root, root.join("proc"), root.join("sys")),
            bus: Bus::new(root.join("no-bus")),
            redactor: Redactor::default(),
            sources: vec![source],
        };
        (collector, listener)
    }

    #[tokio::test]
    async fn an_engine_whose_look_was_given_up_never_reads_as_no_containers() {
        let dir = tempfile::tempdir().unwrap();
        let (mut containers, listener) = with_silent_docker(dir.path());
        let look = containers.collect(Scope::Audit);
        let given_up = tokio::time::timeout(Duration::from_millis(100), look).await;
        assert!(given_up.is_err(), "the engine answered");
        drop(listener);
        let collected = containers.collect(Scope::Audit).await.unwrap();
        assert!(!collected.gaps.is_empty(), "{collected:?}");
    }
    /// What a look below `host` misses, without a bus and without processes.
    async fn gaps(host: &Path) -> Vec<String> {
        let nowhere = host.join("nowhere");
        let source = |engine, unit, socket: &str| Source {
            engine,
            unit,
            socket: host.join(socket),
            client: None,
        };
        let mut containers = Containers {
            root: HostRoot::new(host, &nowhere, &nowhere),
            bus: Bus::new(nowhere.clone()),
            redactor: Redactor::default(),
            sources: vec![
                source(Engine::Docker, "docker.service", "run/docker.sock"),
                source(Engine::Podman, "podman.service", "run/podman/podman.sock"),
            ],
        };
        containers.collect(Scope::Audit).await.unwrap().gaps
    }

    #[tokio::test]
    async fn an_engine_that_a_pod_cannot_see_never_reads_as_no_containers() {
        let host = tempfile::tempdir().unwrap();
        assert_eq!(gaps(host.path()).await, Vec::<String>::new());
        let units = host.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        std::fs::write(units.join("docker.service"), "").unwrap();
        assert!(gaps(host.path()).await[0].starts_with("docker: installed"));
        std::fs::rename(units.join("docker.service"), units.join("podman.service")).unwrap();
        assert!(gaps(host.path()).await[0].starts_with("podman: installed"));
        std::fs::create_dir_all(host.path().join("var/lib/containers")).unwrap();
        assert_eq!(gaps(host.path()).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn containers_of_an_idle_podman_are_counted() {
        let host = tempfile::tempdir().unwrap();
        let list = host.path().join(LIBPOD.trim_start_matches('/'));
        std::fs::create_dir_all(list.parent().unwrap()).unwrap();
        std::fs::write(list, r#"[{"id":"x"}]"#).unwrap();
        assert!(gaps(host.path()).await[0].contains("1 containers"));
    }
}
