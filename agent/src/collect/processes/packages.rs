//! Which package a listed process's executable comes from: dpkg's file lists, read when an executable
//! is listed for the first time or packages changed.

use std::collections::HashMap;
use std::time::Instant;

use safetytwin_crds::item::ProcessItem;

use super::memory::CHECKED;
use crate::hostroot::HostRoot;

const INFO: &str = "/var/lib/dpkg/info";
const LIST_LIMIT: u64 = 32 * 1024 * 1024;
/// Where packages put executables; what lies elsewhere is of no package.
const PLACES: [&str; 6] = ["/usr/", "/bin/", "/sbin/", "/lib", "/opt/", "/etc/"];
/// The same of a hundred thousand executables is not worth remembering.
const REMEMBERED: usize = 4096;

/// Owners of executables.
#[derive(Debug, Default)]
pub struct Packages {
    read_at: Option<(i64, u64)>,
    /// The state of dpkg's lists at the last report of a change, and when that was.
    reported: Option<(Option<(i64, u64)>, Instant)>,
    owners: HashMap<Vec<u8>, Option<String>>,
}

impl Packages {
    /// Whether packages were installed, upgraded or removed since the last report; reported once in [`CHECKED`], so that
    /// a long upgrade costs no more.
    pub fn upgraded(&mut self, root: &HostRoot, now: Instant) -> bool {
        let modified = root.modified(INFO);
        let (seen, reported) = *self.reported.get_or_insert((modified, now));
        let is_new = modified != seen && now.saturating_duration_since(reported) >= CHECKED;
        if is_new {
            self.reported = Some((modified, now));
        }
        is_new
    }

    /// Learns whose the executables of `items` are, where that is not known yet.
    pub fn learn<'a>(&mut self, root: &HostRoot, items: impl Iterator<Item = &'a ProcessItem>) {
        let modified = root.modified(INFO);
        if modified != self.read_at || self.owners.len() > REMEMBERED {
            self.owners.clear();
            self.read_at = modified;
        }
        if modified.is_none() {
            return;
        }
        let unknown = items
            .filter_map(executable)
            .filter(|path| !self.owners.contains_key(*path));
        let unknown: Vec<Vec<u8>> = unknown.map(<[u8]>::to_vec).collect();
        if !unknown.is_empty() {
            self.look_for(root, unknown);
        }
    }

    /// The package of the executable of `item`, if that was learned.
    pub fn of(&self, item: &ProcessItem) -> Option<&str> {
        self.owners.get(executable(item)?)?.as_deref()
    }

    fn look_for(&mut self, root: &HostRoot, unknown: Vec<Vec<u8>>) {
        self.owners.extend(unknown.into_iter().map(|path| (path, None)));
        for file in root.list(INFO).unwrap_or_default() {
            let Some(package) = file.to_str().and_then(|f| f.strip_suffix(".list")) else {
                continue;
            };
            let name = package.split_once(':').map_or(package, |(name, _)| name);
            let bytes = root.read(&format!("{INFO}/{package}.list"), LIST_LIMIT);
            for line in bytes.unwrap_or_default().split(|byte| *byte == b'\n') {
                if let Some(owner @ None) = self.owners.get_mut(line) {
                    *owner = Some(name.to_owned());
                } else if !line.starts_with(b"/usr/")
                    && let Some(owner @ None) = self.owners.get_mut(&[b"/usr", line].concat())
                {
                    // `/bin` is `/usr/bin` on merged systems; lists name either.
                    *owner = Some(name.to_owned());
                }
            }
        }
    }
}

/// The path of an executable that may be a package's.
fn executable(item: &ProcessItem) -> Option<&[u8]> {
    let path = &*item.executable.as_ref()?.0;
    let place = PLACES.iter().any(|place| path.starts_with(place.as_bytes()));
    (place && !item.executable_gone).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::super::tests::planted::{Fake, collected};
    use super::*;
    use crate::collect::Content;

    fn items(executables: &[&str]) -> Vec<std::sync::Arc<ProcessItem>> {
        let fakes: Vec<Fake> = executables
            .iter()
            .map(|path| {
                let mut fake = Fake::of(&["x"]);
                fake.executable = (*path).to_owned();
                fake
            })
            .collect();
        match &*collected(&fakes, &crate::redact::Redactor::default()).content {
            Content::Processes(items) => items.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn owners(
        packages: &mut Packages,
        root: &HostRoot,
        items: &[std::sync::Arc<ProcessItem>],
    ) -> Vec<String> {
        packages.learn(root, items.iter().map(|item| &**item));
        let found = items.iter().filter_map(|item| packages.of(item));
        let mut found: Vec<String> = found.map(str::to_owned).collect();
        found.sort();
        found
    }

    #[test]
    fn an_executable_is_its_packages_under_either_name_of_a_merged_directory() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("var/lib/dpkg/info");
        std::fs::create_dir_all(&info).unwrap();
        std::fs::write(info.join("coreutils.list"), "/.\n/bin\n/bin/sleep\n").unwrap();
        std::fs::write(info.join("redis:amd64.list"), "/usr/bin/redis-server\n").unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        let mut packages = Packages::default();
        let items = items(&[
            "/usr/bin/sleep",
            "/usr/bin/redis-server",
            "/usr/bin/mine",
            "/home/x/redis-server",
            "/usr/bin/redis-server (deleted)",
        ]);
        let found = owners(&mut packages, &root, &items);
        assert_eq!(found, ["coreutils", "redis"]);
        // It is installed later.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(info.join("mine.list"), "/usr/bin/mine\n").unwrap();
        assert_eq!(owners(&mut packages, &root, &items).len(), 3);
    }

    #[test]
    fn without_a_package_database_no_owner_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        let items = items(&["/usr/bin/sleep"]);
        assert!(owners(&mut Packages::default(), &root, &items).is_empty());
    }
}
