//! What of a host could be twinned, from a dump: no cluster, no guest, no VM.
//!
//! Reads the `v1` List that `twin-agent --once` prints (one HostState and its HostSections), runs
//! the same selection and rendering as the controller, and counts. What a guest must have is listed
//! as needs, since there is no guest to ask.

mod read;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::digitaltwin::{DigitalTwinSpec, HostRef, NotReplicated};
use safetytwin_crds::hoststate::HostStateSpec;
use safetytwin_crds::item::{Fidelity, ItemId, ItemKind, Reason, RunClass};
use safetytwin_crds::names::{UnitType, printable};
use safetytwin_crds::revision::{Content, DesiredItem};
use safetytwin_crds::section::SectionState;
use serde::Serialize;
use serde_json::Value;

use super::{HostItems, desired};

/// A dump that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Not a List.
    #[error("not a v1 List: expected the output of twin-agent --once (field items)")]
    NotAList,
    /// No HostState in it.
    #[error("the list has no HostState: expected the output of twin-agent --once")]
    NoHostState,
    /// The HostState does not decode.
    #[error("failed to read the HostState")]
    HostState(#[source] serde_json::Error),
}

/// What of a host could be twinned.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the host.
    pub host: String,
    /// Operating system.
    pub os: String,
    /// One line each for services, other units, containers and processes.
    pub kinds: Vec<KindReport>,
    /// Sections that are not Complete, and why.
    pub incomplete: Vec<String>,
    /// What the twin's image must have.
    pub needs: NeedsReport,
    /// Items that would be in the twin, with other content than on the host.
    pub substituted: Vec<NotReplicated>,
    /// Items that run on the host and would not be in the twin.
    pub not_replicable: Vec<NotReplicated>,
}

/// Numbers of one kind of item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindReport {
    /// services, other units, containers, processes.
    pub kind: &'static str,
    /// Items on the host; absent when the section is not readable.
    pub total: Option<usize>,
    /// In the twin as they are.
    pub equal: usize,
    /// In the twin with something standing in.
    pub substituted: usize,
    /// Not in the twin, by reason.
    pub not_replicable: BTreeMap<String, usize>,
}

/// What the twin's image must have, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NeedsReport {
    /// Units that come with packages.
    pub vendor_units: BTreeSet<String>,
    /// Executables.
    pub executables: BTreeSet<String>,
    /// Container images by engine: `docker nginx:1.27`.
    pub images: BTreeSet<String>,
}

/// Reads a dump and says what of it could be twinned.
pub fn offline(list: &Value) -> Result<Report, OfflineError> {
    let (head, items, unreadable) = read::read(list)?;
    let spec = DigitalTwinSpec {
        host_ref: HostRef {
            name: head.host.to_string(),
        },
        class_name: "offline".into(),
        replicate: Default::default(),
        snapshots: Default::default(),
        drift: Default::default(),
        on_failure: Default::default(),
        suspend: false,
        re_render: None,
        deletion_policy: Default::default(),
    };
    let content = desired(&items, &spec);
    let mut report = Report {
        host: head.host.to_string(),
        os: printable(&head.machine.os, 64),
        incomplete: incomplete(&head, unreadable),
        ..Report::default()
    };
    report.kinds = kinds(&content, &items);
    for item in &content.items {
        add_needs(&mut report.needs, item);
        if let Some(reason) = item.substituted {
            report.substituted.push(NotReplicated {
                item: printable(&item.id.to_string(), 300),
                fidelity: Fidelity::Substituted,
                reason,
                message: item.detail.clone(),
            });
        }
    }
    report.not_replicable = content
        .excluded
        .into_iter()
        .filter(|e| is_news(e.reason))
        .collect();
    Ok(report)
}

/// Belongs to every machine: counted, not listed.
fn is_news(reason: Reason) -> bool {
    !matches!(reason, Reason::UnsupportedType | Reason::GeneratedOrTransient)
}

fn incomplete(head: &HostStateSpec, unreadable: Vec<String>) -> Vec<String> {
    let stated = head
        .sections
        .iter()
        .filter(|s| s.state != SectionState::Complete)
        .map(|s| {
            let why = s.message.as_deref().unwrap_or("no reason given");
            printable(&format!("{}: {:?}, {why}", s.name, s.state), 300)
        });
    stated.chain(unreadable).collect()
}

fn kinds(content: &Content, items: &HostItems) -> Vec<KindReport> {
    let services = |id: &ItemId| id.kind == ItemKind::Unit && id.name.ends_with(".service");
    let others = |id: &ItemId| id.kind == ItemKind::Unit && !id.name.ends_with(".service");
    let units = |service: bool| {
        items.units.as_ref().map(|s| {
            let is_service = |u: &&safetytwin_crds::item::UnitItem| u.name.unit_type() == UnitType::Service;
            s.items.iter().filter(|u| is_service(u) == service).count()
        })
    };
    vec![
        kind(content, "services", units(true), services),
        kind(content, "other units", units(false), others),
        kind(
            content,
            "containers",
            items.containers.as_ref().map(|s| s.items.len()),
            |id| id.kind == ItemKind::Container,
        ),
        kind(
            content,
            "processes",
            items.processes.as_ref().map(|s| s.items.len()),
            |id| id.kind == ItemKind::Process,
        ),
    ]
}

