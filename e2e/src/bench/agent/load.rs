//! Fills the monitored host: units, containers and independent processes, all of them asleep.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::command::output_within;
use crate::lab::Lab;
use crate::progress::stage;

/// Services with a file of their own, beside those of the system.
pub(super) const UNITS: u32 = 200;
/// Running containers.
pub(super) const CONTAINERS: u32 = 50;
/// Processes that belong to no service and no container: the dearest kind. All others of the host come on top.
pub(super) const PROCESSES: u32 = 1000;
/// Memory of the host in MiB: a shim of containerd for each container, and a page table for each process.
pub(super) const MEMORY: u32 = 4096;

/// Longest time to start them: an emulated machine starts three containers in ten seconds.
const LIMIT: Duration = Duration::from_secs(1200);

const SERVICES: &str = "for i in $(seq -w 1 UNITS); do printf '%s\\n' '[Unit]' \"Description=Load $i\" \
    'After=network.target' '' '[Service]' \"ExecStart=/usr/bin/busybox sleep 10000$i\" 'Restart=on-failure' \
    'MemoryMax=64M' '' '[Install]' 'WantedBy=multi-user.target' > /etc/systemd/system/load-$i.service; done; \
    systemctl daemon-reload && systemctl start $(seq -f load-%03g.service 1 UNITS)";
const STARTED: &str = "systemctl start docker && docker load -q -i /usr/share/lab/busybox.tar && \
    seq 1 CONTAINERS | xargs -P 2 -I N docker run -d --network none --restart unless-stopped --label tier=load \
    -m 64m --name load-N localhost/busybox:1 sleep 1000000";
/// Reparented to process 1 and without a terminal; each with an argument of its own, so that none equals another.
const LEFT_BEHIND: &str = "cd / && i=0; while [ $i -lt PROCESSES ]; do i=$((i+1)); \
    setsid --fork busybox sleep $((2000000+i)) < /dev/null > /dev/null 2>&1; done";
const COUNT: &str = "ls -d /proc/[0-9]* | wc -l; systemctl list-units --all --plain --no-legend | wc -l; \
    docker ps -q | wc -l; pgrep -c -P 1 -x busybox";

/// What runs on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Load {
    /// Processes, kernel threads included.
    pub(super) processes: u32,
    /// Loaded units of all kinds.
    pub(super) units: u32,
    /// Running containers.
    pub(super) containers: u32,
    /// Services and independent processes: children of process 1 that sleep.
    pub(super) sleepers: u32,
}

/// Starts all of it, and counts.
///
/// # Errors
/// Something does not start, or less runs than was started.
pub(super) fn fill(lab: &Lab) -> Result<Load> {
    let host = lab.host();
    let run = |name: &str, line: String| {
        stage(name, || {
            output_within(&mut host.command(&line), &[], LIMIT).map(|_| ())
        })
    };
    run(
        &format!("{UNITS} services on the host"),
        SERVICES.replace("UNITS", &UNITS.to_string()),
    )?;
    run(
        &format!("{CONTAINERS} containers on the host"),
        STARTED.replace("CONTAINERS", &CONTAINERS.to_string()),
    )?;
    run(
        &format!("{PROCESSES} independent processes on the host"),
        LEFT_BEHIND.replace("PROCESSES", &PROCESSES.to_string()),
    )?;
    let counted = host.run(COUNT)?;
    let load = parse(&counted).with_context(|| format!("not understood:\n{counted}"))?;
    ensure!(
        load.processes > PROCESSES + UNITS
            && load.units > UNITS
            && load.containers >= CONTAINERS
            && load.sleepers >= PROCESSES + UNITS,
        "less runs on the host than was started: {load:?}"
    );
    Ok(load)
}

fn parse(text: &str) -> Option<Load> {
    let mut numbers = text.lines().map(|line| line.trim().parse().ok());
    Some(Load {
        processes: numbers.next()??,
        units: numbers.next()??,
        containers: numbers.next()??,
        sleepers: numbers.next()??,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::wait;

    #[test]
    fn what_runs_is_read_from_four_numbers() {
        let load = parse("1420\n 391\n50\n1200\n").unwrap();
        assert_eq!(
            (load.processes, load.units, load.containers, load.sleepers),
            (1420, 391, 50, 1200)
        );
        assert_eq!(parse("1420\nx\n"), None);
    }

    #[test]
    fn the_lines_are_ones_that_a_shell_understands() {
        for line in [SERVICES, STARTED, LEFT_BEHIND, COUNT] {
            let checked = Command::new("sh").args(["-n", "-c", line]).status().unwrap();
            assert!(checked.success(), "{line}");
        }
    }

    #[test]
    fn processes_that_are_left_behind_outlive_their_shell_each_with_a_line_of_its_own() {
        let line = LEFT_BEHIND
            .replace("PROCESSES", "3")
            .replace("busybox sleep $((2000000+i))", "sleep 20.$i");
        let run = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(run.success());
        wait::until_true("the three processes", Duration::from_secs(10), || {
            let found = Command::new("pgrep")
                .args(["-x", "-f", "sleep 20\\.[123]"])
                .output()?;
            Ok(String::from_utf8(found.stdout)?.lines().count() == 3)
        })
        .unwrap();
    }
}
