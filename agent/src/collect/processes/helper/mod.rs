//! The helper process of level full: the only one that keeps CAP_SYS_PTRACE.
//!
//! ```text
//! twin-agent ── all PID, sockets PID ──▶ twin-agent-ptrace PROC   (serve: a program of its own, beside the agent's)
//!     ▲                                      │ readlink exe, cwd, ns/mnt, fd/*
//!     └──── =HEX or !REASON, by tabs ────────┘
//! ```
//! The agent starts it once and speaks over its standard input and output. It opens no file of a process, so neither
//! `environ` nor `mem`; only links and the directory of file descriptors are read. One that ended is not started again
//! ([`end`]).

pub mod end;
pub(crate) mod line;
pub(crate) mod serve;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use self::end::End;
pub use self::line::Answer;
use self::line::{malformed, unfield};
use self::serve::answers;
pub use self::serve::serve;

/// Where the helper's program is: beside the agent's.
///
/// # Errors
/// The system does not say where the agent's is.
pub fn program() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("twin-agent-ptrace"))
}

/// The agent's end. Without a helper the agent asks the kernel itself, with what rights it has.
pub struct Helper {
    proc: PathBuf,
    asks: Asks,
}

/// Who is asked.
enum Asks {
    /// This process.
    Itself,
    /// The helper.
    Process(Box<Process>),
    /// A helper that ended: nobody any more, for what this process may read itself would make other identities.
    Ended,
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    end: End,
}

impl Process {
    /// One line for another; none when it ended.
    fn exchange(&mut self, request: &str) -> Option<String> {
        let mut line = String::new();
        writeln!(self.stdin.as_ref()?, "{request}").ok()?;
        let read = self.stdout.read_line(&mut line).ok()?;
        (read > 0 && line.ends_with('\n')).then_some(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when its input does; a stuck one is ended.
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Helper {
    /// No helper process: what this process may read itself.
    pub fn none(proc: &Path) -> Self {
        Self {
            proc: proc.into(),
            asks: Asks::Itself,
        }
    }

    /// Starts the helper. Do so before [`drop_ptrace`].
    ///
    /// # Errors
    /// Its program cannot be started.
    pub fn start(program: &Path, proc: &Path) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .arg(proc)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
        let missing = || std::io::Error::other("the helper has no pipes");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            proc: proc.into(),
            asks: Asks::Process(Box::new(Process {
                child,
                stdin: Some(stdin),
                stdout: BufReader::new(stdout),
                end: End::begin(),
            })),
        })
    }

    /// The helper's process id, if there is one.
    pub fn pid(&self) -> Option<i32> {
        match &self.asks {
            Asks::Process(process) => i32::try_from(process.child.id()).ok(),
            Asks::Itself | Asks::Ended => None,
        }
    }

    /// What tells of its end, if there is one.
    pub fn end(&self) -> Option<End> {
        match &self.asks {
            Asks::Process(process) => Some(process.end.clone()),
            Asks::Itself | Asks::Ended => None,
        }
    }

    /// Whether there was a helper and it ended: no answer since then is of use.
    pub fn has_ended(&mut self) -> bool {
        // A system call, so that the end shows though nothing is asked.
        let ended = match &mut self.asks {
            Asks::Process(process) => !matches!(process.child.try_wait(), Ok(None)),
            Asks::Itself | Asks::Ended => false,
        };
        if ended {
            self.note_end();
        }
        matches!(self.asks, Asks::Ended)
    }

    fn note_end(&mut self) {
        if let Asks::Process(process) = std::mem::replace(&mut self.asks, Asks::Ended) {
            process.end.note();
        }
    }

    /// What the links of a process say.
    pub fn links(&mut self, pid: i32) -> Links {
        let mut answers = self.ask(&format!("all {pid}")).into_iter();
        let mut next = || answers.next().unwrap_or_else(malformed);
        Links {
            executable: next(),
            directory: next(),
            elsewhere: next().is_ok_and(|yes| yes == b"1"),
            sockets: next(),
        }
    }

    /// Inodes of the sockets that a process has open, separated by spaces.
    pub fn sockets(&mut self, pid: i32) -> Answer {
        let answers = self.ask(&format!("sockets {pid}"));
        answers.into_iter().next().unwrap_or_else(malformed)
    }

    fn ask(&mut self, request: &str) -> Vec<Answer> {
        let answer = match &mut self.asks {
            Asks::Itself => return answers(&self.proc, request),
            Asks::Process(process) => process.exchange(request),
            Asks::Ended => None,
        };
        if let Some(line) = answer {
            return line.trim_end_matches('\n').split('\t').map(unfield).collect();
        }
        self.note_end();
        let ended = || Err("the helper process ended".into());
        std::iter::repeat_with(ended).take(4).collect()
    }
}

/// What the links of a process say.
pub struct Links {
    /// Where `exe` leads.
    pub executable: Answer,
    /// Where `cwd` leads.
    pub directory: Answer,
    /// Whether the executable is known to be no file of the host.
    pub elsewhere: bool,
    /// Inodes of its sockets, separated by spaces.
    pub sockets: Answer,
}

/// Gives up CAP_SYS_PTRACE for this thread and those it starts: call it before any other thread.
pub fn drop_ptrace() -> std::io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.effective -= CapabilitySet::SYS_PTRACE;
    sets.permitted -= CapabilitySet::SYS_PTRACE;
    sets.inheritable -= CapabilitySet::SYS_PTRACE;
    Ok(set_capabilities(None, sets)?)
}
