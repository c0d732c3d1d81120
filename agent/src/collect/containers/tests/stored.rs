//! A Podman that is not asked: what its storage says of it, whatever the driver and the place.

use std::path::Path;

use super::super::rootless;
use super::gaps;
use crate::hostroot::HostRoot;

const DRIVERS: [&str; 5] = ["overlay", "vfs", "btrfs", "zfs", "aufs"];
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];
const WEB: &str = r#"[{"id":"x","names":["web"],"metadata":"{\"image-name\":\"a\",\"name\":\"web\"}"}]"#;

fn put(host: &Path, path: &str, text: &str) {
    let file = host.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

fn install(host: &Path) {
    put(host, "/usr/lib/systemd/system/podman.service", "");
    std::fs::create_dir_all(host.join("var/lib/containers")).unwrap();
}

#[tokio::test]
async fn containers_of_an_idle_podman_are_counted_and_named_whatever_its_storage_driver() {
    for driver in DRIVERS {
        for list in LISTS {
            let host = tempfile::tempdir().unwrap();
            install(host.path());
            let dir = format!("/var/lib/containers/storage/{driver}-containers");
            put(
                host.path(),
                &format!("{dir}/{list}"),
                r#"[{"id":"x","names":["we\u001bb"]},{"id":"y"}]"#,
            );
            let gaps = gaps(host.path()).await;
            assert_eq!(
                gaps,
                ["podman: 2 containers, but podman.service does not run: we\\u{1b}b"],
                "{driver} {list}"
            );
        }
    }
}

#[tokio::test]
async fn lists_of_all_drivers_count_together_and_empty_ones_are_none() {
    let host = tempfile::tempdir().unwrap();
    install(host.path());
    let storage = "/var/lib/containers/storage";
    for driver in DRIVERS {
        put(
            host.path(),
            &format!("{storage}/{driver}-containers/containers.json"),
            "[]",
        );
        std::fs::create_dir_all(host.path().join("var/lib/containers/storage/vfs-layers")).unwrap();
    }
    assert_eq!(gaps(host.path()).await, Vec::<String>::new());
    put(
        host.path(),
        &format!("{storage}/vfs-containers/containers.json"),
        WEB,
    );
    put(
        host.path(),
        &format!("{storage}/zfs-containers/volatile-containers.json"),
        WEB,
    );
    put(
        host.path(),
        "/run/containers/storage/overlay-containers/volatile-containers.json",
        WEB,
    );
    assert!(gaps(host.path()).await[0].starts_with("podman: 3 containers"));
    put(
        host.path(),
        &format!("{storage}/btrfs-containers/containers.json"),
        "{",
    );
    assert!(gaps(host.path()).await[0].starts_with("podman: its list of containers is not readable"));
}

#[tokio::test]
async fn containers_of_kubernetes_in_the_same_storage_are_not_podmans() {
    let host = tempfile::tempdir().unwrap();
    install(host.path());
    let of_cri = r#"[{"id":"x","names":["k8s_web"],"metadata":"{\"pod-name\":\"p\",\"pod-id\":\"77\",\"name\":\"k8s_web\"}"}]"#;
    let list = "/var/lib/containers/storage/overlay-containers/volatile-containers.json";
    put(host.path(), list, of_cri);
    assert_eq!(gaps(host.path()).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_storage_that_the_settings_move_is_looked_at_where_it_is() {
    let host = tempfile::tempdir().unwrap();
    install(host.path());
    let set = |file: &str, graphroot: &str| {
        put(
            host.path(),
            file,
            &format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{graphroot}\"\n"),
        );
    };
    set("/usr/share/containers/storage.conf", "/data/podman/");
    assert_eq!(
        gaps(host.path()).await,
        ["podman: installed, but /data/podman is not visible"]
    );
    put(host.path(), "/data/podman/vfs-containers/containers.json", WEB);
    assert!(gaps(host.path()).await[0].ends_with("does not run: web"));
    // The administrator's file stands in for the distribution's.
    set("/etc/containers/storage.conf", "/var/lib/containers/storage");
    assert_eq!(gaps(host.path()).await, Vec::<String>::new());
    set("/etc/containers/storage.conf", "podman");
    assert_eq!(
        gaps(host.path()).await,
        ["podman: /etc/containers/storage.conf: graphroot is no absolute path: podman"]
    );
    // Without Podman nobody reads it.
    std::fs::remove_file(host.path().join("usr/lib/systemd/system/podman.service")).unwrap();
    assert_eq!(gaps(host.path()).await, Vec::<String>::new());
}

fn lingering(host: &Path) -> HostRoot {
    std::fs::create_dir_all(host.join("run/user/1000")).unwrap();
    put(host, "/etc/passwd", "alice:x:1000:1000::/home/alice:/bin/sh\n");
    put(host, "/var/lib/systemd/linger/alice", "");
    HostRoot::new(host, host.join("proc"), host.join("sys"))
}

#[test]
fn a_users_idle_podman_tells_its_containers_whatever_driver_and_place() {
    let told = ["podman of alice: 1 containers, but podman.service does not run: web"];
    let own = "[storage]\ngraphroot = \"$HOME/own\"";
    let all = "[storage]\nrootless_storage_path = \"/data/$USER/${UID}\"";
    for driver in DRIVERS {
        for list in LISTS {
            for (conf, text, storage) in [
                ("/etc/none", "", "/home/alice/.local/share/containers/storage"),
                (
                    "/home/alice/.config/containers/storage.conf",
                    own,
                    "/home/alice/own",
                ),
                ("/etc/containers/storage.conf", all, "/data/alice/1000"),
            ] {
                let host = tempfile::tempdir().unwrap();
                let root = lingering(host.path());
                put(host.path(), conf, text);
                assert_eq!(rootless::running(&root).1, Vec::<String>::new());
                put(host.path(), &format!("{storage}/{driver}-containers/{list}"), WEB);
                assert_eq!(rootless::running(&root).1, told, "{driver} {list} {conf}");
            }
        }
    }
}

#[test]
fn a_users_storage_that_cannot_be_read_may_have_containers_where_podman_is_installed() {
    let host = tempfile::tempdir().unwrap();
    let root = lingering(host.path());
    let list = "home/alice/.local/share/containers/storage/vfs-containers/containers.json";
    std::fs::create_dir_all(host.path().join(list)).unwrap();
    assert_eq!(rootless::running(&root).1, Vec::<String>::new());
    install(host.path());
    let gaps = rootless::running(&root).1;
    assert!(
        gaps[0].starts_with("podman of alice: it may have containers: /home/alice"),
        "{gaps:?}"
    );
}
