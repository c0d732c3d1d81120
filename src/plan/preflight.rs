//! What a plan asks of the guest before it writes, and what an item's needs come to there.

use std::collections::BTreeSet;

use safetytwin_crds::item::container::Engine;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::item::{Reason, RunClass};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::{DesiredFile, DesiredItem, Enablement, Needs};

use super::Changes;
use crate::facts::{Accounts, Preflight, PreflightQuery};
use crate::render::Refusal;

/// Everything to ask of the guest before it is written to, in one batch.
pub fn query(changes: &Changes) -> PreflightQuery {
    let mut query = PreflightQuery::default();
    for item in touched(changes) {
        ask(&mut query, &item.needs);
        if let Some(fallback) = &item.fallback {
            ask(&mut query, &fallback.needs);
        }
    }
    query
}

/// Units whose facts the steps depend on.
pub fn units(changes: &Changes) -> Vec<UnitName> {
    let touched = touched(changes).map(|i| i.unit.clone());
    let removed = changes.removed.iter().map(|i| i.unit.clone());
    let names: BTreeSet<UnitName> = touched.chain(removed).collect();
    names.into_iter().collect()
}

fn touched(changes: &Changes) -> impl Iterator<Item = &DesiredItem> {
    changes.added.iter().chain(&changes.changed)
}

fn ask(query: &mut PreflightQuery, needs: &Needs) {
    query.executables.extend(needs.executables.iter().cloned());
    query.directories.extend(needs.directory.iter().cloned());
    query.users.extend(needs.user.iter().map(|u| u.name.clone()));
    query.groups.extend(needs.group.iter().map(|g| g.name.clone()));
    query.unit_files.extend(needs.vendor_unit.iter().cloned());
    if let Some(image) = needs.image.as_ref().filter(|i| !query.images.contains(i)) {
        query.images.push(image.clone());
    }
}

/// An item as the guest can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted<'a> {
    /// The item.
    pub item: &'a DesiredItem,
    /// Its files: the fallback's when that stands in.
    pub files: &'a [DesiredFile],
    /// The fallback stands in.
    pub fallback: bool,
    /// The guest lacks the unit, and the host does not run it either: nothing to do.
    pub absent: bool,
}

/// Fits an item to the guest, or says what is missing there.
pub fn fit<'a>(item: &'a DesiredItem, guest: &Preflight) -> Result<Fitted<'a>, Refusal> {
    let mut fitted = Fitted {
        item,
        files: &item.files,
        fallback: false,
        absent: false,
    };
    let missing = match (check(&item.needs, guest), &item.fallback) {
        (Ok(()), _) => return Ok(fitted),
        (Err(missing), Some(fallback)) if missing.reason == Reason::MissingEngine => {
            fitted.files = &fallback.files;
            fitted.fallback = true;
            match check(&fallback.needs, guest) {
                Ok(()) => return Ok(fitted),
                Err(other) if other.reason == Reason::MissingEngine => missing,
                Err(other) => other,
            }
        }
        (Err(missing), _) => missing,
    };
    let idle = item.run == RunClass::Down && item.files.is_empty() && item.enablement != Enablement::Enabled;
    if idle && missing.reason == Reason::MissingPackage {
        fitted.absent = true;
        return Ok(fitted);
    }
    Err(missing)
}

fn check(needs: &Needs, guest: &Preflight) -> Result<(), Refusal> {
    let missing = |reason: Reason, message: String| Err(Refusal::new(reason, message));
    if let Some(unit) = needs
        .vendor_unit
        .as_ref()
        .filter(|u| !guest.unit_files.contains(*u))
    {
        return missing(
            Reason::MissingPackage,
            format!("install the package of {unit} in the twin's image"),
        );
    }
    if let Some(image) = &needs.image {
        if !guest.engines.contains(image.engine.command()) {
            return missing(
                Reason::MissingEngine,
                format!("install {} in the twin's image", engine_names(image.engine)),
            );
        }
        if !guest.images.contains(image) {
            return missing(
                Reason::MissingImage,
                format!(
                    "load image {} into {} of the twin",
                    image.reference,
                    image.engine.command()
                ),
            );
        }
    }
    if let Some(path) = needs.executables.iter().find(|e| !guest.executables.contains(*e)) {
        return missing(
            Reason::MissingExecutable,
            format!("{path} does not exist in the twin"),
        );
    }
    if let Some(path) = needs
        .directory
        .as_ref()
        .filter(|d| !guest.directories.contains(*d))
    {
        return missing(
            Reason::MissingDirectory,
            format!("{path} does not exist in the twin"),
        );
    }
    check_account(needs.user.as_ref(), "user", |name| guest.users.contains_key(name))?;
    check_account(needs.group.as_ref(), "group", |name| {
        guest.groups.contains_key(name)
    })
}

fn engine_names(engine: Engine) -> &'static str {
    match engine {
        Engine::Docker => "docker or podman",
        Engine::Podman => "podman",
    }
}

/// An account must exist or be one that can be made: with the host's id.
fn check_account(
    account: Option<&Account>,
    what: &str,
    exists: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    match account {
        Some(a) if !exists(&a.name) && a.id.is_none() => Err(Refusal::new(
            Reason::MissingUser,
            format!("{what} {} exists neither on the host nor in the twin", a.name),
        )),
        _ => Ok(()),
    }
}

/// Accounts to make for these items: missing ones, each once, sorted by name.
pub fn accounts<'a>(items: impl Iterator<Item = &'a Needs>, guest: &Preflight) -> Accounts {
    let mut accounts = Accounts::default();
    for needs in items {
        add(&mut accounts.users, needs.user.as_ref(), |n| {
            guest.users.contains_key(n)
        });
        add(&mut accounts.groups, needs.group.as_ref(), |n| {
            guest.groups.contains_key(n)
        });
    }
    accounts.users.sort_by(|a, b| a.name.cmp(&b.name));
    accounts.groups.sort_by(|a, b| a.name.cmp(&b.name));
    accounts
}

fn add(list: &mut Vec<Account>, account: Option<&Account>, exists: impl Fn(&str) -> bool) {
    let known = |account: &&Account| exists(&account.name) || list.iter().any(|a| a.name == account.name);
    if let Some(account) = account.filter(|a| !known(a)) {
        list.push(account.clone());
    }
}
