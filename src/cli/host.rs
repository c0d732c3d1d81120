//! `twin host show`: a host's head and the decoded content of its sections.

use std::fmt::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use safetytwin_crds::section::{SectionName, decode_data, object_name};
use safetytwin_crds::{HostSection, HostState};

use super::client::Cluster;
use super::output::{self, Format, Rows, age};

/// Verbs of `twin host`.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  twin host show\n  twin host show web-01\n  twin host show web-01 --section units -o json\n  twin host show web-01 --section ai"
)]
pub enum Verb {
    /// Shows all hosts, one host, or the content of a section.
    Show(Args),
}

/// Arguments of `twin host show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the host.
    name: Option<String>,
    /// A section to decode: units, containers, processes, machine, ai, observed, and what the host's
    /// administrator chose of packages, accounts, files, hostname, sysctl, modules, cron.
    #[arg(long, requires = "name", value_parser = section_name)]
    section: Option<SectionName>,
}

fn section_name(text: &str) -> Result<SectionName, String> {
    serde_json::from_value(serde_json::Value::String(text.into()))
        .map_err(|_| "sections are units, containers, processes, machine, ai, observed, packages, accounts, files, hostname, \
         sysctl, modules and cron"
            .into())
}

/// Runs a verb.
pub async fn run(verb: Verb, cluster: &Cluster, format: Format) -> anyhow::Result<()> {
    let Verb::Show(args) = verb;
    let (client, _) = cluster.connect().await?;
    let hosts: Api<HostState> = Api::all(client.clone());
    let Some(name) = args.name else {
        let list = hosts
            .list(&ListParams::default())
            .await
            .context("failed to list hosts")?;
        return output::show(format, &list.items, || table(&list.items, Timestamp::now()));
    };
    let host = hosts
        .get(&name)
        .await
        .with_context(|| format!("failed to read host {name}"))?;
    if let Some(section) = args.section {
        let items = content(&client, &host, section).await?;
        let format = if format == Format::Table {
            Format::Yaml
        } else {
            format
        };
        return output::show(format, &items, String::new);
    }
    output::show(format, &host, || detail(&host, Timestamp::now()))
}

fn table(hosts: &[HostState], now: Timestamp) -> String {
    let mut rows = Rows::new(&[
        "NAME",
        "SEEN",
        "COMPLETE",
        "SERVICES",
        "FAILED",
        "CONTAINERS",
        "PROCESSES",
        "AI",
        "OS",
        "TWINS",
    ]);
    let number = |n: Option<i32>| n.map(|n| n.to_string()).unwrap_or_default();
    for host in hosts {
        let spec = &host.spec;
        let twins = host
            .status
            .as_ref()
            .map(|s| s.twins.join(","))
            .unwrap_or_default();
        rows.add([
            host.name_any(),
            age(Some(&spec.observed_time), now),
            spec.complete.clone(),
            number(spec.counts.services),
            number(spec.counts.failed),
            number(spec.counts.containers),
            number(spec.counts.processes),
            number(spec.counts.ai),
            spec.machine.os.clone(),
            twins,
        ]);
    }
    rows.text()
}

fn detail(host: &HostState, now: Timestamp) -> String {
    let mut text = table(std::slice::from_ref(host), now);
    let mut rows = Rows::new(&["SECTION", "STATE", "ITEMS", "PARTS", "AGE", "MESSAGE"]);
    for section in &host.spec.sections {
        let collected = section.collected_time.as_ref();
        let collected = collected.unwrap_or(&host.spec.observed_time);
        rows.add([
            section.name.to_string(),
            format!("{:?}", section.state),
            section.items.to_string(),
            section.parts.len().to_string(),
            age(Some(collected), now),
            section.message.clone().unwrap_or_default(),
        ]);
    }
    // Writing into a String does not fail.
    let _infallible = write!(text, "\n{}", rows.text());
    text
}

async fn content(
    client: &Client,
    host: &HostState,
    name: SectionName,
) -> anyhow::Result<Vec<serde_json::Value>> {
    let section = host
        .spec
        .section(name)
        .with_context(|| format!("the host publishes no section {name}"))?;
    let objects: Api<HostSection> = Api::all(client.clone());
    let mut items = Vec::new();
    for (number, part) in section.parts.iter().enumerate() {
        let object = object_name(host.spec.host.as_str(), name, number, part.slot);
        let stored = objects
            .get(&object)
            .await
            .with_context(|| format!("failed to read section {object}"))?;
        let json = decode_data(&stored.spec.data, stored.spec.encoding, part.digest)
            .with_context(|| format!("failed to decode {object}: try again, the agent may have moved on"))?;
        let mut more: Vec<serde_json::Value> = serde_json::from_slice(&json)?;
        items.append(&mut more);
    }
    Ok(items)
}
