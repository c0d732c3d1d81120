//! The `lab` command: prepares, starts, enters and ends the lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use safetytwin_e2e::bench;
use safetytwin_e2e::bench::sheet::{Sheet, placed};
use safetytwin_e2e::cache::Cache;
use safetytwin_e2e::images;
use safetytwin_e2e::lab::{DEFAULT_NAME, Lab, Monitored, Options};
use safetytwin_e2e::prepare::{alone, packages, preconditions, prepare, prepared};

/// A real control plane, node, hypervisor and network in namespaces of their own.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    /// Name of the lab; labs of different names run side by side. Without it safetytwin-lab, for `bench`
    /// safetytwin-bench.
    #[arg(long, global = true)]
    name: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Installs packages, builds the control plane and the images: about 12 minutes once, then a second.
    Prepare,
    /// Shows the whole loop on real parts, and leaves it running.
    Demo,
    /// Measures the loop, the agent and a fleet in labs of their own, about 2 hours, and ends them.
    Bench(bench::Settings),
    /// Prints figures that were measured before, or writes them into a page.
    Figures {
        /// Files of `cargo bench` and `lab bench`.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// A page with markers, such as docs/performance.md; gets the tables and this machine's description.
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Starts the lab, after preparing what is missing.
    Up {
        /// Without the monitored host.
        #[arg(long)]
        no_node: bool,
        /// The API server only: neither libvirt nor the monitored host.
        #[arg(long)]
        api_only: bool,
    },
    /// Ends the lab and removes its state.
    Down,
    /// Says what runs.
    Status,
    /// Opens a shell in the lab, with PATH and KUBECONFIG set.
    Shell,
    /// Runs a command in the lab, with PATH and KUBECONFIG set.
    Exec {
        /// Program and arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Logs in to the monitored host, or runs a command there.
    Ssh {
        /// A line for its shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Boots a plain VM from the base image and says how to log in.
    Scratch {
        /// Name of the domain.
        domain: String,
        /// Its memory in MiB.
        #[arg(long, default_value_t = 512)]
        memory: u32,
    },
    /// Builds the container images of agent and controller, optimised, and pushes them if asked.
    Images {
        /// Repository to push to, such as `registry.example.org/safetytwin`.
        #[arg(long)]
        push: Option<String>,
    },
    /// Prints the path of a kubeconfig with a fresh token of a service account.
    Kubeconfig {
        /// Namespace.
        namespace: String,
        /// Service account.
        account: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let name = arguments.name.as_deref().unwrap_or(DEFAULT_NAME);
    match arguments.verb {
        Verb::Prepare => {
            prepare()?;
        }
        Verb::Demo => safetytwin_e2e::demo::run(name)?,
        Verb::Bench(settings) => {
            let name = arguments.name.as_deref().unwrap_or(bench::NAME);
            bench::run(name, &settings)?;
        }
        Verb::Figures { files, write } => figures(&files, write.as_deref())?,
        Verb::Up { no_node, api_only } => {
            let options = Options {
                host: match no_node || api_only {
                    true => Monitored::Nothing,
                    false => Monitored::Vm,
                },
                hypervisor: !api_only,
                ..Options::default()
            };
            up(name, options)?;
        }
        Verb::Down => Lab::down(&Cache::open()?, name)?,
        Verb::Status => status(&Lab::attach(name, prepared()?)?),
        Verb::Shell => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            return replace(&mut Lab::attach(name, prepared()?)?.command(shell));
        }
        Verb::Exec { words } => {
            let lab = Lab::attach(name, prepared()?)?;
            let (program, rest) = words.split_first().unwrap_or((const { &OsString::new() }, &[]));
            return replace(lab.command(absolute(program)).args(rest));
        }
        Verb::Ssh { words } => {
            let lab = Lab::attach(name, prepared()?)?;
            return replace(lab.host().ssh().arg("10.77.0.10").args(words));
        }
        Verb::Scratch { domain, memory } => scratch(&Lab::attach(name, prepared()?)?, &domain, memory)?,
        Verb::Images { push } => make_images(push.as_deref())?,
        Verb::Kubeconfig { namespace, account } => {
            let file = Lab::attach(name, prepared()?)?.service_account_kubeconfig(&namespace, &account)?;
            println!("{}", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn figures(files: &[PathBuf], page: Option<&Path>) -> Result<()> {
    let sheets = files.iter().map(|file| Sheet::load(file));
    let sheets = sheets.collect::<Result<Vec<_>>>()?;
    let Some(page) = page else {
        for sheet in &sheets {
            println!("{}", sheet.table());
        }
        return Ok(());
    };
    let mut text =
        std::fs::read_to_string(page).with_context(|| format!("failed to read {}", page.display()))?;
    for sheet in &sheets {
        text = placed(&text, &sheet.name, &sheet.markdown())?;
    }
    std::fs::write(page, text).with_context(|| format!("failed to write {}", page.display()))
}

fn make_images(repository: Option<&str>) -> Result<()> {
    let release = preconditions::check()?;
    let cache = Cache::open()?;
    {
        // libvirt's headers are among them.
        let _alone = alone(&cache)?;
        packages::install_missing(&cache, &release)?;
    }
    let binaries = images::compile()?;
    let _alone = alone(&cache)?;
    let archives = images::build(&cache, &release, &binaries)?;
    println!("agent:      {}", archives.agent.display());
    println!("controller: {}", archives.controller.display());
    repository.map_or(Ok(()), |repository| images::push(&cache, &archives, repository))
}

fn up(name: &str, options: Options) -> Result<()> {
    let start = Instant::now();
    let lab = Lab::up(name, prepare()?, options)?;
    println!(
        "the lab {name} is up after {:.0} s",
        start.elapsed().as_secs_f64()
    );
    status(&lab);
    Ok(())
}

fn status(lab: &Lab) {
    println!("state:      {}", lab.path("").display());
    println!(
        "kubeconfig: {} (valid inside: lab exec, lab shell)",
        lab.kubeconfig().display()
    );
    println!("guests:     {}", lab.prepared().acceleration.describe());
    for (title, answer) in [
        ("nodes", lab.kubectl(["get", "nodes", "-o", "wide"])),
        ("domains", lab.virsh(["list", "--all"])),
    ] {
        match answer {
            Ok(text) => println!("{title}:\n{}", text.trim_end()),
            Err(error) => println!("{title}: {error:#}"),
        }
    }
}

fn scratch(lab: &Lab, domain: &str, memory: u32) -> Result<()> {
    let scratch = lab.boot_scratch(domain, memory)?;
    println!("domain:      {}", scratch.domain);
    println!("address:     {}", scratch.address);
    println!("key:         {}", scratch.key.display());
    println!("known hosts: {}", scratch.known_hosts.display());
    let (key, known) = (scratch.key.display(), scratch.known_hosts.display());
    println!(
        "log in:      lab exec -- ssh -i {key} -o UserKnownHostsFile={known} root@{}",
        scratch.address
    );
    Ok(())
}

/// Inside the lab the working directory is `/`: a program given by a relative path is looked up here.
fn absolute(program: &OsString) -> OsString {
    let path = PathBuf::from(program);
    if path.components().count() < 2 {
        return program.clone();
    }
    std::path::absolute(&path).map_or_else(|_| program.clone(), PathBuf::into_os_string)
}

/// Becomes the command; comes back only when it cannot be started.
fn replace(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error.into())
}
