//! Which directories are watched for units, and which names in them matter: an edited unit file
//! shows without a daemon-reload.

use super::listing::UNIT_DIRS;
use super::presets::PRESET_DIRS;

/// Where the kubelet writes the weights of its pods' slices anew every minute; the audit reads them, and no twin has
/// them.
const OF_PODS: &str = "/run/systemd/transient/kubepods";

/// The load path and `below`, what hangs below it.
pub fn directories(below: &[String]) -> impl Iterator<Item = &str> {
    // The parents too: /usr/local/lib/systemd/system may come later.
    let parents = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd"];
    let dirs = parents.into_iter().chain(UNIT_DIRS).chain(PRESET_DIRS);
    let below = below.iter().map(String::as_str);
    dirs.chain(below.filter(|dir| !dir.starts_with(OF_PODS)))
}

/// Names that systemd would read; editors' swap and backup files are none.
pub fn is_unit_file(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    if name.starts_with('.') {
        return false;
    }
    let extension = name.rsplit_once('.').map(|(_, e)| e);
    matches!(name, "system" | "system-preset")
        || matches!(
            extension,
            Some("conf" | "preset" | "d" | "wants" | "requires" | "upholds")
        )
        || name.parse::<safetytwin_crds::names::UnitName>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::collect::watch::Watch;
    use crate::hostroot::HostRoot;

    #[tokio::test]
    async fn what_the_kubelet_writes_for_its_pods_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let below = ["a", "kubepods-burstable"].map(|unit| format!("/run/systemd/transient/{unit}.slice.d"));
        for drop_ins in &below {
            std::fs::create_dir_all(dir.path().join(drop_ins.trim_start_matches('/'))).unwrap();
        }
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        let mut watch = Watch::new(is_unit_file).unwrap();
        watch.follow(&root, directories(&below));
        let write =
            |drop_ins: &str| std::fs::write(root.locate(drop_ins).join("50-CPUWeight.conf"), "x").unwrap();
        write(&below[1]);
        let quiet = timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(quiet.is_err());
        write(&below[0]);
        watch.changed().await;
    }

    #[tokio::test]
    async fn an_edit_in_place_a_rename_and_a_new_drop_in_or_link_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("etc/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        let mut watch = Watch::new(is_unit_file).unwrap();
        assert!(watch.follow(&root, directories(&[])));
        std::fs::write(units.join(".a.service.swp"), "x").unwrap();
        assert!(!watch.read(), "a swap file is no news");
        std::fs::write(units.join("a.service"), "x").unwrap();
        watch.changed().await;
        std::fs::write(units.join("4913"), "x").unwrap();
        assert!(!watch.read(), "an editor's probe is no news");
        std::fs::rename(units.join("4913"), units.join("b.service")).unwrap();
        watch.changed().await;
        std::fs::create_dir(units.join("a.service.d")).unwrap();
        std::fs::create_dir(units.join("b.target.wants")).unwrap();
        watch.changed().await;
        let below = ["a.service.d", "b.target.wants"].map(|d| format!("/etc/systemd/system/{d}"));
        assert!(watch.follow(&root, directories(&below)));
        assert!(!watch.follow(&root, directories(&below)), "all are watched");
        std::fs::write(units.join("a.service.d/x.conf"), "x").unwrap();
        watch.changed().await;
        std::os::unix::fs::symlink("../a.service", units.join("b.target.wants/a.service")).unwrap();
        watch.changed().await;
    }
}
