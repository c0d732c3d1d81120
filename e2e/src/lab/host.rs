//! The monitored host as its administrator uses it: by SSH as root, over one kept connection; in its namespaces where
//! it is no VM.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::node::ADDRESS;
use super::{Lab, native};
use crate::command::{Output, finish_within, output_within};

/// Longest time for one command; software emulation is slow.
const LIMIT: Duration = Duration::from_secs(120);

/// The monitored host of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    pub(super) lab: &'a Lab,
}

impl Host<'_> {
    /// Runs a line in the host's shell and returns its standard output.
    ///
    /// # Errors
    /// It fails or takes over two minutes.
    pub fn run(&self, line: &str) -> Result<String> {
        output_within(&mut self.command(line), &[], LIMIT)
    }

    /// Runs a line in the host's shell; an exit code is no error.
    ///
    /// # Errors
    /// It takes over two minutes.
    pub fn try_run(&self, line: &str) -> Result<Output> {
        finish_within(&mut self.command(line), &[], LIMIT)
    }

    /// Writes a file, mode 0644, and the directories that lead to it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.install(path, bytes, "0644")
    }

    /// Writes an executable file, mode 0755.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_executable(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.install(path, bytes, "0755")
    }

    fn install(&self, path: &str, bytes: impl AsRef<[u8]>, mode: &str) -> Result<()> {
        let line = format!("install -D -m {mode} /dev/stdin {}", quote(path));
        let bytes = bytes.as_ref();
        // Without input the pipe would be /dev/null, which install copies as nothing, too: an empty file.
        output_within(&mut self.command(&line), bytes, LIMIT).map(|_| ())
    }

    /// The command that runs `line` in the host's shell, by SSH where the host is a VM.
    pub fn command(&self, line: &str) -> Command {
        if let Some(entered) = native::command(self.lab, line) {
            return entered;
        }
        let mut ssh = self.ssh();
        ssh.args(["-o", "BatchMode=yes", ADDRESS, "--", line]);
        ssh
    }

    /// The SSH client with everything but a command: for a person's login.
    pub fn ssh(&self) -> Command {
        let mut ssh = self.lab.command("ssh");
        ssh.arg("-i").arg(self.lab.path("ssh/id_ed25519"));
        ssh.arg("-o").arg(format!(
            "UserKnownHostsFile={}",
            self.lab.path("ssh/known_hosts").display()
        ));
        ssh.args([
            "-F",
            "none",
            "-l",
            "root",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "ConnectTimeout=10",
        ]);
        // A new connection costs over a second under emulation, one more session a tenth.
        ssh.args([
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPersist=600",
            "-o",
            "ControlPath=/run/lab-ssh-%C",
        ]);
        ssh
    }
}

/// Quotes one word for a POSIX shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_stays_one_word() {
        assert_eq!(quote("/etc/a b's;x"), r"'/etc/a b'\''s;x'");
    }
}