fn kind(
    content: &Content,
    name: &'static str,
    total: Option<usize>,
    of: impl Fn(&ItemId) -> bool,
) -> KindReport {
    let mut report = KindReport {
        kind: name,
        total,
        ..KindReport::default()
    };
    for item in content.items.iter().filter(|i| of(&i.id)) {
        match item.fidelity {
            Fidelity::Equal => report.equal += 1,
            Fidelity::Substituted | Fidelity::NotReplicable => report.substituted += 1,
        }
    }
    for excluded in &content.excluded {
        if excluded.item.parse::<ItemId>().is_ok_and(|id| of(&id)) {
            *report
                .not_replicable
                .entry(format!("{:?}", excluded.reason))
                .or_default() += 1;
        }
    }
    report
}

fn add_needs(needs: &mut NeedsReport, item: &DesiredItem) {
    if item.run == RunClass::Down {
        return;
    }
    let printable = |text: &String| printable(text, 256);
    needs
        .vendor_units
        .extend(item.needs.vendor_unit.iter().map(printable));
    needs
        .executables
        .extend(item.needs.executables.iter().map(printable));
    let image = item.needs.image.as_ref();
    needs
        .images
        .extend(image.map(|i| printable(&format!("{} {}", i.engine.command(), i.reference))));
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::section::{Encoding, encode_parts};
    use serde_json::json;

    use super::*;

    fn unit(name: &str, path: &str, origin: Value) -> Value {
        let text = "[Service]\nExecStart=/usr/bin/app\n";
        let digest = safetytwin_crds::digest::Digest::of(text.as_bytes());
        json!({"name": name, "loadState": "loaded", "run": "Up", "enablement": "enabled", "origin": origin,
               "fragment": {"path": path, "digest": digest, "content": text},
               "service": {"type": "simple", "executables": ["/usr/bin/app"]}})
    }

    fn dump(encoding: Encoding) -> Value {
        let mut units = vec![
            unit("app.service", "/etc/systemd/system/app.service", json!("local")),
            unit(
                "nginx.service",
                "/lib/systemd/system/nginx.service",
                json!({"package": "nginx"}),
            ),
            unit(
                "ssh.service",
                "/lib/systemd/system/ssh.service",
                json!({"package": "ssh"}),
            ),
        ];
        units.push(json!({"name": "../../x.service"}));
        let part = encode_parts(&units).unwrap().remove(0);
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"kind": "HostState", "spec": {
                "host": "web-01", "intervalSeconds": 10, "source": "Node", "bootId": "b", "sequence": 1,
                "observedTime": "2026-11-24T00:00:00Z", "agentVersion": "0.1.0", "complete": "1/2",
                "machine": {"os": "Debian 12"},
                "sections": [
                    {"name": "units", "parts": [{"slot": "a", "digest": part.digest}], "items": 4,
                     "state": "Complete"},
                    {"name": "containers", "parts": [], "items": 0, "state": "Unavailable",
                     "collectedTime": "", "message": "no socket\u{1b}[31m"}]}},
            {"kind": "HostSection", "spec": {"host": "web-01", "section": "units", "part": 0, "slot": "a",
                "schemaVersion": 1, "encoding": encoding, "data": part.data(encoding).unwrap()}}
        ]})
    }

    #[test]
    fn a_dump_says_what_could_be_twinned_and_what_not_and_why() {
        for encoding in [Encoding::Json, Encoding::ZstdBase64] {
            let report = offline(&dump(encoding)).unwrap();
            let services = &report.kinds[0];
            assert_eq!((services.total, services.equal), (Some(3), 2));
            assert_eq!(services.not_replicable["Protected"], 1);
            assert_eq!(
                report.kinds[3].total, None,
                "an unpublished section is unknown, not empty"
            );
            assert!(report.needs.vendor_units.contains("nginx.service"));
            assert!(report.needs.executables.contains("/usr/bin/app"));
            assert_eq!(
                services.not_replicable["InvalidItem"], 1,
                "undecodable items are named too"
            );
            let text = report.to_string();
            assert!(
                text.contains("unit/ssh.service") && !text.contains('\u{1b}'),
                "{text}"
            );
        }
    }

    #[test]
    fn every_dump_that_the_fuzzer_kept_is_read_and_one_of_them_is_whole() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/plan");
        let dumps = std::fs::read_dir(folder).unwrap().map(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            offline(&serde_json::from_slice(&bytes).unwrap()).unwrap()
        });
        let totals: Vec<_> = dumps
            .map(|report| report.kinds.iter().map(|kind| kind.total).collect::<Vec<_>>())
            .collect();
        assert!(totals.len() > 1, "{totals:?}");
        let whole = |kinds: &Vec<Option<usize>>| kinds.iter().all(Option::is_some);
        let items = totals
            .iter()
            .filter(|kinds| whole(kinds))
            .flatten()
            .flatten()
            .sum::<usize>();
        assert!(items >= 4, "{totals:?}");
    }

    #[test]
    fn what_is_no_dump_is_named_as_such() {
        assert!(matches!(offline(&json!({})), Err(OfflineError::NotAList)));
        assert!(matches!(
            offline(&json!({"items": []})),
            Err(OfflineError::NoHostState)
        ));
        let bad = json!({"items": [{"kind": "HostState", "spec": {"host": "../x"}}]});
        assert!(matches!(offline(&bad), Err(OfflineError::HostState(_))));
    }

    #[test]
    fn a_section_with_another_digest_is_unknown_and_named() {
        let mut dump = dump(Encoding::Json);
        dump["items"][1]["spec"]["data"] = json!("[]");
        let report = offline(&dump).unwrap();
        assert_eq!(report.kinds[0].total, None);
        assert!(report.incomplete.iter().any(|line| line.contains("digest")));
    }
}
