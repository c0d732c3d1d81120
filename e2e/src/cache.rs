//! Where the lab keeps its files: everything lies under `~/.cache/safetytwin/`.
//!
//! `control-plane/` and `images/` hold what `lab prepare` builds, in directories named by pinned version and
//! recipe; `labs/NAME/` is the state of a running lab; `failed/` keeps what a failed run leaves behind.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::command::append;
use crate::progress::note;

/// Held by one process at a time; given back when dropped, also when the process dies.
pub type Lock = Flock<std::fs::File>;

/// The cache directory of the lab.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache (`SAFETYTWIN_CACHE`, else `$XDG_CACHE_HOME/safetytwin`, else `~/.cache/safetytwin`)
    /// and creates it.
    pub fn open() -> Result<Self> {
        let root = match (
            std::env::var_os("SAFETYTWIN_CACHE"),
            std::env::var_os("XDG_CACHE_HOME"),
        ) {
            (Some(own), _) => PathBuf::from(own),
            (None, Some(cache)) => PathBuf::from(cache).join("safetytwin"),
            (None, None) => {
                let home = std::env::var_os("HOME").context("HOME is not set")?;
                PathBuf::from(home).join(".cache/safetytwin")
            }
        };
        std::fs::create_dir_all(&root).with_context(|| format!("failed to create {}", root.display()))?;
        Ok(Self { root })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Binaries of the control plane, one directory per module group and recipe.
    pub fn control_plane(&self) -> PathBuf {
        self.root.join("control-plane")
    }

    /// Disk images with their kernels, one directory per image and recipe.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Logs of `lab prepare`.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// State of the running lab called `name`.
    pub fn lab(&self, name: &str) -> PathBuf {
        self.root.join("labs").join(name)
    }

    /// What failed runs left, one directory per failure.
    pub fn failed(&self) -> PathBuf {
        self.root.join("failed")
    }

    /// Takes the lock `FILE.lock` below the cache; while another process has it, says once that it waits for
    /// `whom`.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn lock(&self, file: &str, whom: &str) -> Result<Lock> {
        let path = self.root.join(format!("{file}.lock"));
        let failed = |error: Errno| anyhow!("failed to lock {}: {error}", path.display());
        match Flock::lock(append(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => {
                note(&format!("waiting for {whom} ({})", path.display()));
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed(error))
            }
            Err((_, error)) => Err(failed(error)),
        }
    }
}

/// The first 12 hex digits of a digest over `parts`, each bounded by its length: the key of a recipe.
pub fn recipe_key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().chars().take(12).collect()
}

/// Makes a directory appear whole or not at all: `fill` works in a sibling directory that is renamed when it
/// succeeds. Returns at once when `target` exists.
pub fn build_directory(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let mut partial = target.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    std::fs::create_dir_all(&partial).with_context(|| format!("failed to create {}", partial.display()))?;
    let filled = fill(&partial);
    if filled.is_err() {
        // What is half built is of no use; the log names the cause.
        let _ = std::fs::remove_dir_all(&partial);
        return filled;
    }
    std::fs::rename(&partial, target).with_context(|| format!("failed to rename to {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_recipe_depends_on_where_its_parts_end() {
        assert_ne!(recipe_key(["ab", "c"]), recipe_key(["a", "bc"]));
        assert_eq!(recipe_key(["ab", "c"]).len(), 12);
    }

    #[test]
    fn a_lock_is_for_one_at_a_time_and_comes_free_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: dir.path().to_owned(),
        };
        let first = cache.lock("prepare", "nobody").unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(cache.lock("prepare", "the first").map(drop)));
            let early = receiver.recv_timeout(std::time::Duration::from_millis(100));
            assert!(early.is_err(), "two had the lock");
            drop(first);
            let second = receiver.recv_timeout(std::time::Duration::from_secs(20));
            second.unwrap().unwrap();
        });
    }

    #[test]
    fn a_directory_whose_build_fails_does_not_appear() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("image-1.2");
        assert!(build_directory(&target, |_| anyhow::bail!("no space")).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        build_directory(&target, |partial| Ok(std::fs::write(partial.join("disk"), "x")?)).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("disk")).unwrap(), "x");
    }
}
