//! Podman's list of containers on disk: it has containers also while no service of it runs, which
//! then cannot be asked about them.

use safetytwin_crds::item::unit::Account;
use safetytwin_crds::names::printable;

use crate::hostroot::HostRoot;

/// The system's list.
pub(super) const LIBPOD: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
/// A user's, below the home directory.
const USERS: &str = ".local/share/containers/storage/overlay-containers/containers.json";
/// Where systemd notes whose services run without a login (loginctl(1), enable-linger).
const LINGER: &str = "/var/lib/systemd/linger";
const LIMIT: u64 = 16 * 1024 * 1024;
/// Most names in a message.
const NAMED: usize = 8;

/// A row of the list.
#[derive(serde::Deserialize)]
struct Stored {
    #[serde(default)]
    names: Option<Vec<String>>,
}

/// What a list of containers says of a Podman that is not asked; `whose` is for people.
pub fn unasked(whose: &str, list: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Vec<Stored>>(list) {
        Ok(containers) if containers.is_empty() => None,
        Ok(containers) => {
            let names = containers.iter().filter_map(|c| c.names.as_ref()?.first());
            let names: Vec<String> = names.take(NAMED).map(|name| printable(name, 64)).collect();
            Some(format!(
                "{whose}: {} containers, but podman.service does not run: {}",
                containers.len(),
                names.join(", ")
            ))
        }
        Err(error) => Some(format!(
            "{whose}: its list of containers is not readable: {error}"
        )),
    }
}

/// The same of a user whose services run without a login. A home that this process may not read says
/// nothing, and neither does a user who is only logged in.
pub(super) fn unasked_of(root: &HostRoot, user: &Account) -> Option<String> {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if !plain(&user.name) || root.modified(&format!("{LINGER}/{}", user.name)).is_none() {
        return None;
    }
    let passwd = root.read("/etc/passwd", LIMIT).ok()?;
    let passwd = String::from_utf8_lossy(&passwd);
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(&user.name)).then(|| fields.nth(4))?
    })?;
    let list = root.read(&format!("{home}/{USERS}"), LIMIT).ok()?;
    unasked(&format!("podman of {}", printable(&user.name, 32)), &list)
}
