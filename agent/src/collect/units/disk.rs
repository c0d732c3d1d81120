//! Unit files and drop-ins as they are on disk now, in systemd's search order (systemd.unit(5),
//! "Unit File Load Path"), whether or not the service manager was told to reload.

use std::collections::BTreeMap;
use std::path::Path;

use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::unit::{Origin, UnitFile};
use safetytwin_crds::names::UnitName;

use super::packages::{Owner, Packages};
use super::text::UnitText;
use crate::hostroot::{HostRoot, ReadError};
use crate::redact;

/// The load path of the system manager, highest priority first.
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
/// Longest unit file or drop-in that is read.
pub const FILE_LIMIT: u64 = 64 * 1024;

/// Which names exist where.
#[derive(Debug, Default)]
pub struct Disk {
    fragments: BTreeMap<String, &'static str>,
    drop_in_dirs: BTreeMap<String, Vec<&'static str>>,
}

/// The files of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFiles {
    /// Who placed the main file.
    pub origin: Origin,
    /// The main file.
    pub fragment: Option<UnitFile>,
    /// Drop-ins in the order in which they apply.
    pub drop_ins: Vec<UnitFile>,
    /// The main file is a link to /dev/null or empty.
    pub masked: bool,
    /// What the files say together, unredacted; never leaves the process.
    pub text: UnitText,
}

enum Source {
    Text(Vec<u8>),
    Masked,
    Refused(String),
}

impl Disk {
    /// Lists the load path.
    pub fn scan(root: &HostRoot) -> Result<Self, ReadError> {
        let mut disk = Self::default();
        for dir in UNIT_DIRS {
            for name in root.list(dir)? {
                let Some(name) = name.to_str() else { continue };
                if name.strip_suffix(".d").is_some() {
                    disk.drop_in_dirs.entry(name.to_owned()).or_default().push(dir);
                } else if name.parse::<UnitName>().is_ok() {
                    disk.fragments.entry(name.to_owned()).or_insert(dir);
                }
            }
        }
        Ok(disk)
    }

    /// Host paths of all directories with drop-ins.
    pub fn drop_in_paths(&self) -> impl Iterator<Item = String> + '_ {
        let dirs = self.drop_in_dirs.iter();
        dirs.flat_map(|(name, dirs)| dirs.iter().map(move |dir| format!("{dir}/{name}")))
    }

    /// The files of `unit`. `loaded_from` is where the service manager has it from, for units that
    /// are outside the load path (`systemctl link`).
    pub fn files(
        &self,
        root: &HostRoot,
        packages: &Packages,
        unit: &UnitName,
        loaded_from: Option<&str>,
    ) -> UnitFiles {
        let mut files = UnitFiles {
            origin: Origin::NoFile,
            fragment: None,
            drop_ins: Vec::new(),
            masked: false,
            text: UnitText::default(),
        };
        self.read_fragment(root, packages, unit, loaded_from, &mut files);
        for (dir, name) in self.drop_ins_of(root, unit) {
            let path = format!("{dir}/{name}");
            let source = read(root, &dir, &name);
            if let Source::Text(bytes) = &source {
                files.text.add(&String::from_utf8_lossy(bytes));
            }
            let shown = path.starts_with("/etc/") || path.starts_with("/usr/local/");
            if !matches!(source, Source::Masked) {
                files.drop_ins.push(unit_file(path, source, shown));
            }
        }
        files
    }

    fn read_fragment(
        &self,
        root: &HostRoot,
        packages: &Packages,
        unit: &UnitName,
        loaded_from: Option<&str>,
        files: &mut UnitFiles,
    ) {
        let names = [Some(unit.as_str().to_owned()), unit.template()];
        let on_disk = names
            .into_iter()
            .flatten()
            .find_map(|name| Some((*self.fragments.get(&name)?, name)));
        let (path, source) = match (on_disk, loaded_from) {
            (Some((dir, name)), _) => (format!("{dir}/{name}"), read(root, dir, &name)),
            (None, Some(path)) if !path.is_empty() && !in_load_path(path) => (
                path.to_owned(),
                Source::Refused("outside the unit directories, which is all that the agent reads".into()),
            ),
            _ => return,
        };
        files.origin = origin(&path, packages);
        match &source {
            Source::Masked => files.masked = true,
            Source::Text(bytes) => files.text.add(&String::from_utf8_lossy(bytes)),
            Source::Refused(_) => {}
        }
        files.fragment = Some(unit_file(path, source, files.origin == Origin::Local));
    }

    /// Directory and name of each drop-in: of equal names the one of the highest priority, in name
    /// order.
    fn drop_ins_of(&self, root: &HostRoot, unit: &UnitName) -> Vec<(String, String)> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for dir_name in drop_in_dir_names(unit) {
            for dir in self.drop_in_dirs.get(&dir_name).into_iter().flatten() {
                let dir = format!("{dir}/{dir_name}");
                for name in root.list(&dir).unwrap_or_default() {
                    let Some(name) = name.to_str().filter(|n| n.ends_with(".conf")) else {
                        continue;
                    };
                    found.entry(name.to_owned()).or_insert_with(|| dir.clone());
                }
            }
        }
        found.into_iter().map(|(name, dir)| (dir, name)).collect()
    }
}

