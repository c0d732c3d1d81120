//! What people do in a twin: programs through `twin ssh`, ports through `twin forward`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use safetytwin_e2e::command::{Output, finish_within};
use safetytwin_e2e::lab::process::built_binary;
use safetytwin_e2e::product::{TWINS, twin};
use safetytwin_e2e::wait::{self, Look};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Sentence;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_command_runs_in_the_twin_through_twin_ssh",
        a_command_runs_in_the_twin_through_twin_ssh,
    ),
    (
        "twin_forward_reaches_a_port_of_the_twin",
        twin_forward_reaches_a_port_of_the_twin,
    ),
];

/// Port of a web server in the twin, on its loopback only.
const PORT: &str = "8099";

/// `twin ssh` of this build, as the administrator.
fn ssh(world: &World, command: &[&str], input: &str) -> Result<Output> {
    let mut twin = world.lab.command(built_binary("twin")?);
    twin.args(["ssh", twin::NAME, "--namespace", TWINS]).args(command);
    finish_within(&mut twin, input.as_bytes(), Duration::from_secs(60))
}

fn a_command_runs_in_the_twin_through_twin_ssh(world: &World) -> Result<()> {
    let guest = twin::guest(&world.lab, twin::NAME)?;
    let boot = guest.run(&["/usr/bin/cat", "/proc/sys/kernel/random/boot_id"])?;
    let ran = ssh(world, &["--", "cat", "/proc/sys/kernel/random/boot_id"], "")?;
    ensure!(ran.success() && ran.stdout == boot, "boot id {boot}: {ran:?}");

    let ran = ssh(world, &["--", "echo out; echo err >&2; exit 7"], "")?;
    let said = (ran.code, ran.stdout.as_str(), ran.stderr.as_str());
    ensure!(said == (Some(7), "out\n", "err\n"), "{ran:?}");

    let input = "0123456789abcde\n".repeat(200_000);
    let ran = ssh(world, &["--", "cat"], &input)?;
    ensure!(
        ran.success() && ran.stdout == input,
        "{} of {} bytes came back, {:?} {}",
        ran.stdout.len(),
        input.len(),
        ran.code,
        ran.stderr
    );

    let ran = ssh(world, &[], "id -un\nexit 3\n")?;
    ensure!(ran.code == Some(3) && ran.stdout.contains("root"), "{ran:?}");
    Ok(())
}

fn twin_forward_reaches_a_port_of_the_twin(world: &World) -> Result<()> {
    let guest = twin::guest(&world.lab, twin::NAME)?;
    guest.run(&["/usr/bin/mkdir", "-p", "/srv/reaching"])?;
    guest.run(&[
        "/usr/bin/cp",
        "/proc/sys/kernel/random/boot_id",
        "/srv/reaching/boot",
    ])?;
    let address = format!("127.0.0.1:{PORT}");
    let server = [
        "/usr/bin/busybox",
        "httpd",
        "-f",
        "-p",
        &address,
        "-h",
        "/srv/reaching",
    ];
    let unit = ["/usr/bin/systemd-run", "--quiet", "--collect", "--unit=reaching"];
    guest.run(&[&unit[..], &server[..]].concat())?;
    let boot = guest.run(&["/usr/bin/cat", "/srv/reaching/boot"])?;

    let remote = format!(":{PORT}");
    let arguments = ["forward", twin::NAME, "--namespace", TWINS, remote.as_str()];
    let mut forward = world
        .lab
        .spawn("forward", &built_binary("twin")?, &arguments, &BTreeMap::new())?;
    let local = wait::until("the local port", Duration::from_secs(60), || {
        let log = std::fs::read_to_string(forward.log())?;
        Ok(match local_port(&log) {
            Some(port) => Look::Ready(port),
            None => Look::NotYet(log),
        })
    })?;
    // Two connections, one after the other, over one login.
    for _ in 0..2 {
        let answer = get(world, local, "/boot")?;
        ensure!(answer.ends_with(&boot), "boot id {boot}, answer {answer}");
    }
    forward.signal(Signal::SIGINT)?;
    let ended = wait::until("the end of twin forward", Duration::from_secs(20), || {
        Ok(match forward.ended()? {
            Some(status) => Look::Ready(status),
            None => Look::NotYet("it runs on".into()),
        })
    })?;
    ensure!(ended.success(), "after Ctrl-C twin forward ended with {ended}");
    guest.run(&["/usr/bin/systemctl", "stop", "reaching.service"])?;
    Ok(())
}

/// The port in `Forwarding from 127.0.0.1:40123 -> 8099`.
fn local_port(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.ends_with(&format!("-> {PORT}")))?;
    let (local, _) = line.strip_prefix("Forwarding from 127.0.0.1:")?.split_once(' ')?;
    local.parse().ok()
}

/// The answer to one HTTP request on the lab's loopback.
fn get(world: &World, port: u16, path: &str) -> Result<String> {
    world.lab.with_client(|_| async move {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(30), read)
            .await
            .context("no answer within 30 s")??;
        Ok(answer)
    })
}
