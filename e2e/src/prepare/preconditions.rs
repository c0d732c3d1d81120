//! What the machine must be before anything is installed or built.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::output;

/// The Debian release of the build machine, whose suite the images are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `VERSION_CODENAME`, for example `bookworm`.
    pub codename: String,
}

/// Checks root, Debian 12, Cargo and Go.
///
/// # Errors
/// Names the first condition that does not hold and what to do.
pub fn check() -> Result<Release> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the lab makes namespaces, bridges and images: run it as root");
    }
    let release = release()?;
    output(std::process::Command::new("cargo").arg("--version"))
        .context("Cargo is missing; install Rust (rustup)")?;
    let go = output(std::process::Command::new("go").args(["env", "GOVERSION"]))
        .context("Go is missing; install Go 1.26 or newer and put it on PATH")?;
    if !go_is_recent(go.trim()) {
        bail!("Go {} is too old; install Go 1.26 or newer", go.trim());
    }
    if !Path::new("/proc/self/ns/net").exists() {
        bail!("this kernel has no network namespaces");
    }
    Ok(release)
}

/// The release of this machine.
///
/// # Errors
/// It is not Debian 12.
pub fn release() -> Result<Release> {
    let text = std::fs::read_to_string("/etc/os-release").context("failed to read /etc/os-release")?;
    debian_12(&text)
}

fn field<'a>(os_release: &'a str, name: &str) -> Option<&'a str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

fn debian_12(os_release: &str) -> Result<Release> {
    let pretty = field(os_release, "PRETTY_NAME").unwrap_or("an unnamed system");
    let (id, version) = (field(os_release, "ID"), field(os_release, "VERSION_ID"));
    match (id, version, field(os_release, "VERSION_CODENAME")) {
        (Some("debian"), Some("12"), Some(codename)) => Ok(Release {
            codename: codename.to_owned(),
        }),
        _ => bail!("this is {pretty}; the lab runs on Debian GNU/Linux 12 (for example in a VM of it)"),
    }
}

fn go_is_recent(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches("go")
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) => minor >= 26,
        (Some(major), _) => major > 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_distribution_is_refused_by_its_name() {
        let other =
            "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n";
        assert!(
            debian_12(other)
                .unwrap_err()
                .to_string()
                .contains("Ubuntu 24.04 LTS")
        );
    }

    #[test]
    fn debian_12_is_accepted() {
        let text = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(debian_12(text).unwrap().codename, "bookworm");
    }

    #[test]
    fn an_old_go_is_told_from_a_recent_one() {
        assert!(go_is_recent("go1.26.8") && go_is_recent("go1.30") && go_is_recent("go2.0"));
        assert!(!go_is_recent("go1.19.8") && !go_is_recent("devel"));
    }
}
