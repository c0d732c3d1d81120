//! Programs that run beside the API server for a while, and what they use.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command::{append, tail};

/// A running program; killed when dropped, and when this process dies.
pub(super) struct Program {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

/// What a program has used so far.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Usage {
    /// Processor time in seconds, to 10 ms.
    pub(super) seconds: f64,
    /// Resident memory in bytes.
    pub(super) rss: u64,
}

impl Program {
    /// Starts it; its output goes to `log`.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &BTreeMap<&str, String>,
        log: &Path,
    ) -> Result<Self> {
        let file = append(log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.args(arguments).envs(environment);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok(Self {
            name: name.to_owned(),
            child: command
                .spawn()
                .with_context(|| format!("failed to start {name}"))?,
            log: log.to_owned(),
        })
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// With the end of what it said.
    pub(super) fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        let said = || tail(&std::fs::read_to_string(&self.log).unwrap_or_default(), 5);
        ensure!(ended.is_none(), "{} ended: {}", self.name, said());
        Ok(())
    }

    /// What it has used.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn usage(&mut self) -> Result<Usage> {
        self.check()?;
        let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()));
        usage(&file("stat")?, &file("status")?).with_context(|| format!("{} shows no usage", self.name))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From `/proc/PID/stat` and `/proc/PID/status` (proc(5)); a tick is 10 ms on Linux.
fn usage(stat: &str, status: &str) -> Option<Usage> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<u32>().ok();
    let ticks = f64::from(ticks()?) + f64::from(ticks()?);
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = rss.split_whitespace().next()?.parse().ok()?;
    Some(Usage {
        seconds: ticks / 100.0,
        rss: kibibytes * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_proc() {
        let stat = "77 (twin controller) S 1 77 77 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 9 0 100 1 1 1";
        let used = usage(stat, "Name:\ttwin\nVmRSS:\t   20480 kB\n").unwrap();
        assert!((used.seconds - 3.0).abs() < 1e-9);
        assert_eq!(used.rss, 20 << 20);
    }

    #[test]
    fn a_program_that_ended_is_told_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let words = ["-c", "echo no such host; exit 3"];
        let mut program =
            Program::start("fleet", Path::new("/bin/sh"), &words, &BTreeMap::new(), &log).unwrap();
        program.child.wait().unwrap();
        let error = program.check().unwrap_err().to_string();
        assert_eq!(error, "fleet ended: no such host");
    }
}
