//! Makes disk images: mmdebstrap, then an ext4 file system without partitions in a qcow2 file, with kernel and
//! initial RAM disk beside it for direct boot.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::container_image;
use super::debian::Sources;
use super::fresh_log;
use super::recipes::Recipe;
use crate::cache::{Cache, build_directory, recipe_key};
use crate::command::run_logged;
use crate::progress::stage;

/// Changes when the way of building changes, beside the recipes.
const FORMAT: &str = "1";

/// A built image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The disk, qcow2; its root file system is the whole disk.
    pub disk: PathBuf,
    /// The kernel for direct boot.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// Name and recipe key.
    pub id: String,
}

fn place(cache: &Cache, recipe: &Recipe) -> Image {
    let mut parts = vec![FORMAT, recipe.binaries_key.as_str()];
    parts.extend(recipe.suite.as_deref());
    parts.extend(recipe.packages.iter().copied());
    parts.extend(recipe.files.iter().flat_map(|(path, content)| [*path, *content]));
    parts.extend(recipe.enable.iter().chain(recipe.disable).copied());
    let id = format!("{}-{}", recipe.name, recipe_key(parts));
    let directory = cache.images().join(&id);
    Image {
        disk: directory.join("disk.qcow2"),
        kernel: directory.join("vmlinuz"),
        initrd: directory.join("initrd.img"),
        id,
    }
}

/// The image of `recipe`, if it was built.
///
/// # Errors
/// It was not.
pub fn existing(cache: &Cache, recipe: &Recipe) -> Result<Image> {
    let image = place(cache, recipe);
    if !image.disk.is_file() {
        bail!("{} does not exist", image.disk.display());
    }
    Ok(image)
}

/// Builds the image of `recipe` unless it is in the cache. `binaries` is called before those of the recipe are
/// copied, and waits until they are there.
///
/// # Errors
/// A step fails; the message names the log.
pub fn build(
    cache: &Cache,
    sources: &Sources,
    recipe: &Recipe,
    binaries: impl FnOnce() -> Result<()>,
) -> Result<Image> {
    let image = place(cache, recipe);
    let target = cache.images().join(&image.id);
    if target.is_dir() {
        return Ok(image);
    }
    let log = fresh_log(cache, &format!("image-{}", recipe.name))?;
    build_directory(&target, |directory| {
        let root = directory.join("root");
        let built = stage(&format!("{} image: packages", recipe.name), || {
            bootstrap(&root, directory, sources, recipe, &log)
        })
        .and_then(|()| binaries())
        .and_then(|()| {
            stage(&format!("{} image: disk", recipe.name), || {
                finish(&root, directory, recipe, &log)
            })
        });
        std::fs::remove_dir_all(&root).ok();
        built
    })?;
    Ok(image)
}

fn bootstrap(root: &Path, directory: &Path, sources: &Sources, recipe: &Recipe, log: &Path) -> Result<()> {
    // The setting of the initial RAM disk must be there before the kernel is installed.
    let early = directory.join("early");
    install_files(
        &early,
        recipe
            .files
            .iter()
            .filter(|(path, _)| path.starts_with("/etc/initramfs-tools/")),
    )?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--mode=root", "--format=directory"]);
    // A mirror that is a snapshot has old lists; their signatures are checked as ever.
    mmdebstrap.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    for path in ["/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*"] {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    mmdebstrap.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    mmdebstrap.arg(format!("--include={}", recipe.packages.join(",")));
    mmdebstrap.arg(format!(
        "--essential-hook=copy-in {} /etc",
        early.join("etc/initramfs-tools").display()
    ));
    // The suite is that of the sources, which name it themselves.
    mmdebstrap
        .arg("")
        .arg(root)
        .args(sources.write(directory, "debian")?);
    run_logged(&mut mmdebstrap, log)?;
    std::fs::remove_dir_all(early).context("failed to remove the early files")
}

fn finish(root: &Path, directory: &Path, recipe: &Recipe, log: &Path) -> Result<()> {
    install_files(root, recipe.files.iter())?;
    for binary in &recipe.binaries {
        let name = binary
            .file_name()
            .with_context(|| format!("{} has no name", binary.display()))?;
        std::fs::copy(binary, root.join("usr/local/bin").join(name))?;
    }
    container_image::install(root, directory, log)?;
    for (verb, units) in [("enable", recipe.enable), ("disable", recipe.disable)] {
        run_logged(
            Command::new("chroot")
                .arg(root)
                .args(["systemctl", verb])
                .args(units),
            log,
        )?;
    }
    make_unborn(root)?;
    for (prefix, name) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd.img")] {
        let file = only_entry(&root.join("boot"), prefix)?;
        std::fs::copy(file, directory.join(name))?;
    }
    disk(root, directory, recipe.size, log)
}

fn install_files<'a>(root: &Path, files: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Result<()> {
    for (path, content) in files {
        let target = root.join(path.trim_start_matches('/'));
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&target, content).with_context(|| format!("failed to write {}", target.display()))?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Removes what must differ between machines: each makes its own at its first boot.
fn make_unborn(root: &Path) -> Result<()> {
    std::fs::write(root.join("etc/machine-id"), [])?;
    std::fs::write(root.join("etc/hostname"), "localhost\n")?;
    std::fs::write(root.join("etc/fstab"), "/dev/vda / ext4 defaults 0 1\n")?;
    for entry in std::fs::read_dir(root.join("etc/ssh"))? {
        let path = entry?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("ssh_host_"))
        {
            std::fs::remove_file(path)?;
        }
    }
    std::fs::remove_file(root.join("var/lib/dbus/machine-id")).ok();
    Ok(())
}

fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(prefix))
        {
            return Ok(path);
        }
    }
    bail!("{} has no {prefix}*", directory.display())
}

fn disk(root: &Path, directory: &Path, size: u32, log: &Path) -> Result<()> {
    let raw = directory.join("disk.raw");
    let mut mkfs = Command::new("mke2fs");
    mkfs.args([
        "-q",
        "-t",
        "ext4",
        "-L",
        "root",
        "-m",
        "0",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
    ]);
    run_logged(mkfs.arg("-d").arg(root).arg(&raw).arg(format!("{size}M")), log)?;
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2"]);
    run_logged(convert.arg(&raw).arg(directory.join("disk.qcow2")), log)?;
    std::fs::remove_file(raw).context("failed to remove the raw disk")
}
