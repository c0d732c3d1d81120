//! What an enrolled machine keeps: `kubeconfig` and `agent.env` in its configuration, the token in its state.
//! Root only; each file is replaced as a whole.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::invitation::Invitation;
use crate::token::Token;

/// Key of the host's name in `agent.env`.
const NAME: &str = "NODE_NAME=";

/// Where they are.
pub struct Places {
    config: PathBuf,
    state: PathBuf,
}

impl Places {
    /// Below these directories.
    pub fn new(config: &Path, state: &Path) -> Self {
        Self {
            config: config.to_owned(),
            state: state.to_owned(),
        }
    }

    /// The kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.config.join("kubeconfig")
    }

    fn environment(&self) -> PathBuf {
        self.config.join("agent.env")
    }

    /// The name that this machine is enrolled under.
    pub fn enrolled_as(&self) -> Option<String> {
        let text = fs::read_to_string(self.environment()).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix(NAME))?;
        Some(name.to_owned())
    }

    /// Writes all three, the name last: with it, the enrolment counts.
    ///
    /// # Errors
    /// One cannot be written; it and those after it are as they were.
    pub fn write(&self, invitation: &Invitation, own: &Token) -> anyhow::Result<()> {
        let token = self.state.join("token");
        write(&token, own.secret())?;
        write(&self.kubeconfig(), &invitation.kubeconfig(&token)?)?;
        let before = fs::read_to_string(self.environment()).unwrap_or_default();
        write(&self.environment(), &renamed(&before, own.host.as_str()))
    }
}

/// `agent.env` with another name of the host; what the administrator set there stays.
fn renamed(before: &str, host: &str) -> String {
    let kept = before.lines().filter(|line| !line.starts_with(NAME));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    format!("{NAME}{host}\n{kept}")
}

/// Replaces a file, readable by its owner only; makes its directory.
///
/// # Errors
/// The disk is full, or the place is not writable.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("failed to write {}", path.display());
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(failed)?;
    let new = path.with_extension("new");
    // One that an interrupted run left may have other rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(failed),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    fs::rename(&new, path).with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_enrolment_keeps_what_the_administrator_chose() {
        let before = "NODE_NAME=ext-a\nTWIN_AGENT_SECTIONS=packages\n";
        assert_eq!(
            renamed(before, "ext-b"),
            "NODE_NAME=ext-b\nTWIN_AGENT_SECTIONS=packages\n"
        );
        assert_eq!(renamed("", "ext-b"), "NODE_NAME=ext-b\n");
    }

    #[test]
    fn a_file_is_replaced_whole_and_stays_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/token");
        write(&path, "first").unwrap();
        fs::write(path.with_extension("new"), "left behind").unwrap();
        write(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
