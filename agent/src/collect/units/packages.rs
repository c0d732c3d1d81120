//! Which package owns a unit file: dpkg's file lists, read when they change.
//!
//! Hosts without dpkg have no known owners; their files below `/usr/lib` count as the vendor's.

use std::collections::HashMap;

use crate::hostroot::HostRoot;

const INFO: &str = "/var/lib/dpkg/info";
const LIST_LIMIT: u64 = 32 * 1024 * 1024;

/// Who owns a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This package.
    Package(String),
    /// No package, and the package database is known.
    Nobody,
    /// There is no package database that the agent reads.
    Unknown,
}

/// Owners of unit files.
#[derive(Debug, Default)]
pub struct Packages {
    owners: HashMap<String, String>,
    read_at: Option<(i64, u64)>,
}

impl Packages {
    /// Reads the lists again if packages were installed or removed since; says whether it did.
    pub fn refresh(&mut self, root: &HostRoot) -> bool {
        let modified = root.modified(INFO);
        if modified == self.read_at {
            return false;
        }
        self.owners.clear();
        for file in root.list(INFO).unwrap_or_default() {
            let Some(package) = file.to_str().and_then(|f| f.strip_suffix(".list")) else {
                continue;
            };
            let name = package.split_once(':').map_or(package, |(name, _)| name);
            let bytes = root.read(&format!("{INFO}/{package}.list"), LIST_LIMIT);
            for line in String::from_utf8_lossy(&bytes.unwrap_or_default()).lines() {
                if line.contains("/systemd/system/") {
                    self.owners.insert(merged(line), name.to_owned());
                }
            }
        }
        self.read_at = modified;
        true
    }

    /// The owner of a unit file.
    pub fn owner(&self, path: &str) -> Owner {
        match (self.read_at, self.owners.get(&merged(path))) {
            (None, _) => Owner::Unknown,
            (Some(_), Some(package)) => Owner::Package(package.clone()),
            (Some(_), None) => Owner::Nobody,
        }
    }
}

/// `/lib` and `/usr/lib` are one directory on merged systems; lists name either.
fn merged(path: &str) -> String {
    match path.strip_prefix("/lib/") {
        Some(rest) => format!("/usr/lib/{rest}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_from_dpkg_whichever_spelling_of_lib_it_uses() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("var/lib/dpkg/info");
        std::fs::create_dir_all(&info).unwrap();
        let root = HostRoot::new(dir.path(), "/proc", "/sys");
        std::fs::write(
            info.join("openssh-server:amd64.list"),
            "/.\n/lib/systemd/system/ssh.service\n",
        )
        .unwrap();
        let mut packages = Packages::default();
        packages.refresh(&root);
        assert_eq!(
            packages.owner("/usr/lib/systemd/system/ssh.service"),
            Owner::Package("openssh-server".into())
        );
        assert_eq!(
            packages.owner("/usr/lib/systemd/system/mine.service"),
            Owner::Nobody
        );
    }

    #[test]
    fn without_a_package_database_owners_are_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let mut packages = Packages::default();
        packages.refresh(&HostRoot::new(dir.path(), "/proc", "/sys"));
        assert_eq!(
            packages.owner("/usr/lib/systemd/system/a.service"),
            Owner::Unknown
        );
    }
}
