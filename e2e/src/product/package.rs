//! The agent's Debian package, of the binaries of this build.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::repository;
use crate::cache::Cache;
use crate::command::output_within;

/// Says which version of cargo-deb it installs.
const MAKEFILE: &str = include_str!("../../../Makefile");
/// Long enough to strip and pack on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Makes the package as `make deb` does, but of the debug profile, which is compiled already, with the system's C library.
///
/// # Errors
/// cargo-deb is missing or fails.
pub fn of_this_build(cache: &Cache) -> Result<PathBuf> {
    let version = MAKEFILE
        .lines()
        .find_map(|line| line.strip_prefix("DEB_VERSION := "))
        .context("the Makefile names no DEB_VERSION")?;
    let tool = cache.root().join(format!("cargo-deb-{version}/bin/cargo-deb"));
    ensure!(
        tool.exists(),
        "{} is missing: make deb installs it",
        tool.display()
    );
    let to = cache.root().join("package-of-tests");
    std::fs::create_dir_all(&to).with_context(|| format!("failed to make {}", to.display()))?;
    let file = to.join("safetytwin-agent.deb");
    let mut deb = Command::new(tool);
    deb.current_dir(repository())
        .args([
            "--quiet",
            "--no-build",
            "--profile=dev",
            "--package=safetytwin-agent",
            "--output",
        ])
        .arg(&file);
    output_within(&mut deb, &[], LIMIT)?;
    Ok(file)
}
