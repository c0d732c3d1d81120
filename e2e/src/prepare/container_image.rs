//! Container images without a registry: archives as `docker save` writes them, each of one static binary.
//!
//! `/usr/share/lab/pause.tar` (`localhost/pause:1`) holds a pod's namespaces; `/usr/share/lab/busybox.tar`
//! (`localhost/busybox:1`) is for containers of tests, loaded by `docker load` or `podman load`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::command::{output_within, run_logged};

/// Puts both archives into the root file system of an image, made from binaries that its packages brought.
///
/// # Errors
/// A binary is missing or an archive cannot be written.
pub fn install(root: &Path, work: &Path, log: &Path) -> Result<()> {
    let target = root.join("usr/share/lab");
    std::fs::create_dir_all(&target)?;
    let pause = Content {
        name: "pause",
        binary: &root.join("usr/bin/catatonit"),
        entrypoint: &["/bin/pause", "-P"],
    };
    pause.write(&target.join("pause.tar"), work, log)?;
    let busybox = Content {
        name: "busybox",
        binary: &root.join("bin/busybox"),
        entrypoint: &["/bin/busybox"],
    };
    busybox.write(&target.join("busybox.tar"), work, log)
}

/// An image of one static binary, at `/bin/NAME`.
struct Content<'a> {
    name: &'a str,
    binary: &'a Path,
    entrypoint: &'a [&'a str],
}

impl Content<'_> {
    fn write(&self, archive: &Path, work: &Path, log: &Path) -> Result<()> {
        let directory = work.join(format!("{}-image", self.name));
        let bin = directory.join("layer/bin");
        std::fs::create_dir_all(&bin)?;
        let copied = std::fs::copy(self.binary, bin.join(self.name));
        copied.with_context(|| format!("failed to copy {}", self.binary.display()))?;
        run_logged(
            tar(&directory.join("layer.tar"), &directory.join("layer")).arg("bin"),
            log,
        )?;
        let sum = output_within(
            Command::new("sha256sum").arg(directory.join("layer.tar")),
            &[],
            Duration::from_secs(60),
        )?;
        let digest = sum.split_whitespace().next().context("sha256sum said nothing")?;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let tag = format!("localhost/{}:1", self.name);
        let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
        std::fs::write(directory.join("config.json"), config.to_string())?;
        std::fs::write(directory.join("manifest.json"), manifest.to_string())?;
        run_logged(
            tar(archive, &directory).args(["manifest.json", "config.json", "layer.tar"]),
            log,
        )?;
        std::fs::remove_dir_all(&directory).context("failed to remove the image's parts")
    }
}

fn tar(archive: &Path, from: &Path) -> Command {
    let mut command = Command::new("tar");
    command.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
    ]);
    command.arg("--file").arg(archive).arg("--directory").arg(from);
    command
}
