//! What is kept of a failed run: objects, logs and the machines' journals, in a directory named after it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Lab;
use super::node::NAME;

impl Lab {
    /// Collects what can be collected and returns a sentence that says where it is.
    pub fn keep_diagnostics(&self, what: &str) -> String {
        match self.collect(what) {
            Ok(directory) => format!("logs and objects are kept in {}", directory.display()),
            Err(error) => format!("its logs could not be kept: {error:#}"),
        }
    }

    fn collect(&self, what: &str) -> Result<PathBuf> {
        let name = format!(
            "{}-{}-{what}",
            jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"),
            self.name()
        );
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let directory = self
            .prepared()
            .cache
            .failed()
            .join(name.chars().map(plain).collect::<String>());
        std::fs::create_dir_all(&directory)?;
        for logs in [self.path("logs"), self.path("libvirt/log")] {
            copy_files(&logs, &directory)?;
        }
        let keep = |file: &str, text: Result<String>| {
            std::fs::write(
                directory.join(file),
                text.unwrap_or_else(|error| format!("{error:#}\n")),
            )
        };
        keep("domains.txt", self.virsh(["list", "--all"]))?;
        keep("nodes.yaml", self.kubectl(["get", "nodes", "-o", "yaml"]))?;
        keep("pods.yaml", self.kubectl(["get", "pods", "-A", "-o", "yaml"]))?;
        keep(
            "events.txt",
            self.kubectl(["get", "events", "-A", "--sort-by=.lastTimestamp"]),
        )?;
        for kind in [
            "hoststates",
            "twinclasses",
            "digitaltwins",
            "twinsnapshots",
            "twinrestores",
        ] {
            keep(
                &format!("{kind}.yaml"),
                self.kubectl(["get", kind, "-A", "-o", "yaml"]),
            )?;
        }
        keep(
            &format!("{NAME}-journal.txt"),
            self.host().run("journalctl --boot --no-pager --lines=2000"),
        )?;
        Ok(directory)
    }

    /// Runs a test on this lab; when it fails or panics, keeps diagnostics under its name and says where.
    ///
    /// # Errors
    /// As `test`.
    ///
    /// # Panics
    /// As `test` does.
    pub fn test(&self, name: &str, test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(self)));
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.context(format!("{name}; {}", self.keep_diagnostics(name)))),
            Err(panic) => {
                eprintln!("{name}: {}", self.keep_diagnostics(name));
                std::panic::resume_unwind(panic)
            }
        }
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            copy_files(&path, to)?;
        } else if let Some(name) = path.file_name() {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
