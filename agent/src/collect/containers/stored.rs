//! Podman's lists of containers on disk: it has containers also while no service of it runs, which
//! then cannot be asked about them.
//!
//! A storage has a directory `DRIVER-containers` for each storage driver that was ever used, and in
//! it two lists: that of containers, and that of those which end with a restart of the host at the
//! latest (`--rm`, and Quadlet's).

use std::path::Path;

use safetytwin_crds::item::unit::Account;
use safetytwin_crds::names::printable;

use super::storage::{self, User};
use crate::hostroot::{HostRoot, ReadError};

/// Where the second list is instead with `transient_store` (containers-storage.conf(5)).
const TRANSIENT: &str = "/run/containers/storage";
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];
/// Most storage drivers in one storage; there are six.
const DRIVERS: usize = 16;
/// Where systemd notes whose services run without a login (loginctl(1), enable-linger).
const LINGER: &str = "/var/lib/systemd/linger";
const LIMIT: u64 = 16 * 1024 * 1024;
/// Most names in a message.
const NAMED: usize = 8;

/// A row of a list.
#[derive(serde::Deserialize)]
struct Stored {
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    metadata: Option<String>,
}

/// What CRI-O notes of each of its containers, and Podman of none.
#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(default, rename = "pod-id")]
    pod_id: String,
}

impl Stored {
    /// Whether it is Kubernetes', which keeps its containers in the same storage with CRI-O.
    fn is_of_cri(&self) -> bool {
        let metadata = self.metadata.as_deref().unwrap_or_default();
        serde_json::from_str::<Metadata>(metadata).is_ok_and(|metadata| !metadata.pod_id.is_empty())
    }
}

/// Why what is stored is not known.
enum Unknown {
    /// A directory or list cannot be read.
    Read(ReadError),
    /// It is none of Podman's.
    Foreign(String),
}

/// What may be missing while the system's Podman is not asked: a reason if it may have containers. A pod
/// sees no directory that it was not given, so the absence of one says nothing where Podman is installed.
pub(super) fn unasked(root: &HostRoot, is_installed: bool) -> Option<String> {
    let storage = match storage::of_system(root) {
        Ok(storage) => storage,
        Err(why) => return is_installed.then(|| format!("podman: {why}")),
    };
    match stored(root, &[&storage, TRANSIENT]) {
        Ok(containers) if containers.is_empty() => {
            let dir = storage::seen_by(&storage);
            (is_installed && !sees(root, dir))
                .then(|| format!("podman: installed, but {} is not visible", printable(dir, 100)))
        }
        Ok(containers) => Some(told("podman", &containers)),
        Err(Unknown::Read(error)) => Some(format!("podman: {}", storage::unreadable(&error))),
        Err(Unknown::Foreign(why)) => Some(format!("podman: {why}")),
    }
}

/// The same of a user whose services run without a login; one who is only logged in says nothing.
pub(super) fn unasked_of(root: &HostRoot, user: &Account, is_installed: bool) -> Option<String> {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if !plain(&user.name) || root.modified(&format!("{LINGER}/{}", user.name)).is_none() {
        return None;
    }
    let whose = format!("podman of {}", printable(&user.name, 32));
    let unknown = |why: String| is_installed.then(|| format!("{whose}: it may have containers: {why}"));
    let passwd = match root.read("/etc/passwd", LIMIT) {
        Ok(passwd) => passwd,
        Err(error) => return unknown(storage::unreadable(&error)),
    };
    let passwd = String::from_utf8_lossy(&passwd);
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(&user.name)).then(|| fields.nth(4))?
    })?;
    let user = User {
        name: &user.name,
        id: user.id?,
        home,
    };
    let storage = match storage::of_user(root, user) {
        Ok(storage) => storage,
        Err(why) => return unknown(why),
    };
    match stored(root, &[&storage]) {
        Ok(containers) if containers.is_empty() => None,
        Ok(containers) => Some(told(&whose, &containers)),
        Err(Unknown::Read(error)) => unknown(storage::unreadable(&error)),
        Err(Unknown::Foreign(why)) => Some(format!("{whose}: {why}")),
    }
}

fn told(whose: &str, containers: &[Stored]) -> String {
    let names = containers.iter().filter_map(|c| c.names.as_ref()?.first());
    let names: Vec<String> = names.take(NAMED).map(|name| printable(name, 64)).collect();
    format!(
        "{whose}: {} containers, but podman.service does not run: {}",
        containers.len(),
        names.join(", ")
    )
}

/// Whether a directory that does not exist would be missing on the host, too.
fn sees(root: &HostRoot, dir: &str) -> bool {
    root.locate("/") == Path::new("/") || root.modified(dir).is_some()
}

/// The containers of all drivers below some directories, of which any may be missing.
fn stored(root: &HostRoot, storages: &[&str]) -> Result<Vec<Stored>, Unknown> {
    let mut containers = Vec::new();
    for storage in storages {
        let names = root.list(storage).map_err(Unknown::Read)?;
        let names = names.iter().filter_map(|name| name.to_str());
        for (at, driver) in names.filter(|name| name.ends_with("-containers")).enumerate() {
            if at == DRIVERS {
                let storage = printable(storage, 100);
                return Err(Unknown::Foreign(format!(
                    "{storage} has more than {DRIVERS} storage drivers"
                )));
            }
            for list in LISTS {
                let rows = rows(root, &format!("{storage}/{driver}/{list}"))?;
                containers.extend(rows.into_iter().filter(|row| !row.is_of_cri()));
            }
        }
    }
    Ok(containers)
}

fn rows(root: &HostRoot, list: &str) -> Result<Vec<Stored>, Unknown> {
    match root.read(list, LIMIT) {
        Ok(list) => parsed(&list).map_err(Unknown::Foreign),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(Unknown::Read(error)),
    }
}

/// The rows of a list, or why it is none.
fn parsed(list: &[u8]) -> Result<Vec<Stored>, String> {
    serde_json::from_slice(list).map_err(|error| {
        let why = printable(&error.to_string(), 100);
        format!("its list of containers is not readable: {why}")
    })
}

/// What is said of a list.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn said_of(list: &[u8]) -> String {
    parsed(list).map_or_else(|why| why, |rows| told("podman", &rows))
}
