//! Engines of users: their sockets are below `/run/user/UID`.
//!
//! A user's engine is a service of that user's service manager, which only the user may ask. Whether
//! it runs is seen without asking: systemd makes the control group of a service when it starts and
//! removes it when it ends (systemd.resource-control(5)). A socket whose service has no group is
//! never connected to: that would start it.

use std::path::PathBuf;

use safetytwin_crds::item::container::Engine;
use safetytwin_crds::item::unit::Account;

use super::source::is_installed;
use super::{DOCKER, PODMAN, stored};
use crate::collect::accounts::Accounts;
use crate::hostroot::{HostRoot, ReadError};

/// Most users whose engines are looked for.
const USERS: usize = 64;
const RUN: &str = "/run/user";
/// Where the tree of control groups is that systemd makes, below sysfs.
const TREES: [&str; 3] = ["fs/cgroup", "fs/cgroup/systemd", "fs/cgroup/unified"];
/// In which a user's services are (systemd.special(7)).
const SLICE: &str = "app.slice";

/// A user's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEngine {
    /// Which.
    pub engine: Engine,
    /// Whose.
    pub user: Account,
    /// Its socket, as this process sees it.
    pub socket: PathBuf,
}

/// Users that have a directory for what they run, by id.
fn users(root: &HostRoot) -> Result<Vec<u32>, ReadError> {
    let names = root.list(RUN)?;
    let ids = names.iter().filter_map(|id| id.to_str()?.parse().ok());
    let mut ids: Vec<u32> = ids.filter(|id| *id != 0).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Directories in which a group appears when a user's engine starts, as this process sees them.
pub fn groups(root: &HostRoot) -> Vec<PathBuf> {
    let users = users(root).unwrap_or_default().into_iter().take(USERS);
    let managers = users.flat_map(|uid| {
        let manager = manager(uid);
        TREES.map(|tree| root.sys().join(tree).join(&manager))
    });
    managers.flat_map(|group| [group.join(SLICE), group]).collect()
}

/// Engines of users that run now, and reasons why there may be more.
pub fn running(root: &HostRoot) -> (Vec<UserEngine>, Vec<String>) {
    let (mut engines, mut gaps) = (Vec::new(), Vec::new());
    let ids = match users(root) {
        Ok(ids) => ids,
        Err(error) => return (engines, vec![error.to_string()]),
    };
    if ids.len() > USERS {
        gaps.push(format!(
            "engines of {} users are not looked for",
            ids.len() - USERS
        ));
    }
    let (mut accounts, is_installed) = (None, is_installed(root, PODMAN));
    for uid in ids.into_iter().take(USERS) {
        for (engine, unit, socket) in [
            (Engine::Docker, DOCKER, "docker.sock"),
            (Engine::Podman, PODMAN, "podman/podman.sock"),
        ] {
            let accounts = accounts.get_or_insert_with(|| Accounts::read(root));
            if !has_group(root, uid, unit) {
                if engine == Engine::Podman {
                    gaps.extend(stored::unasked_of(root, &accounts.user_of(uid), is_installed));
                }
                continue;
            }
            engines.push(UserEngine {
                engine,
                user: accounts.user_of(uid),
                socket: root.locate(&format!("{RUN}/{uid}/{socket}")),
            });
        }
    }
    (engines, gaps)
}

/// Control group of a user's service manager.
fn manager(uid: u32) -> String {
    format!("user.slice/user-{uid}.slice/user@{uid}.service")
}

/// Whether a service of a user's manager has a control group, in the unified tree or in systemd's own.
fn has_group(root: &HostRoot, uid: u32, unit: &str) -> bool {
    let group = format!("{}/{SLICE}/{unit}", manager(uid));
    let mut trees = TREES.iter();
    trees.any(|tree| root.sys().join(tree).join(&group).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_engine_is_one_while_its_service_has_a_control_group_and_only_then() {
        let host = tempfile::tempdir().unwrap();
        let root = HostRoot::new(host.path(), host.path().join("proc"), host.path().join("sys"));
        assert_eq!(running(&root), (vec![], vec![]));
        for uid in ["0", "1000", "1001", "x"] {
            std::fs::create_dir_all(host.path().join("run/user").join(uid).join("podman")).unwrap();
        }
        std::fs::create_dir_all(host.path().join("etc")).unwrap();
        std::fs::write(
            host.path().join("etc/passwd"),
            "alice:x:1000:1000::/home/alice:/bin/sh\n",
        )
        .unwrap();
        assert_eq!(running(&root).0, vec![], "a socket alone is never connected to");
        let list = host
            .path()
            .join("home/alice/.local/share/containers/storage/overlay-containers");
        std::fs::create_dir_all(&list).unwrap();
        std::fs::write(list.join("containers.json"), r#"[{"names":["web"]}]"#).unwrap();
        assert_eq!(running(&root).1, Vec::<String>::new(), "a login says nothing");
        std::fs::create_dir_all(host.path().join("var/lib/systemd/linger/alice")).unwrap();
        assert_eq!(
            running(&root).1,
            ["podman of alice: 1 containers, but podman.service does not run: web"]
        );
        let group = "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/podman.service";
        std::fs::create_dir_all(host.path().join(group)).unwrap();
        let (engines, gaps) = running(&root);
        let [engine] = engines.as_slice() else {
            panic!("{engines:?}");
        };
        assert_eq!(
            (engine.engine, engine.user.name.as_str(), gaps),
            (Engine::Podman, "alice", vec![])
        );
        assert_eq!(
            engine.socket,
            host.path().join("run/user/1000/podman/podman.sock")
        );
    }
}
