//! What an image stands on: a few Debian packages, unpacked into an archive once per list of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Image;
use crate::cache::{Cache, build_directory, recipe_key};
use crate::command::run_logged;
use crate::prepare::debian::Sources;
use crate::prepare::preconditions::Release;
use crate::progress::stage;

/// What nothing reads in a container, as patterns of tar. Licences stay.
const NEEDLESS: &[&str] = &[
    "./dev/*",
    "./etc/apt",
    "./usr/lib/*/gconv",
    "./usr/share/bash-completion",
    "./usr/share/doc/*/NEWS*",
    "./usr/share/doc/*/README*",
    "./usr/share/doc/*/changelog*",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/man",
    "./var/cache/*",
    "./var/lib/apt",
];

/// The archive of the root file system that an image stands on.
///
/// # Errors
/// mmdebstrap or tar fails; the message names the log.
pub(super) fn make(cache: &Cache, release: &Release, image: &Image) -> Result<PathBuf> {
    let backport = image
        .backport
        .map(|package| format!("{package}/{}-backports", release.codename));
    let include: Vec<&str> = image
        .packages
        .iter()
        .copied()
        .chain(backport.as_deref())
        .collect();
    let include = include.join(",");
    let needless = NEEDLESS.join(" ");
    let key = recipe_key([release.codename.as_str(), &include, &needless]);
    let target = cache
        .root()
        .join("container-bases")
        .join(format!("{}-{key}", image.target));
    if !target.exists() {
        stage(&format!("base of the {}'s image", image.target), || {
            build_directory(&target, |partial| {
                let log = cache.logs().join("container-images.log");
                unpack(partial, release, &include, &log)
            })
        })?;
    }
    Ok(target.join("base.tar"))
}

fn unpack(directory: &Path, release: &Release, include: &str, log: &Path) -> Result<()> {
    let sources = Sources::of_this_machine(release)?;
    let mut files = sources.write(directory, "release")?;
    files.extend(
        sources
            .backports(&release.codename)
            .write(directory, "backports")?,
    );
    let root = directory.join("root");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=extract", "--mode=root", "--format=directory"]);
    // A mirror that is a snapshot has old lists; their signatures are checked as ever.
    mmdebstrap.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    mmdebstrap
        .arg(format!("--include={include}"))
        .arg(&release.codename)
        .arg(&root)
        .args(files);
    run_logged(&mut mmdebstrap, log)?;
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--numeric-owner",
        "--owner=0",
        "--group=0",
    ]);
    for pattern in NEEDLESS {
        tar.arg(format!("--exclude={pattern}"));
    }
    tar.arg("--file").arg(directory.join("base.tar"));
    run_logged(tar.arg("--directory").arg(&root).arg("."), log)?;
    std::fs::remove_dir_all(root).context("failed to remove the unpacked packages")
}
