//! `twin status`: twins at a glance, or one twin in full.

use std::fmt::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use safetytwin_crds::condition::types;
use safetytwin_crds::names::printable;
use safetytwin_crds::{Conditions as _, DigitalTwin};

use super::client::Cluster;
use super::output::{self, Format, Rows, age};

/// Arguments of `twin status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  twin status\n  twin status web-01 -n ops")]
pub struct Args {
    /// One twin, with conditions, changes and what is not replicated.
    name: Option<String>,
    /// Twins of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
}

/// Prints the status.
pub async fn run(args: Args, cluster: &Cluster, format: Format) -> anyhow::Result<()> {
    let (client, namespace) = cluster.connect().await?;
    let twins: Api<DigitalTwin> = if args.all_namespaces {
        Api::all(client)
    } else {
        Api::namespaced(client, &namespace)
    };
    let now = Timestamp::now();
    if let Some(name) = args.name {
        let twin = twins
            .get(&name)
            .await
            .with_context(|| format!("failed to read twin {namespace}/{name}"))?;
        return output::show(format, &twin, || detail(&twin, now));
    }
    let list = twins
        .list(&ListParams::default())
        .await
        .context("failed to list twins")?;
    output::show(format, &list.items, || table(&list.items, now))
}

fn table(twins: &[DigitalTwin], now: Timestamp) -> String {
    if twins.is_empty() {
        return "No twins. Create one: kubectl apply -f examples/2-twin.yaml\n".into();
    }
    let mut rows = Rows::new(&[
        "NAMESPACE",
        "NAME",
        "HOST",
        "READY",
        "REASON",
        "RUNNING",
        "CHANGED",
        "LAST CHANGE",
    ]);
    for twin in twins {
        let status = twin.status.clone().unwrap_or_default();
        let ready = status.conditions.find(types::READY);
        rows.add([
            twin.namespace().unwrap_or_default(),
            twin.name_any(),
            twin.spec.host_ref.name.clone(),
            ready.map_or_else(|| "Unknown".into(), |c| format!("{:?}", c.status)),
            ready.map(|c| c.reason.clone()).unwrap_or_default(),
            status.running.unwrap_or_default(),
            age(status.changed_time.as_deref(), now),
            status.last_change.unwrap_or_default(),
        ]);
    }
    rows.text()
}

fn detail(twin: &DigitalTwin, now: Timestamp) -> String {
    let status = twin.status.clone().unwrap_or_default();
    let mut text = table(std::slice::from_ref(twin), now);
    let mut conditions = Rows::new(&["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for c in &status.conditions {
        conditions.add([
            c.type_.clone(),
            format!("{:?}", c.status),
            c.reason.clone(),
            age(Some(&c.last_transition_time), now),
            c.message.clone(),
        ]);
    }
    section(&mut text, "", &conditions);
    if let Some(operation) = &status.operation {
        // Writing into a String does not fail.
        let _infallible = writeln!(
            text,
            "\nUnder way: {:?} {} since {}",
            operation.kind,
            printable(&operation.summary, 128),
            age(Some(&operation.started_time), now)
        );
    }
    if !status.changes.is_empty() {
        let mut changes = Rows::new(&["WHEN", "RESULT", "TOOK", "REVISION", "SNAPSHOT BEFORE", "CHANGE"]);
        for c in &status.changes {
            changes.add([
                age(Some(&c.time), now),
                c.result.clone(),
                format!("{}.{} s", c.milliseconds / 1000, c.milliseconds % 1000 / 100),
                c.revision.to_string(),
                c.snapshot.clone(),
                c.summary.clone(),
            ]);
        }
        section(&mut text, "Changes", &changes);
    }
    if !status.not_replicated.is_empty() {
        let mut left = Rows::new(&["ITEM", "FIDELITY", "REASON", "MESSAGE"]);
        for n in &status.not_replicated {
            left.add([
                n.item.clone(),
                format!("{:?}", n.fidelity),
                format!("{:?}", n.reason),
                n.message.clone(),
            ]);
        }
        section(&mut text, "Not, or not quite, replicated", &left);
    }
    text
}

fn section(text: &mut String, title: &str, rows: &Rows) {
    text.push('\n');
    if !title.is_empty() {
        text.push_str(title);
        text.push('\n');
    }
    text.push_str(&rows.text());
}
