//! What a twin is to run: selection and rendering of every item, sorted, with what was left out.

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::digest::Digest;
use safetytwin_crds::digitaltwin::{DigitalTwinSpec, NotReplicated};
use safetytwin_crds::item::{ContainerItem, Fidelity, ItemId, ProcessItem, Reason, RunClass, UnitItem};
use safetytwin_crds::names::{UnitName, printable};
use safetytwin_crds::revision::{Content, DesiredItem, Enablement, Fallback};
use safetytwin_crds::section::RefusedItem;
use serde::Serialize;

use super::selection;
use super::{HostItems, SectionItems};
use crate::render::{self, Refusal, Rendered};

/// Most characters of a process's command line in a message.
const TITLE: usize = 60;

/// The content of a twin of these items. Same items and spec, same content.
pub fn desired(items: &HostItems, spec: &DigitalTwinSpec) -> Content {
    let mut content = Content {
        renderer: render::RENDERER,
        ..Content::default()
    };
    for item in listed(items.units.as_ref()) {
        let made = selection::unit(item, spec).and_then(|()| from_unit(item));
        place(&mut content, item.id(), made);
    }
    for item in listed(items.containers.as_ref()) {
        let made = selection::container(item, spec).and_then(|()| from_container(item));
        place(&mut content, item.id(), made);
    }
    for item in listed(items.processes.as_ref()) {
        let made = selection::process(item, spec).and_then(|()| from_process(item));
        let made = made.map_err(|refusal| titled(item, refusal));
        place(&mut content, item.id(), made);
    }
    content.excluded.extend(undecodable(items));
    content.items.sort_by(|a, b| a.id.cmp(&b.id));
    refuse_conflicts(&mut content);
    content.excluded.sort_by(|a, b| a.item.cmp(&b.item));
    keep_known_dependencies(&mut content);
    content
}

fn listed<T>(section: Option<&SectionItems<T>>) -> &[T] {
    section.map_or(&[], |s| s.items.as_slice())
}

/// Items that could not be decoded are on the host all the same: refused by name.
fn undecodable(items: &HostItems) -> impl Iterator<Item = NotReplicated> {
    let of = |kind: &'static str, refused: Option<&Vec<RefusedItem>>| {
        let refused = refused.cloned().unwrap_or_default().into_iter();
        refused.map(move |r| NotReplicated {
            item: printable(&format!("{kind}/{}", r.name), 300),
            fidelity: Fidelity::NotReplicable,
            reason: Reason::InvalidItem,
            message: printable(&r.why, 256),
        })
    };
    of("unit", items.units.as_ref().map(|s| &s.refused))
        .chain(of("container", items.containers.as_ref().map(|s| &s.refused)))
        .chain(of("process", items.processes.as_ref().map(|s| &s.refused)))
}

/// A process has a digest for a name: its refusal says what it runs.
fn titled(item: &ProcessItem, refusal: Refusal) -> Refusal {
    let words: Vec<String> = item.argv.iter().map(|word| word.lossy()).collect();
    let line = if words.is_empty() {
        item.comm.lossy()
    } else {
        words.join(" ")
    };
    let title = printable(&line, TITLE);
    Refusal::new(
        refusal.reason,
        printable(&format!("{title}: {}", refusal.message), 256),
    )
}

fn place(content: &mut Content, id: ItemId, made: Result<DesiredItem, Refusal>) {
    match made {
        Ok(item) => content.items.push(item),
        Err(refusal) => content.excluded.push(excluded(&id, refusal)),
    }
}

fn excluded(id: &ItemId, refusal: Refusal) -> NotReplicated {
    NotReplicated {
        item: printable(&id.to_string(), 300),
        fidelity: Fidelity::NotReplicable,
        reason: refusal.reason,
        message: refusal.message,
    }
}

