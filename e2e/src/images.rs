//! Container images of the agent and the controller, without Docker and without a registry: the
//! repository's Dockerfile, built by buildah from binaries of this checkout on bases made by
//! mmdebstrap. Used by `lab images` (`make images`) and by whoever installs the chart in a lab.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, build_directory, recipe_key};
use crate::command::{describe, run_logged};
use crate::prepare::debian::Sources;
use crate::prepare::preconditions::Release;
use crate::progress::{note, stage};

/// Value of the chart's `image.repository` for images that are loaded by hand.
pub const REPOSITORY: &str = "localhost/safetytwin";
/// Tag of the images, the chart's default.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// Removes from a base, whose root mmdebstrap gives as `$1`, what nothing reads in a container.
const NEEDLESS: &str = r#"rm -rf "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale"#;

/// One of the two images.
struct Image {
    /// Target of the Dockerfile.
    target: &'static str,
    /// Binary that goes into it.
    binary: &'static str,
    /// Packages of its base, unpacked only: no shell scripts run, no package manager inside.
    packages: &'static [&'static str],
    /// A package that must be as new as the headers that the binary was built with.
    backport: Option<&'static str>,
}

const IMAGES: [Image; 2] = [
    Image {
        target: "agent",
        binary: "twin-agent",
        packages: &["base-files", "libc6", "libgcc-s1"],
        backport: None,
    },
    Image {
        target: "controller",
        binary: "twin",
        packages: &["base-files", "libc6", "libgcc-s1", "dash"],
        backport: Some("libvirt0"),
    },
];

/// Archives as `docker save` writes them, for `ctr images import`.
#[derive(Debug, Clone)]
pub struct Archives {
    /// `REPOSITORY/agent:TAG`.
    pub agent: PathBuf,
    /// `REPOSITORY/controller:TAG`.
    pub controller: PathBuf,
}

/// Compiles both binaries, the controller with libvirt; answers the folder that holds them.
///
/// # Errors
/// Cargo fails; its own output says why.
pub fn compile(release: bool) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let profile = if release { "release" } else { "dev" };
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&root).args([
        "build",
        "--locked",
        "--package=safetytwin",
        "--package=safetytwin-agent",
        "--bins",
        "--features=safetytwin/libvirt",
        &format!("--profile={profile}"),
    ]);
    let status = cargo.status().context("failed to start cargo")?;
    if !status.success() {
        bail!("failed: {} ({status})", describe(&cargo));
    }
    Ok(target.join(if release { "release" } else { "debug" }))
}

