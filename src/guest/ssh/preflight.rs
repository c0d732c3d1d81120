//! What the guest has of what a plan needs, asked together.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::Image;

use super::bus::Bus;
use super::files::{Files, Mode};
use super::transient;
use crate::facts::{Preflight, PreflightQuery};
use crate::guest::GuestError;
use crate::guest::paths::UNIT_PATHS;

/// Longest account file that is read.
const MAX_ACCOUNTS: usize = 4 * 1024 * 1024;
const ENGINES: [&str; 2] = ["docker", "podman"];

/// Answers a query.
pub(super) async fn answer(
    files: &Files,
    bus: &Bus,
    query: &PreflightQuery,
) -> Result<Preflight, GuestError> {
    let executables = query.executables.iter().map(|path| async move {
        let runs = files.look(path).await?.is_some_and(Mode::is_executable);
        Ok::<_, GuestError>(runs.then(|| path.clone()))
    });
    let directories = query.directories.iter().map(|path| async move {
        let there = files.look(path).await?.is_some_and(Mode::is_directory);
        Ok::<_, GuestError>(there.then(|| path.clone()))
    });
    let unit_files = query.unit_files.iter().map(|unit| async move {
        Ok::<_, GuestError>(has_unit_file(files, unit).await?.then(|| unit.clone()))
    });
    let (executables, directories, unit_files) = futures::try_join!(
        try_join_all(executables),
        try_join_all(directories),
        try_join_all(unit_files)
    )?;
    let mut preflight = Preflight {
        executables: executables.into_iter().flatten().collect(),
        directories: directories.into_iter().flatten().collect(),
        unit_files: unit_files.into_iter().flatten().collect(),
        ..Preflight::default()
    };
    if !query.users.is_empty() {
        preflight.users = accounts(files, "/etc/passwd").await?;
        preflight.users.retain(|name, _| query.users.contains(name));
    }
    if !query.groups.is_empty() {
        preflight.groups = accounts(files, "/etc/group").await?;
        preflight.groups.retain(|name, _| query.groups.contains(name));
    }
    for engine in ENGINES {
        if files
            .look(&client(engine))
            .await?
            .is_some_and(Mode::is_executable)
        {
            preflight.engines.insert(engine.to_owned());
        }
    }
    preflight.images = images(bus, &preflight, query).await?;
    Ok(preflight)
}

fn client(engine: &str) -> String {
    format!("/usr/bin/{engine}")
}

async fn images(bus: &Bus, preflight: &Preflight, query: &PreflightQuery) -> Result<Vec<Image>, GuestError> {
    let asked: Vec<&Image> = query
        .images
        .iter()
        .filter(|image| preflight.engines.contains(image.engine.command()))
        .filter(|image| is_reference(&image.reference))
        .collect();
    let answers = join_all(asked.iter().map(|image| async move {
        let words = ["image", "inspect", "--", image.reference.as_str()];
        let argv: Vec<String> = std::iter::once(client(image.engine.command()))
            .chain(words.iter().map(|w| (*w).to_owned()))
            .collect();
        transient::succeeds(bus, &argv).await
    }))
    .await;
    let mut found = Vec::new();
    for (image, answer) in asked.into_iter().zip(answers) {
        if answer? {
            found.push(image.clone());
        }
    }
    Ok(found)
}

/// Whether this can be an image reference: `[A-Za-z0-9][A-Za-z0-9._:/@-]*`. It becomes an argument.
fn is_reference(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b);
    begins && text.len() <= 512 && text.bytes().all(rest)
}

/// A unit file of this name, or of its template, in one of the service manager's folders.
async fn has_unit_file(files: &Files, unit: &str) -> Result<bool, GuestError> {
    let Ok(name) = unit.parse::<UnitName>() else {
        return Ok(false);
    };
    let names = std::iter::once(unit.to_owned()).chain(name.template());
    let paths: Vec<String> = names
        .flat_map(|name| UNIT_PATHS.iter().map(move |folder| format!("{folder}/{name}")))
        .collect();
    let found = try_join_all(paths.iter().map(|path| files.look(path))).await?;
    // A mask is a link to a device: no file.
    Ok(found.into_iter().flatten().any(Mode::is_file))
}

/// Names and numeric ids of `/etc/passwd` or `/etc/group`: fields one and three of both (passwd(5), group(5)).
async fn accounts(files: &Files, path: &str) -> Result<BTreeMap<String, u32>, GuestError> {
    let bytes = files.read(path, MAX_ACCOUNTS).await?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?))
    };
    Ok(text.lines().filter_map(parse).collect())
}
