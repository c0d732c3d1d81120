//! The guest channel keeps its promises on a real guest: the suite that the fake guest of the controller's tests passes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_e2e::command::{output_within, tail};
use safetytwin_e2e::lab::scratch::{BOOT, Scratch};
use safetytwin_e2e::product::repository;
use safetytwin_e2e::wait;
use serde_json::Value;

use crate::Sentence;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "a_real_guest_passes_the_conformance_suite",
    a_real_guest_passes_the_conformance_suite,
)];

/// Domain of the guest.
const NAME: &str = "conformance";
/// The tests of the guest channel that need a guest.
const SUITE: &str = "guest::ssh::real::";
/// Long enough to compile the tests on a busy machine; `make test` has compiled them.
const COMPILE: Duration = Duration::from_secs(900);
const RUN: Duration = Duration::from_secs(300);

/// The compiled unit tests of the crate `safetytwin`: asked for as `make test` asks for all of them, because for one
/// package cargo would choose other features of the dependencies, and compile most of them again.
fn unit_tests() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).args([
        "test",
        "--workspace",
        "--features=safetytwin/libvirt",
        "--lib",
        "--no-run",
        "--quiet",
        "--message-format=json",
    ]);
    let messages = output_within(&mut cargo, &[], COMPILE)?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message.pointer("/target/name")?.as_str()?;
        let path = message.get("executable")?.as_str()?;
        (name == "safetytwin").then(|| PathBuf::from(path))
    };
    let found = messages.lines().find_map(executable);
    found.context("cargo names no executable of the unit tests")
}

fn run_suite(world: &World, domain: &Scratch) -> Result<()> {
    let host_key = domain.key.with_file_name("ssh_host_ed25519_key.pub");
    let mut suite = world.lab.command(unit_tests()?);
    suite
        .env("SAFETYTWIN_GUEST_ADDRESS", &domain.address)
        .env("SAFETYTWIN_GUEST_KEY", &domain.key)
        .env("SAFETYTWIN_GUEST_HOST_KEY", host_key)
        .args(["--ignored", "--test-threads=1", SUITE]);
    let said = output_within(&mut suite, &[], RUN)?;
    let none = said.contains(" 0 passed");
    ensure!(!none, "no test ran:\n{}", tail(&said, 20));
    Ok(())
}

fn a_real_guest_passes_the_conformance_suite(world: &World) -> Result<()> {
    let domain = world.lab.boot_scratch(NAME, 512)?;
    let guest = world.lab.twin_guest(NAME);
    guest.wait_for_agent(BOOT)?;
    let ready = ["/usr/bin/systemctl", "is-active", "ssh.service"];
    wait::until_true("the guest's SSH server", BOOT, || {
        Ok(guest.try_run(&ready)?.success())
    })?;
    let passed = run_suite(world, &domain);
    world.lab.remove_scratch(&domain)?;
    passed
}