/// Builds both images from the binaries in `binaries` (`target/debug` or `target/release`).
///
/// # Errors
/// A binary is missing or a build fails; the message names the log.
pub fn build(cache: &Cache, release: &Release, binaries: &Path) -> Result<Archives> {
    let store = Store::open(cache)?;
    store.clear()?;
    let mut archives = IMAGES
        .iter()
        .map(|image| {
            let base = base(cache, release, image)?;
            let name = format!("container image of the {}", image.target);
            stage(&name, || store.build(image, &base, binaries))
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter();
    let mut next = || archives.next().context("an image is missing");
    Ok(Archives {
        agent: next()?,
        controller: next()?,
    })
}

/// Pushes both images, built before, to `repository/agent` and `repository/controller`.
///
/// # Errors
/// The registry refuses (log in with `buildah login`); the message names the log.
pub fn push(cache: &Cache, repository: &str) -> Result<()> {
    let store = Store::open(cache)?;
    for image in &IMAGES {
        let to = format!("{repository}/{}:{TAG}", image.target);
        stage(&format!("push {to}"), || {
            let mut push = store.buildah("push");
            push.arg(image.name()).arg(format!("docker://{to}"));
            run_logged(&mut push, &store.log)
        })?;
    }
    note(&format!("install them with --set image.repository={repository}"));
    Ok(())
}

impl Image {
    fn name(&self) -> String {
        format!("{REPOSITORY}/{}:{TAG}", self.target)
    }
}

/// The root file system of an image's base as an archive, made once per list of packages.
fn base(cache: &Cache, release: &Release, image: &Image) -> Result<PathBuf> {
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
    let key = recipe_key([release.codename.as_str(), &include, NEEDLESS]);
    let target = cache
        .root()
        .join("container-bases")
        .join(format!("{}-{key}", image.target));
    let title = format!("base of the {}'s image", image.target);
    if !target.exists() {
        let log = cache.logs().join("container-images.log");
        stage(&title, || {
            build_directory(&target, |partial| {
                let sources = Sources::of_this_machine(release)?;
                let mut files = sources.write(partial, "release")?;
                files.extend(sources.backports(&release.codename).write(partial, "backports")?);
                let mut command = Command::new("mmdebstrap");
                command
                    .args([
                        "--variant=extract",
                        &format!("--include={include}"),
                        &release.codename,
                    ])
                    .arg(partial.join("base.tar"))
                    .args(files);
                run_logged(&mut command, &log)
            })
        })?;
    }
    Ok(target.join("base.tar"))
}

/// buildah's storage in the cache: neither a daemon nor the machine's own images are touched.
struct Store {
    root: PathBuf,
    log: PathBuf,
}

impl Store {
    fn open(cache: &Cache) -> Result<Self> {
        let root = cache.root().join("container-images");
        std::fs::create_dir_all(root.join("archives"))?;
        std::fs::create_dir_all(cache.logs())?;
        Ok(Self {
            root,
            log: cache.logs().join("container-images.log"),
        })
    }

    /// Forgets earlier builds: each takes seconds, and nothing of them is worth its space.
    fn clear(&self) -> Result<()> {
        for name in ["storage", "run"] {
            let path = self.root.join(name);
            if path.exists() {
                std::fs::remove_dir_all(&path)
                    .with_context(|| format!("failed to remove {}", path.display()))?;
            }
        }
        Ok(())
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

    /// Builds one image and answers its archive.
    fn build(&self, image: &Image, base: &Path, binaries: &Path) -> Result<PathBuf> {
        let context = self.root.join(format!("context-{}", image.target));
        if context.exists() {
            std::fs::remove_dir_all(&context)?;
        }
        std::fs::create_dir_all(context.join("dist"))?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
        std::fs::copy(&source, context.join("Dockerfile"))
            .with_context(|| format!("failed to copy {}", source.display()))?;
        // An image with debugging information would be ten times as large.
        let mut strip = Command::new("strip");
        strip
            .arg("-o")
            .arg(context.join("dist").join(image.binary))
            .arg(binaries.join(image.binary));
        run_logged(&mut strip, &self.log)?;
        let base = self.import(image, base)?;
        let mut build = self.buildah("build");
        build
            .args([
                "--isolation",
                "chroot",
                "--layers=false",
                "--target",
                image.target,
            ])
            .arg(format!("--build-arg=RUNTIME_BASE={base}"))
            .args(["--build-arg=BINARIES=prebuilt", "--tag", &image.name()])
            .arg(&context);
        run_logged(&mut build, &self.log)?;
        std::fs::remove_dir_all(&context)?;
        self.archive(image)
    }

    /// Makes an image of the base; answers its name.
    fn import(&self, image: &Image, base: &Path) -> Result<String> {
        let folder = base.parent().context("the base has no folder")?;
        let file = self.root.join("Dockerfile.base");
        std::fs::write(&file, "FROM scratch\nADD base.tar /\n")?;
        let name = format!("{REPOSITORY}/base-{}:{TAG}", image.target);
        let mut build = self.buildah("build");
        build
            .args([
                "--isolation",
                "chroot",
                "--layers=false",
                "--tag",
                &name,
                "--file",
            ])
            .arg(&file)
            .arg(folder);
        run_logged(&mut build, &self.log)?;
        Ok(name)
    }

    fn archive(&self, image: &Image) -> Result<PathBuf> {
        let archive = self.root.join("archives").join(format!("{}.tar", image.target));
        if archive.exists() {
            // buildah adds to an archive that it finds.
            std::fs::remove_file(&archive)?;
        }
        let mut push = self.buildah("push");
        push.arg(image.name())
            .arg(format!("docker-archive:{}:{}", archive.display(), image.name()));
        run_logged(&mut push, &self.log)?;
        Ok(archive)
    }
}
