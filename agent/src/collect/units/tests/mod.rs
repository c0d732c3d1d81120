//! The collector on a temporary tree, before a service manager that writes down what it is asked.

mod changes;
mod latency;
mod lies;
mod oracle;
pub(crate) mod planted;
mod slow;
pub(crate) mod systemd;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use safetytwin_crds::hoststate::Source;
use safetytwin_crds::item::UnitItem;
use tokio::time::timeout;

use self::systemd::Systemd;
use super::Units;
use crate::collect::bus::Bus;
use crate::collect::processes::MainPids;
use crate::collect::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::HostRoot;
use crate::redact::Redactor;
use crate::settings::{HelperSlot, Level, Settings};

const ETC: &str = "etc/systemd/system";
const LIB: &str = "usr/lib/systemd/system";

/// A host with `web.service` and `db.service`, which run, and `idle.service`, which does not.
struct Host {
    dir: tempfile::TempDir,
    systemd: Systemd,
    units: Units,
}

impl Host {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (systemd, connection) = Systemd::start().await;
        let settings = Settings {
            host: "web-01".parse().unwrap(),
            source: Source::Node,
            root: HostRoot::new(dir.path(), "/proc", "/sys"),
            redactor: Redactor::default(),
            dbus_socket: PathBuf::new(),
            docker_socket: PathBuf::new(),
            podman_socket: PathBuf::new(),
            level: Level::Basic,
            helper: HelperSlot::new(None, "/proc".into()),
            min_age: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            beats_per_head: 1,
            opt_in: Default::default(),
        };
        let units = Units::new(&settings, Bus::over(connection), MainPids::default());
        let host = Self { dir, systemd, units };
        for name in ["web", "db", "idle"] {
            host.write(&format!("{ETC}/{name}.service"), &unit(name));
        }
        host.link(
            &format!("{ETC}/multi-user.target.wants/web.service"),
            "/etc/systemd/system/web.service",
        );
        host.systemd.load("web.service", "active", 10);
        host.systemd.load("db.service", "active", 20);
        host.systemd.load("idle.service", "inactive", 0);
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.path(path)).unwrap();
    }

    async fn look(&mut self, scope: Scope) -> Result<Collected, CollectError> {
        timeout(Duration::from_secs(20), self.units.collect(scope))
            .await
            .unwrap()
    }

    /// The first look; what it asks is not of interest.
    async fn looked_at() -> Self {
        let mut host = Self::new().await;
        host.look(Scope::Audit).await.unwrap();
        host.systemd.asked();
        host
    }

    /// Waits for news and looks.
    async fn next(&mut self) -> Collected {
        let news = timeout(Duration::from_secs(20), self.units.changed());
        news.await.expect("nothing changed");
        self.look(Scope::Changes).await.unwrap()
    }
}

fn unit(description: &str) -> String {
    format!(
        "[Unit]\nDescription={description}\n[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=multi-user.target\n"
    )
}

fn item(collected: &Collected, name: &str) -> Option<UnitItem> {
    let Content::Units { items, .. } = &*collected.content else {
        panic!("{collected:?}");
    };
    let found = items.iter().find(|item| item.name.as_str() == name);
    found.map(|item| UnitItem::clone(item))
}

fn enablement(collected: &Collected, name: &str) -> String {
    item(collected, name).unwrap().enablement
}