/// `a-b@i.service.d`, `a-b@.service.d`, `a-.service.d`, `service.d`: most specific first.
fn drop_in_dir_names(unit: &UnitName) -> Vec<String> {
    let suffix = unit.unit_type().suffix();
    let mut names = vec![format!("{unit}.d")];
    if let Some(template) = unit.template() {
        names.push(format!("{template}.d"));
    }
    let prefix = unit.stem().split_once('@').map_or(unit.stem(), |(p, _)| p);
    let dashes = prefix.match_indices('-').map(|(at, _)| at).collect::<Vec<_>>();
    for at in dashes.into_iter().rev() {
        // A name that is all prefix ("foo-.service") has itself as its first entry already.
        if let Some(head) = prefix.get(..=at).filter(|head| head.len() < prefix.len()) {
            names.push(format!("{head}.{suffix}.d"));
        }
    }
    names.push(format!("{suffix}.d"));
    names
}

/// Reads a file of the load path. A link is followed once, and only to another file of it.
fn read(root: &HostRoot, dir: &str, name: &str) -> Source {
    match root.read_below(dir, Path::new(name), FILE_LIMIT) {
        Ok(bytes) if bytes.is_empty() => Source::Masked,
        Ok(bytes) => Source::Text(bytes),
        Err(ReadError::SymbolicLink(_)) => read_link(root, dir, name),
        Err(ReadError::Open { source, .. }) => Source::Refused(source.to_string()),
        Err(error) => Source::Refused(error.to_string()),
    }
}

