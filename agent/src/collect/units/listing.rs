//! Names in the load path of the system manager (systemd.unit(5), "Unit File Load Path"), with what
//! each of them is. No unit file is opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use safetytwin_crds::names::UnitName;

use crate::hostroot::entries::{Entries, Kind};
use crate::hostroot::{HostRoot, ReadError};

/// The load path, highest priority first.
pub const UNIT_DIRS: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// A name in a directory of the load path, or in one of its drop-in directories.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Directory on the host.
    pub dir: String,
    /// Name in it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

impl Place {
    /// Path on the host.
    pub fn path(&self) -> String {
        format!("{}/{}", self.dir, self.name)
    }
}

/// Which names exist where.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Unit names, and where they are, highest priority first.
    units: BTreeMap<String, Vec<(&'static str, Kind)>>,
    /// Names such as `a.service.d`; each with its files, highest priority first.
    drop_ins: BTreeMap<String, Vec<Place>>,
    /// Names linked in `*.wants` and `*.requires` directories, and the directories of the load path
    /// in which those are.
    wanted: HashMap<String, BTreeSet<&'static str>>,
    /// Names linked in `*.upholds` directories.
    upheld: BTreeSet<String>,
    /// Names linked in such directories: property, and the units whose directories those are.
    installed: BTreeMap<String, BTreeMap<&'static str, BTreeSet<String>>>,
    /// What a unit's own `.wants`, `.requires` and `.upholds` directories name.
    wants: BTreeMap<String, Vec<String>>,
    /// Links in the load path by the last part of what they say: directory and name of the link.
    pointing: HashMap<String, Vec<(&'static str, String)>>,
    /// Directories that are another one under a second path: `/lib` on merged systems.
    same: BTreeMap<&'static str, &'static str>,
    /// Directories below those of the load path.
    below: Vec<String>,
}

impl Listing {
    /// Lists the load path.
    pub fn scan(root: &HostRoot) -> Result<Self, ReadError> {
        let mut listing = Self::default();
        let mut seen: BTreeMap<(u64, u64), &'static str> = BTreeMap::new();
        for dir in UNIT_DIRS {
            let Some(entries) = root.entries(dir)? else {
                continue;
            };
            if let Some(first) = seen.get(&entries.identity) {
                listing.same.insert(dir, first);
                continue;
            }
            seen.insert(entries.identity, dir);
            listing.add(root, dir, entries);
        }
        // Links say `/lib/…` also where this process sees `/usr/lib` only.
        if !seen.values().any(|dir| *dir == "/lib/systemd/system") {
            listing
                .same
                .entry("/lib/systemd/system")
                .or_insert("/usr/lib/systemd/system");
        }
        Ok(listing)
    }

    fn add(&mut self, root: &HostRoot, dir: &'static str, entries: Entries) {
        for (name, kind) in entries.names {
            let Ok(name) = name.into_string() else { continue };
            if let Kind::Link(target) = &kind
                && let Some(last) = target.file_name().and_then(|last| last.to_str())
            {
                let links = self.pointing.entry(last.to_owned()).or_default();
                links.push((dir, name.clone()));
            }
            let directory = matches!(kind, Kind::Directory);
            match name.rsplit_once('.') {
                Some((_, "d")) if directory || matches!(kind, Kind::Link(_)) => {
                    self.add_drop_ins(root, dir, name);
                }
                // systemd passes over one that is itself a link.
                Some((unit, suffix @ ("wants" | "requires" | "upholds"))) if directory => {
                    self.add_links(root, dir, unit, suffix);
                }
                _ if name.parse::<UnitName>().is_ok() => {
                    self.units.entry(name).or_default().push((dir, kind));
                }
                _ => {}
            }
        }
    }

    fn add_drop_ins(&mut self, root: &HostRoot, dir: &str, name: String) {
        let path = format!("{dir}/{name}");
        // One that cannot be listed, or went meanwhile, has nothing in it.
        let entries = root.entries(&path).ok().flatten().unwrap_or_default();
        let places = entries.names.into_iter().filter_map(|(file, kind)| {
            let name = file.into_string().ok().filter(|n| n.ends_with(".conf"))?;
            let dir = path.clone();
            Some(Place { dir, name, kind })
        });
        self.drop_ins.entry(name).or_default().extend(places);
        self.below.push(path);
    }

    fn add_links(&mut self, root: &HostRoot, dir: &'static str, unit: &str, suffix: &str) {
        let path = format!("{dir}/{unit}.{suffix}");
        let entries = root.entries(&path).ok().flatten().unwrap_or_default();
        for (name, kind) in entries.names {
            let Ok(name) = name.into_string() else { continue };
            if !matches!(kind, Kind::Link(_)) {
                continue;
            }
            let named = self.wants.entry(unit.to_owned()).or_default();
            named.push(format!("{suffix}/{name}"));
            let property = match suffix {
                "wants" => "WantedBy",
                "requires" => "RequiredBy",
                _ => "UpheldBy",
            };
            let links = self.installed.entry(name.clone()).or_default();
            links.entry(property).or_default().insert(unit.to_owned());
            if suffix == "upholds" {
                self.upheld.insert(name);
            } else {
                self.wanted.entry(name).or_default().insert(dir);
            }
        }
        self.below.push(path);
    }

    /// All unit names, templates and aliases too.
    pub fn names(&self) -> impl Iterator<Item = &String> + '_ {
        self.units.keys()
    }

    /// Where `name` is: what the service manager would open.
    pub fn first(&self, name: &str) -> Option<Place> {
        let (dir, kind) = self.units.get(name)?.first()?;
        Some(place(dir, name, kind.clone()))
    }

    /// What `name` is in directory `dir` of the load path.
    pub fn kind(&self, dir: &str, name: &str) -> Option<&Kind> {
        let places = self.units.get(name)?;
        places.iter().find(|(d, _)| *d == dir).map(|(_, kind)| kind)
    }

    /// Files of the drop-in directory of that name (`a.service.d`), highest priority first.
    pub fn drop_ins(&self, directory: &str) -> &[Place] {
        self.drop_ins.get(directory).map_or(&[], Vec::as_slice)
    }

    /// Whether a `.wants` or `.requires` directory below `dir` links `name`.
    pub fn is_wanted(&self, dir: &str, name: &str) -> bool {
        self.wanted.get(name).is_some_and(|dirs| dirs.contains(dir))
    }

    /// Whether a `.upholds` directory links `name`.
    pub fn is_upheld(&self, name: &str) -> bool {
        self.upheld.contains(name)
    }

    /// What the `.wants`, `.requires` and `.upholds` directories of `name` link.
    pub fn wants(&self, name: &str) -> &[String] {
        self.wants.get(name).map_or(&[], Vec::as_slice)
    }

    /// By which units' directories `name` is linked: WantedBy, RequiredBy and UpheldBy, sorted.
    pub fn installed(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let links = self.installed.get(name).into_iter().flatten();
        links
            .map(|(property, units)| ((*property).to_owned(), units.iter().cloned().collect()))
            .collect()
    }

    /// Instances that such a link names, and whose template is there: units of the host also while they
    /// do not run.
    pub fn instances(&self) -> impl Iterator<Item = &String> + '_ {
        let has_template =
            |unit: UnitName| unit.template().is_some_and(|name| self.units.contains_key(&name));
        let names = self.installed.keys();
        names.filter(move |name| name.parse::<UnitName>().is_ok_and(has_template))
    }

    /// Links whose target ends in `/name`: directory of the load path and name of the link.
    pub fn pointing(&self, name: &str) -> &[(&'static str, String)] {
        self.pointing.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where a link in `dir` leads, by its text alone: none when that is not directly in a directory
    /// of the load path. The place may not exist.
    pub fn target(&self, dir: &str, link: &Path) -> Option<(&'static str, String)> {
        let path = normal(&Path::new(dir).join(link));
        let (parent, name) = path.rsplit_once('/')?;
        let dir = UNIT_DIRS.into_iter().find(|dir| *dir == parent)?;
        Some((self.same.get(dir).copied().unwrap_or(dir), name.to_owned()))
    }

    /// All that the enablement of `name` depends on, apart from its drop-ins, as one number.
    pub fn links(&self, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.units.get(name).hash(&mut hasher);
        self.wanted.get(name).hash(&mut hasher);
        self.is_upheld(name).hash(&mut hasher);
        self.pointing(name).hash(&mut hasher);
        hasher.finish()
    }

    /// Host paths of the directories with drop-ins and links.
    pub fn below(&self) -> impl Iterator<Item = &String> + '_ {
        self.below.iter()
    }
}

