//! buildah with a storage of its own, which ends with this value: neither a daemon nor the machine's
//! own images are touched, and labs that build at the same time do not meet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::{DOCKERFILE, Image, REPOSITORY, TAG};
use crate::cache::Cache;
use crate::command::run_logged;

/// An archive that no build came to for this long is of an older one.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Where archives are kept.
pub(super) fn archives(cache: &Cache) -> PathBuf {
    cache.root().join("container-images")
}

/// Whether an archive is there; it then counts as new.
pub(super) fn has(archive: &Path) -> bool {
    std::fs::File::options()
        .append(true)
        .open(archive)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .is_ok()
}

/// Removes archives of older builds.
pub(super) fn forget_old(cache: &Cache) -> Result<()> {
    for entry in std::fs::read_dir(archives(cache))? {
        let path = entry?.path();
        let age = path
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|m| m.elapsed().ok());
        if path.is_file() && age.is_some_and(|age| age > OLD) {
            // Another build may have removed it first.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// buildah's storage.
pub(super) struct Store {
    root: PathBuf,
    log: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        // The next build removes what is left.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Store {
    /// An empty one.
    pub(super) fn open(cache: &Cache) -> Result<Self> {
        let all = archives(cache).join("storage");
        std::fs::create_dir_all(&all)?;
        std::fs::create_dir_all(cache.logs())?;
        for entry in std::fs::read_dir(&all)? {
            let entry = entry?;
            let owner = Path::new("/proc").join(entry.file_name());
            if !owner.exists() {
                // Of a process that was killed.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let root = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&root).with_context(|| format!("failed to create {}", root.display()))?;
        Ok(Self {
            root,
            log: cache.logs().join("container-images.log"),
        })
    }

    fn buildah(&self, verb: &str) -> Command {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(self.root.join("storage"))
            .arg("--runroot")
            .arg(self.root.join("run"))
            .arg(verb);
        command
    }

    fn build_command(&self, tag: &str) -> Command {
        let mut build = self.buildah("build");
        build.args(["--isolation", "chroot", "--layers=false", "--tag", tag]);
        build
    }

    /// Builds one image into `archive`, which appears whole or not at all.
    pub(super) fn build(&self, image: &Image, base: &Path, binaries: &Path, archive: &Path) -> Result<()> {
        let context = self.root.join(format!("context-{}", image.target));
        std::fs::create_dir_all(context.join("dist"))?;
        std::fs::write(context.join("Dockerfile"), DOCKERFILE)?;
        // An image with debugging information would be three times as large.
        for name in image.binaries {
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(context.join("dist").join(name));
            run_logged(strip.arg(binaries.join(name)), &self.log)
                .context("strip is in the package binutils")?;
        }
        let base = self.import(image, base)?;
        let mut build = self.build_command(&image.name());
        build
            .args(["--target", image.target])
            .arg(format!("--build-arg=RUNTIME_BASE={base}"))
            .arg("--build-arg=BINARIES=prebuilt");
        run_logged(build.arg(&context), &self.log)?;
        let partial = self.root.join("archive.tar");
        let mut save = self.buildah("push");
        save.arg(image.name())
            .arg(format!("docker-archive:{}:{}", partial.display(), image.name()));
        run_logged(&mut save, &self.log)?;
        std::fs::rename(&partial, archive).with_context(|| format!("failed to make {}", archive.display()))
    }

    /// Makes an image of the base; answers its name.
    fn import(&self, image: &Image, base: &Path) -> Result<String> {
        let folder = base.parent().context("the base has no folder")?;
        let file = self.root.join("Dockerfile.base");
        std::fs::write(&file, "FROM scratch\nADD base.tar /\n")?;
        let name = format!("{REPOSITORY}/base-{}:{TAG}", image.target);
        let mut build = self.build_command(&name);
        run_logged(build.arg("--file").arg(&file).arg(folder), &self.log)?;
        Ok(name)
    }

    /// Pushes an archive's image to a registry.
    pub(super) fn push(&self, image: &Image, archive: &Path, to: &str) -> Result<()> {
        let from = format!("docker-archive:{}", archive.display());
        run_logged(self.buildah("pull").arg(from), &self.log)?;
        let mut push = self.buildah("push");
        run_logged(push.arg(image.name()).arg(format!("docker://{to}")), &self.log)
    }
}