fn read_link(root: &HostRoot, dir: &str, name: &str) -> Source {
    let target = root.read_link_below(dir, Path::new(name)).unwrap_or_default();
    if target == Path::new("/dev/null") {
        return Source::Masked;
    }
    let absolute = normal(&Path::new(dir).join(&target));
    let inside = UNIT_DIRS
        .iter()
        .find_map(|dir| Some((*dir, Path::new(&absolute).strip_prefix(dir).ok()?)));
    match inside.map(|(dir, relative)| root.read_below(dir, relative, FILE_LIMIT)) {
        Some(Ok(bytes)) if bytes.is_empty() => Source::Masked,
        Some(Ok(bytes)) => Source::Text(bytes),
        Some(Err(error)) => Source::Refused(error.to_string()),
        None => Source::Refused(format!(
            "a symbolic link to {}, outside the unit directories",
            target.display()
        )),
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

fn in_load_path(path: &str) -> bool {
    UNIT_DIRS.iter().any(|dir| Path::new(path).starts_with(dir))
}

fn origin(path: &str, packages: &Packages) -> Origin {
    let below = |dir: &str| Path::new(path).starts_with(dir);
    if below("/run/systemd/transient") {
        Origin::Transient
    } else if below("/run") {
        Origin::Generated
    } else if below("/usr/lib") || below("/lib") {
        match packages.owner(path) {
            Owner::Package(name) => Origin::Package(name),
            Owner::Nobody => Origin::Local,
            Owner::Unknown => Origin::Vendor,
        }
    } else {
        Origin::Local
    }
}

fn unit_file(path: String, source: Source, shown: bool) -> UnitFile {
    let mut file = UnitFile {
        path,
        digest: Digest::of(b""),
        content: None,
        redactions: 0,
        refused: None,
    };
    match source {
        Source::Masked => {}
        Source::Refused(why) => {
            file.digest = Digest::of(why.as_bytes());
            file.refused = Some(safetytwin_crds::names::printable(&why, 200));
        }
        Source::Text(bytes) => match String::from_utf8(bytes) {
            Ok(text) => {
                let redacted = redact::unit::text(&text);
                file.digest = Digest::of(redacted.text.as_bytes());
                file.redactions = redacted.count;
                file.content = shown.then_some(redacted.text);
            }
            Err(error) => {
                file.digest = Digest::of(error.as_bytes());
                file.refused = shown.then(|| "not UTF-8".into());
            }
        },
    }
    file
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for sub in ["etc/systemd/system", "usr/lib/systemd/system"] {
                std::fs::create_dir_all(dir.path().join(sub)).unwrap();
            }
            Self(dir)
        }
        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        fn files(&self, unit: &str) -> UnitFiles {
            let root = HostRoot::new(self.0.path(), "/proc", "/sys");
            let disk = Disk::scan(&root).unwrap();
            disk.files(&root, &Packages::default(), &unit.parse().unwrap(), None)
        }
    }

    #[test]
    fn drop_ins_of_all_levels_apply_in_name_order_and_the_highest_directory_wins() {
        let tree = Tree::new();
        tree.put("usr/lib/systemd/system/a-b.service", "[Service]\nUser=v\n");
        tree.put("usr/lib/systemd/system/a-b.service.d/10-x.conf", "vendor");
        tree.put("etc/systemd/system/a-b.service.d/10-x.conf", "admin");
        tree.put("etc/systemd/system/a-.service.d/20-y.conf", "prefix");
        tree.put("etc/systemd/system/service.d/05-z.conf", "type");
        let files = tree.files("a-b.service");
        let shown: Vec<_> = files
            .drop_ins
            .iter()
            .map(|f| (f.path.as_str(), f.content.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("/etc/systemd/system/service.d/05-z.conf", Some("type")),
                ("/etc/systemd/system/a-b.service.d/10-x.conf", Some("admin")),
                ("/etc/systemd/system/a-.service.d/20-y.conf", Some("prefix")),
            ]
        );
        assert_eq!(files.origin, Origin::Vendor);
        assert_eq!(files.fragment.unwrap().content, None);
    }

    #[test]
    fn an_instance_has_the_file_of_its_template() {
        let tree = Tree::new();
        tree.put(
            "etc/systemd/system/w@.service",
            "[Service]\nExecStart=/bin/w %i\n",
        );
        let files = tree.files("w@1.service");
        assert_eq!(files.fragment.unwrap().path, "/etc/systemd/system/w@.service");
        assert_eq!(files.origin, Origin::Local);
    }

    #[test]
    fn a_unit_file_that_leads_elsewhere_is_named_and_not_read() {
        let tree = Tree::new();
        let units = tree.0.path().join("etc/systemd/system");
        symlink("/etc/shadow", units.join("s.service")).unwrap();
        symlink("/dev/null", units.join("m.service")).unwrap();
        symlink("m2.service", units.join("loop.service")).unwrap();
        symlink("loop.service", units.join("m2.service")).unwrap();
        tree.put("etc/systemd/system/binary.service", "x");
        std::fs::write(units.join("binary.service"), [0xff, 0xfe]).unwrap();
        std::fs::write(units.join("big.service"), vec![b'#'; 70_000]).unwrap();
        for (unit, word) in [
            ("s.service", "outside the unit directories"),
            ("loop.service", "symbolic link"),
            ("binary.service", "not UTF-8"),
            ("big.service", "longer than"),
        ] {
            let file = tree.files(unit).fragment.unwrap();
            assert_eq!(file.content, None, "{unit}");
            assert!(
                file.refused.as_deref().unwrap_or_default().contains(word),
                "{unit} {file:?}"
            );
        }
        assert!(tree.files("m.service").masked);
    }
}