fn from_unit(item: &UnitItem) -> Result<DesiredItem, Refusal> {
    let rendered = render::unit::render(item, &selection::is_own)?;
    let masked = render::unit::is_masked(item);
    let enablement = match item.enablement.as_str() {
        _ if masked => Enablement::Masked,
        "enabled" | "enabled-runtime" if rendered.installable => Enablement::Enabled,
        "disabled" if rendered.installable => Enablement::Disabled,
        _ => Enablement::Untouched,
    };
    let run = if masked { RunClass::Down } else { item.run };
    let after = item.dependencies.get("After").map_or(&[][..], Vec::as_slice);
    finish(
        item,
        item.id(),
        item.name.clone(),
        rendered,
        run,
        enablement,
        after,
    )
}

fn from_container(item: &ContainerItem) -> Result<DesiredItem, Refusal> {
    let unit = render::container::unit_name(item)?;
    let rendered = render::container::render(item, item.engine)?;
    let enablement = boot_state(item.run);
    let mut made = finish(item, item.id(), unit, rendered, item.run, enablement, &[])?;
    if let Some(other) = render::container::fallback_engine(item.engine) {
        let stand_in = render::container::render(item, other)?;
        made.fallback = Some(Box::new(Fallback {
            detail: stand_in.detail(),
            files: stand_in.files,
            needs: stand_in.needs,
            substituted: stand_in.substituted.unwrap_or(Reason::EngineSubstituted),
        }));
    }
    Ok(made)
}

fn from_process(item: &ProcessItem) -> Result<DesiredItem, Refusal> {
    let unit = render::process::unit_name(item)?;
    let rendered = render::process::render(item)?;
    finish(
        item,
        item.id(),
        unit,
        rendered,
        RunClass::Up,
        Enablement::Enabled,
        &[],
    )
}

/// What we start ourselves also comes back after a reboot of the twin.
fn boot_state(run: RunClass) -> Enablement {
    match run {
        RunClass::Up => Enablement::Enabled,
        _ => Enablement::Disabled,
    }
}

fn finish<T: Serialize>(
    item: &T,
    id: ItemId,
    unit: UnitName,
    rendered: Rendered,
    run: RunClass,
    enablement: Enablement,
    after: &[String],
) -> Result<DesiredItem, Refusal> {
    let item_digest = Digest::of_json(item).map_err(|e| Refusal::invalid(format!("no JSON: {e}")))?;
    let detail = rendered.detail();
    Ok(DesiredItem {
        id,
        item_digest,
        rendered_digest: DesiredItem::digest_of(&rendered.files, run, enablement),
        unit,
        run,
        enablement,
        after: after.iter().filter_map(|name| name.parse().ok()).collect(),
        fidelity: match rendered.substituted {
            Some(_) => Fidelity::Substituted,
            None => Fidelity::Equal,
        },
        substituted: rendered.substituted,
        detail,
        files: rendered.files,
        needs: rendered.needs,
        fallback: None,
    })
}

/// Two items may share a file (instances of a template) but not disagree about it, and no two items
/// may be one unit. The first in identity order stays, the others are refused by name.
fn refuse_conflicts(content: &mut Content) {
    let mut units: BTreeSet<UnitName> = BTreeSet::new();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut refused = Vec::new();
    content.items.retain(|item| {
        let why = if !units.insert(item.unit.clone()) {
            Some("another item has the same unit in the twin")
        } else if item
            .files
            .iter()
            .any(|f| files.get(&f.path).is_some_and(|c| *c != f.content))
        {
            Some("another item has a file of the same name with other content")
        } else {
            None
        };
        match why {
            Some(why) => refused.push(excluded(&item.id, Refusal::invalid(why))),
            None => files.extend(item.files.iter().map(|f| (f.path.clone(), f.content.clone()))),
        }
        why.is_none()
    });
    content.excluded.append(&mut refused);
}

/// `after` names units of this content only.
fn keep_known_dependencies(content: &mut Content) {
    let known: BTreeSet<UnitName> = content.items.iter().map(|i| i.unit.clone()).collect();
    for item in &mut content.items {
        item.after.retain(|unit| known.contains(unit));
        item.after.sort();
        item.after.dedup();
    }
}
