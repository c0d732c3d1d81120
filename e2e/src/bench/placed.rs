//! A command on the host whose change is made at a moment in its midst.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::describe;

/// Runs a command that prints the line `placed` in its midst; answers when the line came and when the command
/// returned.
///
/// # Errors
/// It fails, or prints something else.
pub(super) fn placed(mut command: Command) -> Result<(Instant, Instant)> {
    let text = describe(&command);
    let mut child: Child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {text}"))?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    let in_place = Instant::now();
    let status = child.wait()?;
    if !status.success() || line.trim() != "placed" {
        bail!("failed: {text} ({status})");
    }
    Ok((in_place, Instant::now()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_middle_and_the_end_of_a_command_are_told_apart() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "echo placed && sleep 0.2"]);
        let (in_place, returned) = placed(sh).unwrap();
        assert!(returned.duration_since(in_place) >= Duration::from_millis(150));
        let mut sh = Command::new("sh");
        sh.args(["-c", "exit 3"]);
        assert!(placed(sh).unwrap_err().to_string().contains("exit 3"));
    }
}
