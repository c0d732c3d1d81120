//! From a change on the full host until the API server has it, by the clock of the machine that runs both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use safetytwin_crds::section::SectionName;
use serde::Serialize;

use crate::bench::placed::placed;
use crate::bench::watch::{Seen, Watch};
use crate::lab::Lab;
use crate::progress::stage;

/// Changes of each kind: of all together the slowest stands for the 99th percentile.
const EACH: u32 = 34;
/// Longest time for a change to be published.
const LIMIT: Duration = Duration::from_secs(60);
/// A second publication of the same change comes within this time, if it comes.
const APART: Duration = Duration::from_secs(3);

/// What is changed; each shows in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    /// A drop-in of a running service is replaced: a file event.
    Edited,
    /// A service is started: signals of the service manager.
    Started,
    /// A container is renamed: an event of its engine.
    Renamed,
}

/// One change.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sample {
    /// What was done.
    pub(super) kind: Kind,
    /// From the change to its publication, in seconds.
    pub(super) seconds: f64,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Edited, Self::Started, Self::Renamed];

    fn section(self) -> SectionName {
        match self {
            Self::Edited | Self::Started => SectionName::Units,
            Self::Renamed => SectionName::Containers,
        }
    }

    /// Makes the change number `n`; says `placed` when it is made, and where that cannot be told, right before.
    fn line(self, n: u32) -> String {
        match self {
            Self::Edited => format!(
                "d=/etc/systemd/system/load-001.service.d; mkdir -p $d /root/bench; \
                 printf '[Unit]\nDescription=Edited {n}\n' > /root/bench/drop-in; \
                 mv /root/bench/drop-in $d/10-bench.conf && echo placed"
            ),
            Self::Started => format!("echo placed; systemctl start late-{n}.service"),
            Self::Renamed => format!(
                "docker rename load-1{before} load-1{after} && echo placed",
                before = "x".repeat(n as usize % 2),
                after = "x".repeat((n as usize + 1) % 2),
            ),
        }
    }
}

/// Services that are known to the host and do not run.
const LATE: &str = "for i in $(seq 0 LAST); do printf '%s\n' '[Unit]' \"Description=Late $i\" '[Service]' \
    \"ExecStart=/usr/bin/busybox sleep 30000$i\" > /etc/systemd/system/late-$i.service; done; systemctl daemon-reload";

/// Changes the host again and again while the agent runs.
///
/// # Errors
/// A change fails or is not published.
pub(super) fn measure(lab: &Lab) -> Result<Vec<Sample>> {
    lab.host().run(&LATE.replace("LAST", &(EACH - 1).to_string()))?;
    let watch = Watch::start(lab);
    let mut samples = Vec::new();
    for kind in Kind::ALL {
        stage(&format!("{kind:?}, {EACH} times, until it is published"), || {
            for n in 0..EACH {
                std::thread::sleep(APART);
                samples.push(one(lab, &watch, kind, n)?);
            }
            Ok(())
        })?;
    }
    Ok(samples)
}

fn one(lab: &Lab, watch: &Watch, kind: Kind, n: u32) -> Result<Sample> {
    let began = Instant::now();
    let (made, _) = placed(lab.host().command(&kind.line(n)))?;
    let section = kind.section();
    let published = watch
        .wait("the publication", began, LIMIT, |seen| {
            *seen == Seen::Published(section)
        })
        .with_context(|| format!("{kind:?}, number {n}"))?;
    Ok(Sample {
        kind,
        // The publication may be seen before the host's answer has come over SSH.
        seconds: published.saturating_duration_since(made).as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_lines_are_ones_that_a_shell_understands_and_a_name_goes_back_and_forth() {
        let lines = Kind::ALL
            .into_iter()
            .flat_map(|kind| [kind.line(0), kind.line(1)]);
        for line in lines.chain([LATE.to_owned()]) {
            let checked = Command::new("sh").args(["-n", "-c", &line]).status().unwrap();
            assert!(checked.success(), "{line}");
        }
        assert!(Kind::Renamed.line(0).contains("load-1 load-1x"));
        assert!(Kind::Renamed.line(1).contains("load-1x load-1 "));
    }
}
