//! What an apply changes, in a few words, for tables, events and names of points.

use std::collections::BTreeMap;

use safetytwin_crds::item::{ItemId, ItemKind};
use safetytwin_crds::names::{UnitName, printable};

use super::Changes;

/// Longest short form: `status.lastChange`, `operation.summary`.
const SHORT: usize = 128;
/// Longest long form: `changes[].summary`, `TwinRevision.spec.summary`.
const LONG: usize = 512;

/// Short: "nginx.service changed", "+2 services, -1 process"; empty when nothing changes.
pub fn short(changes: &Changes) -> String {
    let all = signed(changes);
    if let [(sign, id, unit)] = all.as_slice() {
        let verb = match sign {
            '+' => "added",
            '-' => "removed",
            _ => "changed",
        };
        return printable(&format!("{} {verb}", label(id, unit)), SHORT);
    }
    let mut counts: BTreeMap<(usize, char, ItemKind, &str), usize> = BTreeMap::new();
    for (sign, id, unit) in &all {
        let order = match sign {
            '+' => 0,
            '~' => 1,
            _ => 2,
        };
        *counts.entry((order, *sign, id.kind, noun(id, unit))).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|((_, sign, _, noun), count)| format!("{sign}{count} {}", plural(noun, count)))
        .collect();
    printable(&parts.join(", "), SHORT)
}

/// Long: "+nginx.service, ~cron.service, -docker:web", cut with the number of what is left out.
pub fn long(changes: &Changes) -> String {
    let all = signed(changes);
    let mut text = String::new();
    for (place, (sign, id, unit)) in all.iter().enumerate() {
        let piece = printable(&format!("{sign}{}", label(id, unit)), LONG);
        let more = format!(", and {} more", all.len() - place);
        if text.len() + piece.len() + 2 + more.len() > LONG {
            text.push_str(&more);
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&piece);
    }
    text
}

fn signed(changes: &Changes) -> Vec<(char, &ItemId, &UnitName)> {
    let added = changes.added.iter().map(|i| ('+', &i.id, &i.unit));
    let changed = changes.changed.iter().map(|i| ('~', &i.id, &i.unit));
    let removed = changes.removed.iter().map(|i| ('-', &i.id, &i.unit));
    added.chain(changed).chain(removed).collect()
}

/// What people call an item: a unit and a container by name, a process by its program.
fn label(id: &ItemId, unit: &UnitName) -> String {
    match id.kind {
        ItemKind::Unit => id.name.clone(),
        ItemKind::Container => format!("container {}", id.name),
        ItemKind::Process => {
            let stem = unit.stem().trim_start_matches("twin-process-");
            let program = stem.rsplit_once('-').map_or(stem, |(program, _)| program);
            format!("process {program}")
        }
    }
}

fn noun(id: &ItemId, unit: &UnitName) -> &'static str {
    match id.kind {
        ItemKind::Unit => unit.unit_type().suffix(),
        ItemKind::Container => "container",
        ItemKind::Process => "process",
    }
}

fn plural(noun: &str, count: usize) -> String {
    match noun {
        noun if count == 1 => noun.to_owned(),
        "process" => "processes".to_owned(),
        noun => format!("{noun}s"),
    }
}
