//! Debian packages of the lab: what is missing is named, then installed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::debian::Sources;
use super::fresh_log;
use super::preconditions::Release;
use crate::cache::Cache;
use crate::command::{finish_within, run_logged};
use crate::progress::{note, stage};

/// Packages of the release itself.
const PACKAGES: &[&str] = &[
    "binutils",
    "buildah",
    "catatonit",
    "dnsmasq-base",
    "e2fsprogs",
    "genisoimage",
    "iproute2",
    "iptables",
    "mmdebstrap",
    "nftables",
    "openssh-client",
    "pkg-config",
    "tar",
    "tcpdump",
];

/// Packages of the backports, with the least version that the lab needs: reverting to external snapshots
/// does not work in the release's own libvirt.
const BACKPORTS: &[(&str, &str)] = &[
    ("libvirt-clients", "11"),
    ("libvirt-daemon-driver-qemu", "11"),
    ("libvirt-daemon-system", "11"),
    ("libvirt-dev", "11"),
    ("passt", ""),
    ("qemu-system-x86", "1:10"),
    ("qemu-utils", "1:10"),
];

/// Installs what is missing, after saying what.
///
/// # Errors
/// apt fails; the message names its log.
pub fn install_missing(cache: &Cache, release: &Release) -> Result<()> {
    let plain: Vec<&str> = missing(PACKAGES.iter().map(|name| (*name, "")))?;
    let backports: Vec<&str> = missing(BACKPORTS.iter().copied())?;
    if plain.is_empty() && backports.is_empty() {
        return Ok(());
    }
    note(&format!(
        "Debian packages to install: {}",
        [plain.clone(), backports.clone()].concat().join(" ")
    ));
    let log = fresh_log(cache, "packages")?;
    if !backports.is_empty() {
        let written = Sources::of_this_machine(release)?
            .backports(&release.codename)
            .write(Path::new("/etc/apt/sources.list.d"), "safetytwin-lab")?;
        for file in written {
            note(&format!("package source of the backports: {}", file.display()));
        }
    }
    stage("package lists", || run_logged(apt().arg("update"), &log))?;
    if !backports.is_empty() {
        let suite = format!("{}-backports", release.codename);
        stage("libvirt and QEMU from the backports", || {
            run_logged(apt().args(["install", "-t", &suite]).args(&backports), &log)
        })?;
    }
    if !plain.is_empty() {
        stage("packages", || run_logged(apt().arg("install").args(&plain), &log))?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--yes", "--no-install-recommends"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn missing<'a>(wanted: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<&'a str>> {
    let mut names = Vec::new();
    for (name, least) in wanted {
        if !installed(name, least).with_context(|| format!("failed to ask dpkg for {name}"))? {
            names.push(name);
        }
    }
    Ok(names)
}

fn installed(name: &str, least: &str) -> Result<bool> {
    let limit = Duration::from_secs(20);
    let format = "--showformat=${db:Status-Status} ${Version}";
    let answer = finish_within(
        Command::new("dpkg-query").args(["--show", format, name]),
        &[],
        limit,
    )?;
    let Some(version) = answer.stdout.strip_prefix("installed ") else {
        return Ok(false);
    };
    if least.is_empty() {
        return Ok(true);
    }
    let compare = ["--compare-versions", version, "ge", least];
    Ok(finish_within(Command::new("dpkg").args(compare), &[], limit)?.success())
}
