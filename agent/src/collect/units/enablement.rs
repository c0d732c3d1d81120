//! Enablement of a unit from its files and links, as `systemctl list-unit-files` says it.
//!
//! systemd reads the same from disk at every question, which costs it a walk through all link
//! directories per unit: 24 s for `ListUnitFiles` on an emulated machine with 239 units. The rules
//! here are those of `unit_file_lookup_state` and `find_symlinks_in_scope`
//! ([install.c], [unit-file.c], version 252, unchanged in 254), told in this order:
//!
//! 1. the first directory of the load path that has the name decides; links are followed by name;
//! 2. empty file or link to one or to `/dev/null`: `masked`, below `/run` `masked-runtime`;
//! 3. it leads to a unit of another name: `alias`; in a generator's directory: `generated`; in
//!    `/run/systemd/transient`: `transient`;
//! 4. a `.wants` or `.requires` directory links the name, or a link that `Alias=` names leads to it:
//!    `enabled` in `/etc`, else `enabled-runtime` in `/run`; a link of the same name is `linked`;
//! 5. a link of any name in `/etc` or `/run` leads to it: `indirect`;
//! 6. `[Install]` says what enabling would do: `disabled`; it only names others: `indirect`; it says
//!    nothing: `static`.
//!
//! What cannot be known that way is asked of systemd ([`Enablement::Ask`]): a file outside the load
//! path, one that the agent does not read, and `UpheldBy=`, which depends on systemd's version.
//!
//! [install.c]: https://github.com/systemd/systemd/blob/v252/src/shared/install.c
//! [unit-file.c]: https://github.com/systemd/systemd/blob/v252/src/basic/unit-file.c

use std::path::Path;

use safetytwin_crds::names::{UnitName, UnitType};

use super::files::UnitFiles;
use super::listing::{Listing, UNIT_DIRS};
use crate::hostroot::entries::Kind;

/// Most links that are followed (systemd's limit).
const HOPS: usize = 64;
const CONFIG: &str = "/etc/systemd/system";
const GENERATED: [&str; 3] = [
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
];

