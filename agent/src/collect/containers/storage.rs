//! Where Podman keeps its containers on disk: containers-storage.conf(5).

use std::path::Path;

use safetytwin_crds::names::printable;

use crate::hostroot::{HostRoot, ReadError};

/// The system's, unless `graphroot` says otherwise.
const SYSTEM: &str = "/var/lib/containers/storage";
/// The directory that it is in; it is there before the first container.
const SYSTEM_ROOT: &str = "/var/lib/containers";
/// A user's, below the home directory, unless a setting says otherwise.
const USERS: &str = ".local/share/containers/storage";
/// The administrator's settings stand in for the distribution's as a whole.
const SETTINGS: [&str; 2] = [
    "/etc/containers/storage.conf",
    "/usr/share/containers/storage.conf",
];
const USERS_SETTINGS: &str = ".config/containers/storage.conf";
const LIMIT: u64 = 256 * 1024;

/// Who a user's storage is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct User<'a> {
    /// Login name.
    pub name: &'a str,
    /// Decimal id.
    pub id: u32,
    /// Home directory, absolute.
    pub home: &'a str,
}

/// The system's storage directory.
///
/// # Errors
/// It cannot be told; the text names the file and says why.
pub(super) fn of_system(root: &HostRoot) -> Result<String, String> {
    let Some((file, text)) = system_settings(root)? else {
        return Ok(SYSTEM.to_owned());
    };
    match setting(&text, "graphroot") {
        Some(path) => absolute(path, file, "graphroot"),
        None => Ok(SYSTEM.to_owned()),
    }
}

/// A user's storage directory. A user's own settings come before the administrator's for all users.
///
/// # Errors
/// It cannot be told; the text names the file and says why.
pub(super) fn of_user(root: &HostRoot, user: User<'_>) -> Result<String, String> {
    let own = format!("{}/{USERS_SETTINGS}", user.home);
    if let Some(text) = settings(root, &own)?
        && let Some(path) = setting(&text, "graphroot")
    {
        return absolute(expanded(&path, user), &own, "graphroot");
    }
    if let Some((file, text)) = system_settings(root)?
        && let Some(path) = setting(&text, "rootless_storage_path")
    {
        return absolute(expanded(&path, user), file, "rootless_storage_path");
    }
    Ok(format!("{}/{USERS}", user.home))
}

/// The directory without which nothing is known of a storage: missing, it was not given to this process.
pub(super) fn seen_by(storage: &str) -> &str {
    match Path::new(storage).starts_with(SYSTEM_ROOT) {
        true => SYSTEM_ROOT,
        false => storage,
    }
}

/// The file with the system's settings and its text.
fn system_settings(root: &HostRoot) -> Result<Option<(&'static str, String)>, String> {
    for file in SETTINGS {
        if let Some(text) = settings(root, file)? {
            return Ok(Some((file, text)));
        }
    }
    Ok(None)
}

fn settings(root: &HostRoot, file: &str) -> Result<Option<String>, String> {
    match root.read(file, LIMIT) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

/// Why a storage is not known.
pub(super) fn unreadable(error: &ReadError) -> String {
    printable(&error.to_string(), 200)
}

/// A text of the table `storage` of a TOML file, on one line as all of containers-storage.conf(5) are;
/// none where it is not set, or is empty, which stands for the default.
fn setting(text: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            inside = header
                .split(']')
                .next()
                .is_some_and(|name| name.trim() == "storage");
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        if name.trim().trim_matches(['"', '\'']) != key {
            continue;
        }
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let value = value.get(1..)?.split(quote).next()?;
        return Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    None
}

/// With the variables that Podman puts in (`$HOME`, `${UID}`); another stays, and makes no absolute path
/// or one that does not exist.
fn expanded(path: &str, user: User<'_>) -> String {
    let id = user.id.to_string();
    let values = [("HOME", user.home), ("UID", &id), ("USER", user.name)];
    values.iter().fold(path.to_owned(), |path, (name, value)| {
        let braced = path.replace(&format!("${{{name}}}"), value);
        braced.replace(&format!("${name}"), value)
    })
}

fn absolute(path: String, file: &str, key: &str) -> Result<String, String> {
    let path = path.trim_end_matches('/').to_owned();
    match path.starts_with('/') && !path.contains('$') {
        true => Ok(path),
        false => Err(format!(
            "{}: {key} is no absolute path: {}",
            printable(file, 100),
            printable(&path, 100)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_that_of_its_table_and_not_a_comment() {
        let text = "# graphroot = \"/no\"\ngraphroot = \"/bare\"\n[storage.options]\ngraphroot = \"/options\"\n\
             [ storage ] # mine\ndriver = \"vfs\"\ngraphroot='/data/#1' # here\n[other]\ngraphroot = \"/other\"\n";
        assert_eq!(setting(text, "graphroot").as_deref(), Some("/data/#1"));
        assert_eq!(setting(text, "runroot"), None);
        for unset in [
            "[storage]\ngraphroot = \"\"",
            "[storage]\ngraphroot = 7",
            "[storage]\ngraphroot",
        ] {
            assert_eq!(setting(unset, "graphroot"), None, "{unset}");
        }
    }

    #[test]
    fn a_users_variables_are_put_in_and_an_unknown_one_is_an_error_with_its_file() {
        let user = User {
            name: "alice",
            id: 1000,
            home: "/home/alice",
        };
        let path = |text: &str| absolute(expanded(text, user), "/etc/x.conf", "graphroot");
        assert_eq!(path("$HOME/c/").unwrap(), "/home/alice/c");
        assert_eq!(path("/data/${USER}-$UID").unwrap(), "/data/alice-1000");
        for unknown in ["$XDG_DATA_HOME/c", "relative", "/data/$ELSE"] {
            assert!(
                path(unknown).unwrap_err().starts_with("/etc/x.conf: graphroot"),
                "{unknown}"
            );
        }
    }

    #[test]
    fn only_the_systems_own_place_is_known_by_its_parent() {
        assert_eq!(seen_by(SYSTEM), "/var/lib/containers");
        assert_eq!(
            seen_by("/var/lib/containers-2/storage"),
            "/var/lib/containers-2/storage"
        );
    }
}
