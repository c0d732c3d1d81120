//! Both images on the lab's node, where no registry can be reached.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::images::{self, Archives, Binaries};
use crate::lab::Lab;
use crate::lab::process::{built_agent, built_binary};
use crate::prepare::preconditions;
use crate::progress::stage;

/// Makes images of the binaries of this build.
///
/// # Errors
/// A binary is missing or a build fails.
pub fn of_this_build(cache: &Cache) -> Result<Archives> {
    let folder = |binary: PathBuf| {
        let folder = binary.parent().map(Path::to_path_buf);
        folder.context("the build has no folder")
    };
    let binaries = Binaries {
        agent: folder(built_agent("twin-agent")?)?,
        controller: folder(built_binary("twin")?)?,
    };
    images::build(cache, &preconditions::release()?, &binaries)
}

/// Makes images of the binaries of this build and puts them on the node.
///
/// # Errors
/// A build fails, or containerd refuses an image.
pub fn load(lab: &Lab) -> Result<()> {
    let archives = of_this_build(&lab.prepared().cache)?;
    for (name, archive) in [("agent", &archives.agent), ("controller", &archives.controller)] {
        stage(&format!("image of the {name}: onto the node"), || {
            lab.import_image(archive)
        })?;
    }
    Ok(())
}