/// Enablement of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enablement {
    /// This `UnitFileState`.
    Is(&'static str),
    /// Only systemd can say.
    Ask,
    /// The load path has nothing of that name.
    NoFile,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lead {
    /// A unit file `file` in `dir`, for the unit `name`.
    File {
        dir: &'static str,
        file: String,
        name: String,
        /// Through a link.
        followed: bool,
    },
    Masked(&'static str),
    /// To nothing, or to what systemd refuses.
    Bad,
    Ask,
    NoFile,
}

/// Whether `unit` is only another name of a unit.
pub fn is_alias(listing: &Listing, unit: &UnitName) -> bool {
    // Only a link can lead elsewhere.
    let first = listing.first(unit.as_str());
    first.is_some_and(|place| matches!(place.kind, Kind::Link(_)))
        && matches!(lead(listing, unit), Lead::File { file, name, .. } if names_another(unit, &file, &name))
}

fn names_another(unit: &UnitName, file: &str, name: &str) -> bool {
    let instance = name.parse::<UnitName>().is_ok_and(|n| n.template().is_some());
    unit.as_str() != file && !instance
}

/// The enablement of `unit`, whose files are `files`.
pub fn of(listing: &Listing, unit: &UnitName, files: &UnitFiles) -> Enablement {
    use Enablement::{Ask, Is, NoFile};
    match lead(listing, unit) {
        Lead::Masked(dir) if dir.starts_with("/run/") => Is("masked-runtime"),
        Lead::Masked(_) => Is("masked"),
        Lead::Bad => Is("bad"),
        Lead::Ask => Ask,
        Lead::NoFile => NoFile,
        Lead::File { file, name, .. } if names_another(unit, &file, &name) => Is("alias"),
        Lead::File { dir, .. } if GENERATED.contains(&dir) => Is("generated"),
        Lead::File {
            dir: "/run/systemd/transient",
            ..
        } => Is("transient"),
        Lead::File {
            dir, name, followed, ..
        } => {
            // systemd reads drop-ins before a template behind an instance's link, so that they cannot
            // reset its settings; and an instance under the name of another has the other's settings.
            if (followed && !files.drop_ins.is_empty()) || name != unit.as_str() {
                return Ask;
            }
            match &files.install {
                Some(install) if !install.has_upheld && !listing.is_upheld(&name) => {
                    let linked = linked(listing, &name, dir, Some(&install.aliases));
                    let used = || linked_by_any(listing, &name, dir);
                    Is(match linked {
                        Some(state) => state,
                        None if used() => "indirect",
                        None if install.has_rules => "disabled",
                        None if install.has_also => "indirect",
                        None => "static",
                    })
                }
                _ => Ask,
            }
        }
    }
}

fn linked_by_any(listing: &Listing, name: &str, file_dir: &str) -> bool {
    linked(listing, name, file_dir, None).is_some()
}

/// What the links to `name` say, whose file is in `file_dir`. With `aliases` only links count that
/// enabling the unit makes.
fn linked(listing: &Listing, name: &str, file_dir: &str, aliases: Option<&[String]>) -> Option<&'static str> {
    let counts = |link: &str| match aliases {
        Some(aliases) => link == name || aliases.iter().any(|alias| alias == link),
        None => true,
    };
    let (mut runtime, mut anywhere) = (false, false);
    let (mut same_config, mut same_runtime) = (false, false);
    // Below the unit's own file a link of its name is hidden.
    let mut hidden = false;
    for dir in UNIT_DIRS {
        let own = match listing.kind(dir, name) {
            Some(Kind::Link(target)) if !hidden => Some(target.file_name() == Some(name.as_ref())),
            _ => None,
        };
        let pointing = listing.pointing(name).iter();
        let found = listing.is_wanted(dir, name)
            || own == Some(false)
            || pointing
                .filter(|(at, link)| *at == dir && !(link == name && own.is_some()))
                .any(|(_, link)| counts(link));
        let in_run = dir.starts_with("/run/");
        match (found, own) {
            (true, _) if dir == CONFIG => return Some("enabled"),
            (true, _) if in_run => runtime = true,
            (true, _) => anywhere = true,
            (false, Some(true)) if dir == CONFIG => same_config = true,
            (false, Some(true)) if in_run => same_runtime = true,
            _ => {}
        }
        hidden |= dir == file_dir;
    }
    let instance = name.parse::<UnitName>().is_ok_and(|n| n.template().is_some());
    if runtime {
        Some("enabled-runtime")
    } else if anywhere && instance {
        Some("static")
    } else if same_config {
        Some("linked")
    } else if same_runtime {
        Some("linked-runtime")
    } else {
        None
    }
}

/// Follows `unit` to its file.
fn lead(listing: &Listing, unit: &UnitName) -> Lead {
    if unit.stem().contains('@') && !may_have_template(unit.unit_type()) {
        return Lead::Bad;
    }
    let mut name = unit.as_str().to_owned();
    let Some(mut at) = find(listing, &name) else {
        return Lead::NoFile;
    };
    let mut followed = false;
    for _ in 0..HOPS {
        let (dir, file) = at;
        let target = match listing.kind(dir, &file) {
            None => return Lead::Bad,
            Some(Kind::File(stamp)) if stamp.is_empty() => return Lead::Masked(dir),
            Some(Kind::File(_)) => {
                return Lead::File {
                    dir,
                    file,
                    name,
                    followed,
                };
            }
            Some(Kind::Directory | Kind::Other) => return Lead::Ask,
            Some(Kind::Link(target)) => target,
        };
        followed = true;
        if target == Path::new("/dev/null") {
            return Lead::Masked(dir);
        }
        let Some((to_dir, to)) = listing.target(dir, target) else {
            return Lead::Ask;
        };
        if !may_alias(&file, &to) {
            return Lead::Bad;
        }
        match is_empty(listing, to_dir, &to, HOPS) {
            Some(true) => return Lead::Masked(dir),
            Some(false) => {}
            None => return Lead::Ask,
        }
        let wanted = instantiated(&to, &name);
        if wanted == name {
            at = (to_dir, to);
        } else {
            name = wanted;
            match find(listing, &name) {
                Some(next) => at = next,
                None => return Lead::Bad,
            }
        }
    }
    Lead::Bad
}

/// Where the load path has `name`, or the template of it.
fn find(listing: &Listing, name: &str) -> Option<(&'static str, String)> {
    let template = || name.parse::<UnitName>().ok()?.template();
    let (place, name) = match listing.first(name) {
        Some(place) => (place, name.to_owned()),
        None => {
            let template = template()?;
            (listing.first(&template)?, template)
        }
    };
    let dir = UNIT_DIRS.into_iter().find(|dir| *dir == place.dir)?;
    Some((dir, name))
}

/// The instance of template `to` that `name` is of its own; `to` when one of them is neither.
fn instantiated(to: &str, name: &str) -> String {
    let instance = name.parse::<UnitName>().ok().filter(|n| n.template().is_some());
    match (to.split_once("@."), instance) {
        (Some((prefix, suffix)), Some(unit)) => {
            let instance = unit.stem().split_once('@').map_or("", |(_, instance)| instance);
            format!("{prefix}@{instance}.{suffix}")
        }
        _ => to.to_owned(),
    }
}

/// Whether nothing is in a file, through links; none when that is not for the agent to see.
fn is_empty(listing: &Listing, dir: &'static str, name: &str, hops: usize) -> Option<bool> {
    match listing.kind(dir, name) {
        Some(Kind::File(stamp)) => Some(stamp.is_empty()),
        Some(Kind::Link(target)) if target == Path::new("/dev/null") => Some(true),
        Some(Kind::Link(target)) => {
            let (dir, name) = listing.target(dir, target)?;
            match hops.checked_sub(1) {
                Some(hops) => is_empty(listing, dir, &name, hops),
                // A circle; who follows the links finds out.
                None => Some(false),
            }
        }
        Some(Kind::Directory | Kind::Other) => None,
        None => Some(false),
    }
}

/// Whether systemd lets a unit called `link` be another name of `target`: of the same type, one that
/// may have aliases, both plain, template or the same instance; an instance may lead to a template.
/// Nothing is another name of itself.
fn may_alias(link: &str, target: &str) -> bool {
    if link == target {
        return false;
    }
    let (Ok(link), Ok(target)) = (link.parse::<UnitName>(), target.parse::<UnitName>()) else {
        return false;
    };
    let may = may_have_template(link.unit_type()) || link.unit_type() == UnitType::Device;
    let instance = |unit: &UnitName| unit.stem().split_once('@').map(|(_, i)| i.to_owned());
    let names = match (instance(&link), instance(&target)) {
        (None, None) => true,
        (Some(a), Some(b)) => a == b || b.is_empty(),
        _ => false,
    };
    may && names && link.unit_type() == target.unit_type()
}

fn may_have_template(unit_type: UnitType) -> bool {
    use UnitType::{Path, Service, Socket, Target, Timer};
    matches!(unit_type, Service | Socket | Target | Timer | Path)
}
