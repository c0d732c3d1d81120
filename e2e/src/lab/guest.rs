//! A twin as seen from its hypervisor: commands through the QEMU guest agent, so that what a test looks at does
//! not use the channel that it tests.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Lab;
use crate::command::Output;
use crate::wait::{self, Look};

/// A running domain with a guest agent.
#[derive(Debug, Clone)]
pub struct Guest<'a> {
    lab: &'a Lab,
    domain: String,
}

impl Lab {
    /// The guest in the domain of that name.
    pub fn twin_guest(&self, domain: &str) -> Guest<'_> {
        Guest {
            lab: self,
            domain: domain.to_owned(),
        }
    }
}

impl Guest<'_> {
    /// Waits until the guest agent answers.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn wait_for_agent(&self, limit: Duration) -> Result<()> {
        let what = format!("the guest agent in {}", self.domain);
        wait::until_true(&what, limit, || {
            Ok(self.agent(&json!({"execute": "guest-ping"})).is_ok())
        })
    }

    /// Runs a program (no shell) and returns its standard output.
    ///
    /// # Errors
    /// It fails, or there is no guest agent.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.try_run(words)?;
        if !output.success() {
            bail!(
                "failed in {}: {} ({:?}): {}",
                self.domain,
                words.join(" "),
                output.code,
                output.stderr
            );
        }
        Ok(output.stdout)
    }

    /// Runs a program (no shell); an exit code is no error.
    ///
    /// # Errors
    /// It does not end within two minutes, or there is no guest agent.
    pub fn try_run(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("no program given")?;
        let start = json!({"execute": "guest-exec",
            "arguments": {"path": program, "arg": arguments, "capture-output": true}});
        let started = self.agent(&start)?;
        let pid = started
            .pointer("/return/pid")
            .and_then(Value::as_i64)
            .context("guest-exec gave no pid")?;
        let question = json!({"execute": "guest-exec-status", "arguments": {"pid": pid}});
        let status = wait::until(&words.join(" "), Duration::from_secs(120), || {
            let answer = self.agent(&question)?;
            let ended = answer.pointer("/return/exited").and_then(Value::as_bool) == Some(true);
            Ok(if ended {
                Look::Ready(answer)
            } else {
                Look::NotYet("still running".into())
            })
        })?;
        let text = |name: &str| {
            let data = status
                .pointer(&format!("/return/{name}"))
                .and_then(Value::as_str)
                .unwrap_or_default();
            STANDARD
                .decode(data)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        };
        let code = status.pointer("/return/exitcode").and_then(Value::as_i64);
        Ok(Output {
            code: code.and_then(|code| i32::try_from(code).ok()),
            stdout: text("out-data"),
            stderr: text("err-data"),
        })
    }

    fn agent(&self, question: &Value) -> Result<Value> {
        let answer = self
            .lab
            .virsh(["qemu-agent-command", &self.domain, &question.to_string()])?;
        serde_json::from_str(&answer).context("the guest agent's answer is no JSON")
    }
}
