//! Runs programs: never through a shell, always with a deadline or a log, and with an error that says what ran.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Program and arguments on one line, for messages.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs to the end and returns what was written; an exit code is no error here.
///
/// # Errors
/// The program does not start, or is still running after `limit` (it is then killed).
pub fn finish_within(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let text = describe(command);
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {text}"))?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        std::thread::spawn(move || pipe.write_all(&input));
    }
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("{text} was still running after {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    // A daemon that the program left behind may hold the pipes open; what came so far is what counts.
    let collect = |pipe: std::sync::mpsc::Receiver<Vec<u8>>| {
        let mut bytes = Vec::new();
        while let Ok(chunk) = pipe.recv_timeout(Duration::from_millis(300)) {
            bytes.extend(chunk);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Output {
        code: status.code(),
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length) = pipe.read(&mut buffer) {
                let chunk = buffer.get(..length).unwrap_or_default().to_vec();
                if length == 0 || sender.send(chunk).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// Runs to the end and returns standard output.
///
/// # Errors
/// As [`finish_within`], and when the exit code is not 0: then with the end of standard error.
pub fn output_within(command: &mut Command, input: &[u8], limit: Duration) -> Result<String> {
    let output = finish_within(command, input, limit)?;
    if !output.success() {
        let said = if output.stderr.trim().is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        bail!(
            "failed: {} (exit code {:?}): {}",
            describe(command),
            output.code,
            tail(said, 20)
        );
    }
    Ok(output.stdout)
}

/// [`output_within`] a minute, without input.
pub fn output(command: &mut Command) -> Result<String> {
    output_within(command, &[], Duration::from_secs(60))
}

/// Runs to the end, however long it takes, with all it says appended to `log`.
///
/// # Errors
/// The program does not start or fails; the message names the log and holds its end.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let text = describe(command);
    let file = append(log)?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("failed to start {text}"))?;
    if !status.success() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        bail!(
            "failed: {text} ({status}); the log is {}; it ends with:\n{}",
            log.display(),
            tail(&said, 20)
        );
    }
    Ok(())
}

/// Opens a log for appending and creates its directory.
pub fn append(log: &Path) -> Result<File> {
    if let Some(parent) = log.parent() {
        std::fs::create_dir_all(parent)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("failed to open {}", log.display()))
}

/// The last `lines` lines of `text`.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_named_with_what_it_said() {
        let error = output(Command::new("ls").arg("/nonexistent-path"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("ls /nonexistent-path"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_program_over_its_limit_is_killed_and_named() {
        let limit = Duration::from_millis(50);
        let error = finish_within(Command::new("sleep").arg("60"), &[], limit)
            .unwrap_err()
            .to_string();
        assert!(error.contains("sleep 60 was still running"), "{error}");
    }

    #[test]
    fn input_reaches_the_program_and_its_output_comes_back() {
        let text = "x".repeat(200_000);
        let echoed =
            output_within(&mut Command::new("cat"), text.as_bytes(), Duration::from_secs(20)).unwrap();
        assert_eq!(echoed, text);
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("", 2), "");
    }
}
