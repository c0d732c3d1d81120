//! Container images of the agent and the controller, without Docker and without a registry: the
//! repository's Dockerfile, built by buildah from binaries of this checkout on bases made by
//! mmdebstrap. Used by `lab images` (`make images`) and by whoever installs the chart in a lab.
//!
//! ```text
//! mmdebstrap ─▶ base.tar ──┐
//! cargo ─▶ binary ─▶ strip ┴─▶ buildah, target of the Dockerfile ─▶ archive, named by what went in
//! ```

mod base;
mod store;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, recipe_key};
use crate::command::describe;
use crate::lab::process::agent_target;
use crate::prepare::preconditions::Release;
use crate::progress::{note, stage};
use store::Store;

/// Value of the chart's `image.repository` for images that are loaded by hand.
pub const REPOSITORY: &str = "localhost/safetytwin";
/// Tag of the images, the chart's default.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// What both images are built by.
const DOCKERFILE: &str = include_str!("../../../Dockerfile");

/// One of the two images.
struct Image {
    /// Target of the Dockerfile.
    target: &'static str,
    /// Binaries that go into it.
    binaries: &'static [&'static str],
    /// Packages of its base, unpacked only: no package's script runs.
    packages: &'static [&'static str],
    /// A package that must be as new as the headers that the binary was built with.
    backport: Option<&'static str>,
}

/// The agent and its helper, which lie in one directory wherever they run.
pub const AGENT_BINARIES: [&str; 2] = ["twin-agent", "twin-agent-ptrace"];

const AGENT: Image = Image {
    target: "agent",
    binaries: &AGENT_BINARIES,
    packages: &["base-files", "libc6", "libgcc-s1"],
    backport: None,
};

const CONTROLLER: Image = Image {
    target: "controller",
    binaries: &["twin"],
    packages: &["base-files", "libc6", "libgcc-s1", "dash"],
    backport: Some("libvirt0"),
};

/// Archives as `docker save` writes them, for `ctr images import`.
#[derive(Debug, Clone)]
pub struct Archives {
    /// `REPOSITORY/agent:TAG`.
    pub agent: PathBuf,
    /// `REPOSITORY/controller:TAG`.
    pub controller: PathBuf,
}

/// Folders that hold the binaries of both images.
#[derive(Debug)]
pub struct Binaries {
    /// Of the agent and its helper.
    pub agent: PathBuf,
    /// Of `twin`.
    pub controller: PathBuf,
}

/// Compiles the binaries of both images for release: the agent without a C library of the system's, the controller
/// with libvirt.
///
/// # Errors
/// `make agent` or cargo fails; its own output says why.
pub fn compile() -> Result<Binaries> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut agent = Command::new("make");
    agent.args(["--no-print-directory", "agent"]);
    let mut controller = Command::new("cargo");
    controller.args([
        "build",
        "--locked",
        "--package=safetytwin",
        "--bins",
        "--features=safetytwin/libvirt",
        "--release",
    ]);
    for command in [&mut agent, &mut controller] {
        let status = command.current_dir(&root).status();
        let status = status.with_context(|| format!("failed to start: {}", describe(command)))?;
        if !status.success() {
            bail!("failed: {} ({status})", describe(command));
        }
    }
    Ok(Binaries {
        agent: target.join(agent_target()).join("release"),
        controller: target.join("release"),
    })
}

/// Builds both images, unless these very binaries are in images already.
///
/// # Errors
/// A binary is missing or a build fails; the message names the log.
pub fn build(cache: &Cache, release: &Release, binaries: &Binaries) -> Result<Archives> {
    let one = |image: &Image, binaries: &Path| {
        let base = base::make(cache, release, image)?;
        let archive = archive(cache, image, &base, binaries)?;
        if !store::has(&archive) {
            let name = format!("container image of the {}", image.target);
            stage(&name, || {
                Store::open(cache)?.build(image, &base, binaries, &archive)
            })?;
        }
        Ok::<_, anyhow::Error>(archive)
    };
    let archives = Archives {
        agent: one(&AGENT, &binaries.agent)?,
        controller: one(&CONTROLLER, &binaries.controller)?,
    };
    store::forget_old(cache)?;
    Ok(archives)
}

/// Pushes both images to `repository/agent` and `repository/controller`.
///
/// # Errors
/// The registry refuses (log in with `buildah login`); the message names the log.
pub fn push(cache: &Cache, archives: &Archives, repository: &str) -> Result<()> {
    let store = Store::open(cache)?;
    for (image, archive) in [(AGENT, &archives.agent), (CONTROLLER, &archives.controller)] {
        let to = format!("{repository}/{}:{TAG}", image.target);
        stage(&format!("push {to}"), || store.push(&image, archive, &to))?;
    }
    note(&format!("install them with --set image.repository={repository}"));
    Ok(())
}

/// Where the image of these binaries on this base lies.
fn archive(cache: &Cache, image: &Image, base: &Path, binaries: &Path) -> Result<PathBuf> {
    let mut content = blake3::Hasher::new();
    for name in image.binaries {
        let binary = binaries.join(name);
        std::fs::File::open(&binary)
            .and_then(|file| content.update_reader(file).map(|_| ()))
            .with_context(|| format!("failed to read {}", binary.display()))?;
    }
    let base = base.display().to_string();
    let key = recipe_key([DOCKERFILE, &base, &image.name(), &content.finalize().to_hex()]);
    Ok(store::archives(cache).join(format!("{}-{key}.tar", image.target)))
}

impl Image {
    fn name(&self) -> String {
        format!("{REPOSITORY}/{}:{TAG}", self.target)
    }
}
