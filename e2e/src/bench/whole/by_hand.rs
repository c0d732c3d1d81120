//! The peer: an administrator's script with OpenSSH, scp and systemctl, on the twin's own guest and in the same
//! run. Each command is a connection of its own, as OpenSSH makes it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::changes::service;
use super::push::{self, UNITS, units};
use super::wire::Span;
use super::{Bench, probe};
use crate::command::output_within;
use crate::lab::pki::write_private;
use crate::product::NAMESPACE;
use crate::progress::stage;

/// Samples of one change.
const SAMPLES: u16 = 3;
/// Units that are pushed one by one; the time is scaled to [`UNITS`].
pub(super) const ONE_BY_ONE: u16 = 5;
const LIMIT: Duration = Duration::from_secs(240);

/// One run of the script.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Run {
    /// Until the last command returned.
    pub(super) seconds: f64,
    /// What went over the SSH port.
    pub(super) wire: Span,
}

/// What was measured by hand.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ByHand {
    /// scp, `systemctl start`.
    pub(super) new: Vec<Run>,
    /// scp, `systemctl daemon-reload && systemctl restart`.
    pub(super) edited: Vec<Run>,
    /// [`ONE_BY_ONE`] times scp and `systemctl enable --now`.
    pub(super) one_by_one: Run,
    /// One scp and one `systemctl enable --now` of all [`UNITS`].
    pub(super) all_at_once: Run,
    /// daemon-reloads of `all_at_once`.
    pub(super) reloads: usize,
    /// One `systemctl is-active` of [`UNITS`] units: does the guest still run them?
    pub(super) check: Run,
}

/// The script's access to the guest.
struct Script<'a> {
    bench: &'a Bench<'a>,
    options: Vec<String>,
}

/// Runs the script.
///
/// # Errors
/// A command fails.
pub(super) fn measure(bench: &Bench<'_>) -> Result<ByHand> {
    let script = Script::new(bench)?;
    let several = |edited: bool| (1..=SAMPLES).map(move |number| (number, edited));
    let one = |(number, edited)| script.change(number, edited);
    let new = stage("by hand: a new unit", || several(false).map(one).collect())?;
    let edited = stage("by hand: an edited unit", || several(true).map(one).collect())?;
    let one_by_one = stage(&format!("by hand: {ONE_BY_ONE} new units"), || {
        script.one_by_one()
    })?;
    let before = push::reloads(bench.lab)?;
    let all = units("all");
    let all_at_once = stage(&format!("by hand: {UNITS} new units at once"), || {
        script.place(&all, 29_000)?;
        script.timed(|| {
            script.copy(&all)?;
            script.run(&format!("systemctl enable --quiet --now {}", all.join(" ")))
        })
    })?;
    let reloads = push::reloads(bench.lab)?.saturating_sub(before);
    let check = script.timed(|| script.run(&format!("systemctl is-active --quiet {}", all.join(" "))))?;
    Ok(ByHand {
        new,
        edited,
        one_by_one,
        all_at_once,
        reloads,
        check,
    })
}

impl<'a> Script<'a> {
    /// The twin's own key: an administrator may read its Secret.
    fn new(bench: &'a Bench<'a>) -> Result<Self> {
        let secret = format!("twin-{}", bench.guest.uid);
        let path = r"jsonpath={.data.id_ed25519}";
        let key = bench
            .lab
            .kubectl(["get", "secret", &secret, "-n", NAMESPACE, "-o", path])?;
        let key = STANDARD
            .decode(key.trim())
            .context("the twin's Secret holds no key")?;
        let directory = bench.lab.path("bench");
        std::fs::create_dir_all(&directory)?;
        let (identity, known) = (directory.join("id_ed25519"), directory.join("known_hosts"));
        write_private(&identity, &String::from_utf8(key)?)?;
        write_private(
            &known,
            &format!("{} {}\n", bench.guest.address, bench.guest.host_key),
        )?;
        let options = [
            "-F".to_owned(),
            "none".to_owned(),
            "-i".to_owned(),
            identity.display().to_string(),
            "-o".to_owned(),
            format!("UserKnownHostsFile={}", known.display()),
            "-o".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "-o".to_owned(),
            "BatchMode=yes".to_owned(),
        ];
        Ok(Self {
            bench,
            options: options.to_vec(),
        })
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.bench.lab.command(program);
        command.args(&self.options);
        command
    }

    fn run(&self, line: &str) -> Result<()> {
        let mut ssh = self.client("ssh");
        ssh.args(["-l", "root"]).arg(self.bench.guest.address.to_string());
        output_within(ssh.args(["--", line]), &[], LIMIT).map(|_| ())
    }

    fn copy(&self, units: &[String]) -> Result<()> {
        let mut scp = self.client("scp");
        scp.arg("-q");
        scp.args(
            units
                .iter()
                .map(|unit| self.bench.lab.path(&format!("bench/{unit}"))),
        );
        scp.arg(format!("root@{}:/etc/systemd/system/", self.bench.guest.address));
        output_within(&mut scp, &[], LIMIT).map(|_| ())
    }

    /// Writes the units where [`Script::copy`] takes them from.
    fn place(&self, units: &[String], first_port: u16) -> Result<()> {
        for (unit, port) in units.iter().zip(first_port..) {
            std::fs::write(self.bench.lab.path(&format!("bench/{unit}")), service(unit, port))?;
        }
        Ok(())
    }

    fn timed(&self, work: impl FnOnce() -> Result<()>) -> Result<Run> {
        let (began, wall) = (Instant::now(), SystemTime::now());
        work()?;
        Ok(Run {
            seconds: began.elapsed().as_secs_f64(),
            wire: self.bench.wire.between(wall, SystemTime::now())?,
        })
    }

    fn change(&self, number: u16, edited: bool) -> Result<Run> {
        let unit = format!("hand-{number}.service");
        let port = if edited { 27_000 } else { 26_000 } + number;
        let units = [unit];
        self.place(&units, port)?;
        let [unit] = &units;
        let start = if edited {
            format!("systemctl daemon-reload && systemctl restart {unit}")
        } else {
            format!("systemctl start {unit}")
        };
        let run = self.timed(|| {
            self.copy(&units)?;
            self.run(&start)
        })?;
        let port = SocketAddr::new(self.bench.guest.address, port);
        probe::answers(self.bench.lab, &[port], LIMIT)?;
        Ok(run)
    }

    fn one_by_one(&self) -> Result<Run> {
        let units: Vec<String> = units("single")
            .into_iter()
            .take(usize::from(ONE_BY_ONE))
            .collect();
        self.place(&units, 28_000)?;
        self.timed(|| {
            for unit in &units {
                self.copy(std::slice::from_ref(unit))?;
                self.run(&format!("systemctl enable --quiet --now {unit}"))?;
            }
            Ok(())
        })
    }
}
