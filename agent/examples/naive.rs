//! The peer of the agent's figures: what a straightforward program does every ten seconds. It refreshes all
//! processes with sysinfo, asks systemd for `ListUnits` over D-Bus and Docker for its list of containers, and
//! serialises all of it as JSON. Built by `make bench`, run on the monitored host by `lab bench`, shipped nowhere.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use clap::Parser;
use serde_json::{Value, json};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::MissedTickBehavior;
use zbus::{Connection, OwnedObjectPath};

/// Publishes what the host runs, without any thought of what that costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds between two looks.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Looks before it ends; without it there is no end.
    #[arg(long)]
    looks: Option<u64>,
    /// Where the JSON goes; a file that is kept in memory, as a request would be.
    #[arg(long, default_value = "/run/naive.json")]
    out: PathBuf,
}

/// A unit as `ListUnits` has it: name, description, load, active and sub state, following, path, job id, job type,
/// job path.
type Unit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut system = System::new()?;
    let mut tick = tokio::time::interval(Duration::from_secs(arguments.interval));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = 0;
    while arguments.looks.is_none_or(|looks| look < looks) {
        tick.tick().await;
        look += 1;
        let processes = processes(&mut system);
        // A machine without systemd or Docker has none of them; the line below says so.
        let units = units().await.unwrap_or_default();
        let containers = containers().await.unwrap_or_default();
        let counts = (processes.len(), units.len(), containers.len());
        let state = json!({"processes": processes, "units": units, "containers": containers});
        let bytes = serde_json::to_vec(&state)?;
        std::fs::write(&arguments.out, &bytes)
            .with_context(|| format!("failed to write {}", arguments.out.display()))?;
        let (processes, units, containers) = counts;
        println!(
            "look {look}: {processes} processes, {units} units, {containers} containers, {} bytes",
            bytes.len()
        );
    }
    Ok(())
}

fn processes(system: &mut System) -> Vec<Value> {
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::everything());
    let processes = system.processes().values();
    let of_its_own = processes.filter(|process| process.thread_kind().is_none());
    of_its_own
        .map(|process| {
            let words = process.cmd().iter().map(|word| word.to_string_lossy());
            json!({
                "pid": process.pid().as_u32(),
                "parent": process.parent().map(sysinfo::Pid::as_u32),
                "name": process.name().to_string_lossy(),
                "argv": words.collect::<Vec<_>>(),
                "executable": process.exe(),
                "workingDirectory": process.cwd(),
                "memory": process.memory(),
                "cpu": process.cpu_usage(),
                "started": process.start_time(),
            })
        })
        .collect()
}

async fn units() -> anyhow::Result<Vec<Unit>> {
    let bus = Connection::system().await?;
    let manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
    let interface = Some("org.freedesktop.systemd1.Manager");
    let answer = bus
        .call_method(Some(manager.0), manager.1, interface, "ListUnits", &())
        .await?;
    Ok(answer.body().deserialize()?)
}

async fn containers() -> anyhow::Result<Vec<Value>> {
    let docker = Docker::connect_with_unix("/run/docker.sock", 20, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    let all = ListContainersOptionsBuilder::new().all(true).build();
    let list = docker.list_containers(Some(all)).await?;
    Ok(list.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}
