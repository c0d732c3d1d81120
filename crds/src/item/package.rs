//! Installed packages: the opt-in section `packages`.

use serde::{Deserialize, Serialize};

/// A package that one of the host's package managers knows, sorted by name, architecture, manager
/// and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageItem {
    /// Package name; with `architecture` and `manager` the identity. rpm installs several versions
    /// of one package side by side (kernels): then with `version` too.
    pub name: String,
    /// Architecture as the manager writes it: amd64, all; x86_64, noarch.
    pub architecture: String,
    /// Full version: epoch, upstream, revision; of rpm epoch, version, release. Empty when only
    /// traces are left.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The manager.
    pub manager: PackageManager,
    /// State when it is not `installed`: config-files, half-installed, unpacked … (dpkg(1)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Held back from upgrades by the administrator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// Package managers whose database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    /// Debian's.
    Dpkg,
    /// That of Fedora, Red Hat Enterprise Linux and SUSE.
    Rpm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_dpkg_is_written_as_before_rpm_was_read() {
        let old = r#"{"name":"apt","architecture":"amd64","version":"2.6.1","manager":"dpkg","held":true}"#;
        let item: PackageItem = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&item).unwrap(), old);
        let rpm = old.replace("dpkg", "rpm");
        let item: PackageItem = serde_json::from_str(&rpm).unwrap();
        assert_eq!(item.manager, PackageManager::Rpm);
    }
}
