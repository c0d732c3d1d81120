//! The agent: reads the command line, gives up what it does not need, collects and publishes.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use clap::Parser;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use safetytwin_agent::cli::{Cli, Command, Output};
use safetytwin_agent::collect::board::Board;
use safetytwin_agent::collect::meter::Meter;
use safetytwin_agent::collect::processes::helper::{self, Helper};
use safetytwin_agent::collect::watchdog::Watchdog;
use safetytwin_agent::collect::{registry, thread};
use safetytwin_agent::connection::Bearer;
use safetytwin_agent::enroll::{self, renew};
use safetytwin_agent::metrics::{self, Counts, Metrics};
use safetytwin_agent::publish::Publisher;
use safetytwin_agent::publish::api::{self, ClusterApi};
use safetytwin_agent::publish::door::Door;
use safetytwin_agent::settings::{Level, Settings};
use safetytwin_agent::{once, privileges};
use safetytwin_crds::hoststate::Source;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> anyhow::Result<()> {
    let mut cli = Cli::parse();
    let enrolment = cli.command.take().map(|Command::Enroll(args)| args);
    if cli.print_privileges {
        return print_privileges(&cli);
    }
    logs();
    if let Some(args) = enrolment {
        return runtime()?.block_on(async {
            choose_cryptography()?;
            enroll::run(args).await
        });
    }
    // Before any thread: a thread that is started later has what this one has left.
    let helper = start_helper(&mut cli)?;
    helper::drop_ptrace().context("failed to give up CAP_SYS_PTRACE")?;
    let settings = cli
        .settings(helper)
        .context("failed to name this host; give --node-name")?;
    let runtime = runtime()?;
    if cli.once {
        return runtime.block_on(print_once(&settings, cli.output.unwrap_or(Output::Yaml)));
    }
    runtime.block_on(publish(&cli, settings))
}

/// The helper of level full. Who did not ask for that level does without where the program is missing.
fn start_helper(cli: &mut Cli) -> anyhow::Result<Option<Helper>> {
    if cli.level() == Level::Basic {
        return Ok(None);
    }
    match Helper::start(&helper::program()?, &cli.proc) {
        Ok(helper) => Ok(Some(helper)),
        Err(error) if cli.level.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "reading of processes what level basic reads; put the helper beside the agent");
            cli.level = Some(Level::Basic);
            Ok(None)
        }
        Err(error) => Err(error).context("failed to start the helper of --level full"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

fn choose_cryptography() -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("failed to choose the cryptography of TLS");
    }
    Ok(())
}

/// Lines for people on a terminal, JSON elsewhere.
fn logs() {
    // Levels by target are all that it takes; the filter that knows fields costs regular expressions.
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stderr().is_terminal() {
        registry.with(logs).init();
    } else {
        registry.with(logs.json().flatten_event(true)).init();
    }
}

async fn print_once(settings: &Settings, output: Output) -> anyhow::Result<()> {
    let list = once::list(settings, registry(settings)).await?;
    print(&formatted(&list, output)?)
}

fn print_privileges(cli: &Cli) -> anyhow::Result<()> {
    let privileges = privileges::of(cli.place(), cli.level());
    print(&match cli.output {
        Some(output) => formatted(&privileges, output)?,
        None => privileges::text(&privileges),
    })
}

fn formatted(document: &impl Serialize, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Json => serde_json::to_string_pretty(document)? + "\n",
        Output::Yaml => serde_yaml::to_string(document)?,
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader has what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("failed to write to standard output"),
    }
}

async fn publish(cli: &Cli, settings: Settings) -> anyhow::Result<()> {
    choose_cryptography()?;
    let config = config(cli.kubeconfig.as_deref(), cli.token_file.as_deref()).await?;
    let token_file = config.auth_info.token_file.clone();
    let (client, brake) = api::client(&config).context("failed to make a client of the cluster")?;
    let cluster = match (&cli.accounts, settings.source) {
        (Some(accounts), Source::Node) => {
            let bearer = Bearer::default();
            let own = api::client_presenting(&config, &brake, &bearer)
                .context("failed to make a client of the cluster")?;
            let door = Door::new(client.clone(), accounts, settings.host.clone(), bearer);
            ClusterApi::new(own, Some(door))
        }
        _ => ClusterApi::new(client.clone(), None),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let board = Board::new(settings.redactor.clone());
    let meters = collect(&settings, &board).context("failed to start the collectors")?;
    let watchdog = Watchdog::new(&meters, board.clone());
    if let (Source::Enrolled, Some(path)) = (settings.source, token_file) {
        tokio::spawn(renew::run(client, path.into()));
    }
    let counts = Counts::default();
    if let Some(address) = cli.metrics_address {
        let serving = metrics::serve(address, Metrics::new(meters, counts.clone())).await;
        tokio::spawn(serving.with_context(|| format!("failed to serve metrics on {address}"))?);
    }
    tracing::info!(host = %settings.host, level = ?settings.level, "publishing");
    let helper = settings.helper.clone();
    let publisher = Publisher::new(settings, board, (cluster, brake), cli.admission_self_test, counts);
    tokio::select! {
        error = publisher.run() => return Err(error.into()),
        spinning = watchdog.run() => return Err(spinning.into()),
        ended = helper.ended() => return Err(ended.into()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    Ok(())
}

/// Each collector on its own thread.
fn collect(settings: &Settings, board: &Board) -> std::io::Result<Vec<Meter>> {
    let collectors = registry(settings).into_iter();
    collectors
        .map(|collector| thread::start(collector, board.clone()))
        .collect()
}

async fn config(kubeconfig: Option<&Path>, token_file: Option<&Path>) -> anyhow::Result<Config> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).context("failed to read the kubeconfig")?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .context("failed to use the kubeconfig")?
        }
        None => Config::infer()
            .await
            .context("failed to find a cluster; give --kubeconfig")?,
    };
    if let Some(path) = token_file {
        config.auth_info.token = None;
        config.auth_info.token_file = Some(path.display().to_string());
    }
    // Failures are retried by the publisher, with newer content.
    config.default_retry = false;
    Ok(config)
}
