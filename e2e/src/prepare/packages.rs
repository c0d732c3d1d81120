//! Debian packages of the lab: what is missing is named, then installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::debian::Sources;
use super::fresh_log;
use super::preconditions::Release;
use crate::cache::{Cache, build_directory};
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
    "musl-tools",
    "nftables",
    "openssh-client",
    "pkg-config",
    "tar",
    "tcpdump",
    "xz-utils",
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
    stage("package lists", || update(cache))?;
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

/// Downloads a Debian package of the machine's own release without installing it, and unpacks it into the cache;
/// answers where its program of the same name lies.
///
/// # Errors
/// apt does not find it, or it holds no such program.
pub fn unpacked(cache: &Cache, name: &str) -> Result<PathBuf> {
    let target = cache.root().join("packages").join(name);
    build_directory(&target, |directory| {
        let log = fresh_log(cache, name)?;
        let download = || run_logged(apt().current_dir(directory).args(["download", name]), &log);
        if download().is_err() {
            // Old lists name versions that are not there any more.
            update(cache)?;
            download()?;
        }
        let entries = std::fs::read_dir(directory)?.flatten().map(|entry| entry.path());
        let archive = entries
            .into_iter()
            .find(|path| path.extension().is_some_and(|e| e == "deb"));
        let archive = archive.with_context(|| format!("apt downloaded no package {name}"))?;
        run_logged(
            Command::new("dpkg-deb")
                .arg("--extract")
                .args([&archive, directory]),
            &log,
        )
    })?;
    let program = target.join("usr/bin").join(name);
    ensure!(program.is_file(), "{} does not exist", program.display());
    Ok(program)
}

/// Longest wait for another apt, such as the machine's own nightly one.
const OTHER_APT: Duration = Duration::from_secs(600);

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--yes", "--no-install-recommends"])
        .arg(format!("--option=DPkg::Lock::Timeout={}", OTHER_APT.as_secs()))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}

/// `DPkg::Lock::Timeout` (apt.conf(5)) covers dpkg's lock, not that of the package lists.
fn update(cache: &Cache) -> Result<()> {
    let deadline = Instant::now() + OTHER_APT;
    let mut told = false;
    loop {
        // Emptied, so that the end of the log is what this attempt said.
        let log = fresh_log(cache, "package-lists")?;
        match run_logged(apt().arg("update"), &log) {
            Err(error) if is_locked(&error.to_string()) && Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    note("another apt holds the package lists; waiting for it");
                }
                std::thread::sleep(Duration::from_secs(2));
            }
            ended => return ended,
        }
    }
}

/// What apt says when another one holds a lock; not translated, because the locale is set to C by [`apt`].
fn is_locked(said: &str) -> bool {
    said.contains("Could not get lock")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_told_from_other_failures() {
        let held = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (apt-get)\n\
                    E: Unable to lock directory /var/lib/apt/lists/";
        assert!(is_locked(held));
        assert!(!is_locked(
            "E: Failed to fetch http://mirror.invalid/debian/dists/bookworm/InRelease"
        ));
    }
}
