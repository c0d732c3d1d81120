//! The helper process of level full: the only one that keeps CAP_SYS_PTRACE.
//!
//! `twin-agent ptrace-helper PROC` is started once by the agent, speaks over its standard input and
//! output, and answers four questions about a pid: where `exe` and `cwd` lead, whether that `exe` is
//! no file of the host, and which sockets it has open. It opens no file of a process, so neither
//! `environ` nor `mem`; only links and the directory of file descriptors are read. One request per
//! line: `all PID` asks all four in this order, `sockets PID` the last. One line answers it: for each
//! question `=HEX` or `!REASON`, separated by tabs.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// What the agent starts its helper with, before the procfs that it is to look into.
const COMMAND: &str = "ptrace-helper";

/// The procfs that a helper is to look into, if this process was started as one: told from the bare arguments, before
/// the command line of the agent costs the helper memory.
pub fn asked_for(arguments: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let mut arguments = arguments.into_iter().skip(1);
    let (command, proc) = (arguments.next()?, arguments.next()?);
    (command == OsStr::new(COMMAND) && arguments.next().is_none()).then(|| proc.into())
}

/// Answers requests until standard input ends.
pub fn serve(proc: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answers = answers(proc, &line?);
        let fields: Vec<String> = answers.into_iter().map(|answer| field(&answer)).collect();
        out.write_all((fields.join("\t") + "\n").as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// An answer; the error is for people.
pub type Answer = Result<Vec<u8>, String>;

fn answers(proc: &Path, request: &str) -> Vec<Answer> {
    let Some((what, pid)) = request.split_once(' ') else {
        return vec![malformed()];
    };
    let Ok(pid) = pid.parse::<i32>() else {
        return vec![malformed()];
    };
    let dir = proc.join(pid.to_string());
    let told = |answer: std::io::Result<Vec<u8>>| answer.map_err(|error| error.kind().to_string());
    match what {
        "all" => vec![
            told(link(&dir.join("exe"))),
            told(link(&dir.join("cwd"))),
            told(elsewhere(proc, &dir)),
            told(sockets(&dir)),
        ],
        "sockets" => vec![told(sockets(&dir))],
        _ => vec![malformed()],
    }
}

fn malformed() -> Answer {
    Err("malformed".into())
}

/// Target of a link, any bytes.
pub fn link(path: &Path) -> std::io::Result<Vec<u8>> {
    let target = rustix::fs::readlink(path, Vec::new())?;
    Ok(target.into_bytes())
}

/// "1" when what a process runs is not what PID 1 finds under that path: it has mounts of its own.
pub fn elsewhere(proc: &Path, dir: &Path) -> std::io::Result<Vec<u8>> {
    let host = proc.join("1");
    if link(&dir.join("ns/mnt"))? == link(&host.join("ns/mnt"))? {
        return Ok(b"0".to_vec());
    }
    let path = PathBuf::from(OsString::from_vec(link(&dir.join("exe"))?));
    let relative = path.strip_prefix("/").unwrap_or(&path);
    let running = rustix::fs::stat(dir.join("exe"))?;
    let found = rustix::fs::stat(host.join("root").join(relative));
    let same = found.is_ok_and(|f| (f.st_dev, f.st_ino) == (running.st_dev, running.st_ino));
    Ok(if same { b"0" } else { b"1" }.to_vec())
}

/// Inodes of the sockets that a process has open, separated by spaces.
pub fn sockets(dir: &Path) -> std::io::Result<Vec<u8>> {
    let mut inodes = Vec::new();
    for entry in std::fs::read_dir(dir.join("fd"))? {
        let Ok(target) = link(&entry?.path()) else {
            continue;
        };
        let inode = target
            .strip_prefix(b"socket:[")
            .and_then(|t| t.strip_suffix(b"]"));
        if let Some(inode) = inode {
            inodes.extend_from_slice(inode);
            inodes.push(b' ');
        }
    }
    Ok(inodes)
}

/// The agent's end. Without a helper the agent asks the kernel itself, with what rights it has.
pub struct Helper {
    proc: PathBuf,
    process: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some((mut child, stdin, _)) = self.process.take() {
            drop(stdin);
            // It ends when its input does; a stuck one is ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Helper {
    /// No helper process: what this process may read itself.
    pub fn none(proc: &Path) -> Self {
        Self {
            proc: proc.into(),
            process: None,
        }
    }

    /// Starts this program again as the helper. Do so before [`drop_ptrace`].
    pub fn start(proc: &Path) -> std::io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .arg(proc)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || std::io::Error::other("the helper has no pipes");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            proc: proc.into(),
            process: Some((child, stdin, BufReader::new(stdout))),
        })
    }

    /// The helper's process id, if there is one.
    pub fn pid(&self) -> Option<i32> {
        let (child, _, _) = self.process.as_ref()?;
        i32::try_from(child.id()).ok()
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
        let Some((_, stdin, stdout)) = self.process.as_mut() else {
            return answers(&self.proc, request);
        };
        let mut line = String::new();
        let exchange = writeln!(stdin, "{request}").and_then(|()| stdout.read_line(&mut line));
        if matches!(exchange, Ok(1..)) {
            return line.trim_end_matches('\n').split('\t').map(unfield).collect();
        }
        self.process = None;
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

fn field(answer: &Answer) -> String {
    match answer {
        Ok(bytes) => format!("={}", hex(bytes)),
        Err(why) => format!("!{why}"),
    }
}

fn unfield(field: &str) -> Answer {
    match field.split_at_checked(1) {
        Some(("=", digits)) => unhex(digits).map_or_else(malformed, Ok),
        Some(("!", why)) => Err(why.to_owned()),
        _ => malformed(),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| DIGITS.get(usize::from(digit)).copied().map(char::from))
        .collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_helper_answers_four_questions_and_no_other() {
        let proc = Path::new("/proc");
        let me = std::process::id();
        let all = answers(proc, &format!("all {me}"));
        let path = |path: std::io::Result<PathBuf>| Ok(path.unwrap().into_os_string().into_encoded_bytes());
        assert_eq!(all[0], path(std::env::current_exe()));
        assert_eq!(all[1], path(std::env::current_dir()));
        assert!(all[3].is_ok() && all.len() == 4);
        assert_eq!(answers(proc, &format!("sockets {me}")).len(), 1);
        for request in [
            format!("environ {me}"),
            format!("mem {me}"),
            format!("../{me}/exe {me}"),
            "all ../self".into(),
            "all".into(),
            String::new(),
        ] {
            assert_eq!(answers(proc, &request), [malformed()], "{request}");
        }
    }

    #[test]
    fn what_runs_in_other_mounts_is_the_hosts_only_if_it_is_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for process in ["1", "5", "6", "7"] {
            std::fs::create_dir_all(at(process).join("ns")).unwrap();
            let namespace = if process < "6" { "mnt:[1]" } else { "mnt:[2]" };
            symlink(namespace, at(process).join("ns/mnt")).unwrap();
        }
        for file in ["tool", "other"] {
            std::fs::write(at(file), file).unwrap();
        }
        symlink("/", at("1/root")).unwrap();
        for process in ["5", "6"] {
            symlink(at("tool"), at(process).join("exe")).unwrap();
        }
        let asked = |process: &str| answers(dir.path(), &format!("all {process}")).swap_remove(2);
        assert_eq!((asked("5"), asked("6")), (Ok(b"0".to_vec()), Ok(b"0".to_vec())));
        // PID 1 finds another file there, or none.
        std::fs::create_dir_all(at("root")).unwrap();
        std::fs::remove_file(at("1/root")).unwrap();
        symlink(at("root"), at("1/root")).unwrap();
        assert_eq!((asked("5"), asked("6")), (Ok(b"0".to_vec()), Ok(b"1".to_vec())));
        assert!(asked("7").is_err(), "it is gone");
    }

    #[test]
    fn a_helper_is_started_by_its_two_arguments_and_nothing_else() {
        let asked = |line: &str| asked_for(line.split_whitespace().map(OsString::from));
        assert_eq!(
            asked("twin-agent ptrace-helper /host/proc"),
            Some("/host/proc".into())
        );
        for line in [
            "",
            "twin-agent",
            "twin-agent ptrace-helper",
            "twin-agent --level full",
            "a ptrace-helper b c",
        ] {
            assert_eq!(asked(line), None, "{line}");
        }
    }

    #[test]
    fn any_bytes_and_any_reason_go_through_the_pipe() {
        let bytes: Vec<u8> = (0..=255).collect();
        for answer in [Ok(bytes), Ok(Vec::new()), Err("permission denied".to_owned())] {
            assert_eq!(unfield(&field(&answer)), answer);
        }
        for broken in ["", "=zz", "x"] {
            assert_eq!(unfield(broken), malformed(), "{broken}");
        }
    }
}
