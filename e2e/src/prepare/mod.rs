//! `lab prepare`: makes sure that everything slow is there, once.
//!
//! Checks the machine, installs packages, builds the control plane from Go modules and the images with
//! mmdebstrap, and finds out whether KVM works. Everything is cached; a second run takes a second.

pub mod acceleration;
pub mod container_image;
pub mod control_plane;
pub mod debian;
pub mod image;
pub mod packages;
pub mod preconditions;
pub mod recipes;

use std::path::PathBuf;
use std::thread::ScopedJoinHandle;

use anyhow::{Context, Result};

use crate::cache::{Cache, Lock};
use crate::progress::{note, stage};
use acceleration::Acceleration;
use control_plane::ControlPlane;
use image::Image;

/// Everything that a lab needs and that takes long to make.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Where it lies.
    pub cache: Cache,
    /// Binaries of the control plane.
    pub control_plane: ControlPlane,
    /// The monitored host: a Kubernetes node.
    pub node: Image,
    /// The base image of twins.
    pub twin: Image,
    /// How guests run on this machine.
    pub acceleration: Acceleration,
}

impl Prepared {
    /// Changes when an image or a pinned version changes.
    pub fn id(&self) -> String {
        format!("{} {} {}", self.control_plane.key(), self.node.id, self.twin.id)
    }
}

/// Prepares what is missing and returns all of it.
///
/// # Errors
/// A precondition does not hold, a package cannot be installed, or a build fails; the message names the log.
pub fn prepare() -> Result<Prepared> {
    let release = preconditions::check()?;
    let cache = Cache::open()?;
    let _alone = alone(&cache)?;
    packages::install_missing(&cache, &release)?;
    let control_plane = ControlPlane::new(&cache)?;
    let sources = debian::Sources::of_this_machine(&release)?;
    let node_recipe = recipes::node(&control_plane)?;
    let node_sources = match &node_recipe.suite {
        Some(suite) => sources.other(&release.codename, suite),
        None => sources.clone(),
    };

    // An image is mostly waiting for disk and network, a Go build is all processor.
    let (built, images) = std::thread::scope(|scope| {
        let mut compiling = Some(scope.spawn(|| control_plane.build(&cache)));
        let mut compiled = || compiling.take().map_or(Ok(()), joined);
        let images = image::build(&cache, &sources, &recipes::twin(), || Ok(())).and_then(|twin| {
            let node = image::build(&cache, &node_sources, &node_recipe, &mut compiled)?;
            Ok((twin, node))
        });
        if images.is_err() {
            note("not everything can be built; what is under way is waited for");
        }
        (compiled(), images)
    });
    // Each names its log.
    let (twin, node) = match (built, images) {
        (Err(go), Err(image)) => return Err(image.context(format!("{go:#}; and"))),
        (built, images) => built.and(images)?,
    };
    // After the builds: a boot that is slow because of them would pass for one that hangs.
    let acceleration = stage("how guests run here", || acceleration::detect(&cache, &twin))?;
    note(acceleration.describe());
    Ok(Prepared {
        cache,
        control_plane,
        node,
        twin,
        acceleration,
    })
}

fn joined(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    let built = thread.join();
    built.map_err(|_| anyhow::anyhow!("the build of the control plane panicked"))?
}

/// One process at a time installs and builds: what one made, the next finds.
///
/// # Errors
/// The lock file cannot be made.
pub fn alone(cache: &Cache) -> Result<Lock> {
    cache.lock("prepare", "another `lab prepare` on this machine")
}

/// What `prepare` made earlier, without making anything.
///
/// # Errors
/// Something is missing; the message says to run `lab prepare`.
pub fn prepared() -> Result<Prepared> {
    let cache = Cache::open()?;
    let missing = |what: &str| format!("{what} is not there yet; run `lab prepare` first");
    let control_plane = ControlPlane::new(&cache)?;
    control_plane
        .check()
        .with_context(|| missing("the control plane"))?;
    let node = image::existing(&cache, &recipes::node(&control_plane)?)
        .with_context(|| missing("the node image"))?;
    let twin = image::existing(&cache, &recipes::twin()).with_context(|| missing("the twin image"))?;
    let acceleration = acceleration::detect(&cache, &twin)?;
    Ok(Prepared {
        cache,
        control_plane,
        node,
        twin,
        acceleration,
    })
}

/// The log of one stage of preparation, emptied.
fn fresh_log(cache: &Cache, name: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(cache.logs())?;
    let log = cache.logs().join(format!("{name}.log"));
    std::fs::write(&log, [])?;
    Ok(log)
}