fn place(dir: &str, name: &str, kind: Kind) -> Place {
    Place {
        dir: dir.to_owned(),
        name: name.to_owned(),
        kind,
    }
}

/// Removes `.` and `..` by text alone.
fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap_or_default().split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a path is in the load path.
pub fn in_load_path(path: &str) -> bool {
    UNIT_DIRS.iter().any(|dir| Path::new(path).starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_by_their_text_to_a_directory_of_the_load_path_or_elsewhere() {
        let listing = Listing::default();
        let target = |link: &str| listing.target("/etc/systemd/system", Path::new(link));
        let usr = "/usr/lib/systemd/system";
        assert_eq!(
            target("../../../usr/lib/./systemd/system/a.service"),
            Some((usr, "a.service".into()))
        );
        assert_eq!(
            target("b.service"),
            Some(("/etc/systemd/system", "b.service".into()))
        );
        for elsewhere in ["/opt/a.service", "/dev/null", "x.wants/a.service", ""] {
            assert_eq!(target(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_directory_that_has_two_paths_is_listed_once() {
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        std::fs::write(units.join("a.service"), "x").unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        let listing = Listing::scan(&HostRoot::new(dir.path(), "/proc", "/sys")).unwrap();
        assert_eq!(listing.units["a.service"].len(), 1);
        assert_eq!(
            listing.target("/", Path::new("/lib/systemd/system/a.service")),
            Some(("/usr/lib/systemd/system", "a.service".into()))
        );
    }
}
