//! Unit files and drop-ins as they are on disk now, whether or not the service manager was told to
//! reload. What did not change since the last look is not read again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::unit::{Origin, UnitFile};
use safetytwin_crds::names::UnitName;

use super::install::Install;
use super::listing::{Listing, Place, in_load_path};
use super::packages::{Owner, Packages};
use super::text::UnitText;
use crate::hostroot::entries::Kind;
use crate::hostroot::{HostRoot, ReadError};
use crate::redact::Redactor;

/// Longest unit file or drop-in that is read.
pub const FILE_LIMIT: u64 = 64 * 1024;

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
    pub text: Arc<UnitText>,
    /// What `[Install]` sections say; none when a file of the unit was not read.
    pub install: Option<Install>,
}

impl UnitFiles {
    /// Of a unit without any.
    pub fn none() -> Self {
        Self {
            origin: Origin::NoFile,
            fragment: None,
            drop_ins: Vec::new(),
            masked: false,
            text: Arc::default(),
            install: Some(Install::default()),
        }
    }
}

/// Where the files of a unit are: equal places with settled stamps are equal files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Places {
    /// The main file.
    pub fragment: Option<Place>,
    /// Drop-ins in the order in which they apply, and whether systemctl reads `[Install]` in them.
    pub drop_ins: Vec<(Place, bool)>,
}

impl Places {
    /// Where the files of `unit` are now.
    pub fn of(listing: &Listing, unit: &UnitName) -> Self {
        let own = listing.first(unit.as_str());
        let fragment = own.or_else(|| listing.first(&unit.template()?));
        // Of equal names the one of the highest priority, in name order.
        let mut found: BTreeMap<&str, (&Place, bool)> = BTreeMap::new();
        for (directory, own) in drop_in_directories(unit) {
            for place in listing.drop_ins(&directory) {
                found.entry(&place.name).or_insert((place, own));
            }
        }
        let drop_ins = found.into_values().map(|(place, own)| (place.clone(), own));
        Self {
            fragment,
            drop_ins: drop_ins.collect(),
        }
    }

    /// Whether the same places have the same content at the next look.
    pub fn are_settled(&self) -> bool {
        let drop_ins = self.drop_ins.iter().map(|(place, _)| place);
        self.fragment
            .iter()
            .chain(drop_ins)
            .all(|place| match &place.kind {
                Kind::File(stamp) => stamp.is_settled(),
                Kind::Link(target) => target == Path::new("/dev/null"),
                Kind::Directory | Kind::Other => true,
            })
    }

    /// Places that only one of the two has.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Place> + 'a {
        let all = |places: &'a Self| {
            let drop_ins = places.drop_ins.iter().map(|(place, _)| place);
            places.fragment.iter().chain(drop_ins).collect::<Vec<_>>()
        };
        let (ours, theirs) = (all(self), all(other));
        let gone = ours.iter().copied().filter({
            let theirs = theirs.clone();
            move |place| !theirs.contains(place)
        });
        let gone: Vec<_> = gone.collect();
        let came = theirs.into_iter().filter(move |place| !ours.contains(place));
        gone.into_iter().chain(came)
    }

    /// Reads the files. `loaded_from` is where the service manager has the unit from, for units that
    /// are outside the load path.
    pub fn read(
        &self,
        root: &HostRoot,
        listing: &Listing,
        packages: &Packages,
        redactor: &Redactor,
        unit: &UnitName,
        loaded_from: Option<&str>,
    ) -> UnitFiles {
        let mut files = UnitFiles::none();
        let mut own = Some(UnitText::default());
        let main = match (&self.fragment, loaded_from) {
            (Some(place), _) => Some((place.path(), source(root, listing, place))),
            (None, Some(path)) if !path.is_empty() && !in_load_path(path) => Some((
                path.to_owned(),
                Source::Refused("outside the unit directories, which is all that the agent reads".into()),
            )),
            _ => None,
        };
        if let Some((path, source)) = main {
            files.origin = origin(&path, packages);
            files.masked = matches!(source, Source::Masked);
            files.note(&source, &mut own);
            files.fragment = Some(unit_file(redactor, path, source, files.origin == Origin::Local));
        }
        for (place, has_install) in &self.drop_ins {
            let source = source(root, listing, place);
            match has_install {
                true => files.note(&source, &mut own),
                false => files.note(&source, &mut Some(UnitText::default())),
            }
            if !matches!(source, Source::Masked) {
                let path = place.path();
                let shown = path.starts_with("/etc/") || path.starts_with("/usr/local/");
                files.drop_ins.push(unit_file(redactor, path, source, shown));
            }
        }
        files.install = own.map(|own| Install::new(&own, unit.unit_type()));
        files
    }
}

impl UnitFiles {
    /// Adds a file's text; `own` becomes none when it cannot be known.
    fn note(&mut self, source: &Source, own: &mut Option<UnitText>) {
        match source {
            Source::Masked => {}
            Source::Refused(_) => *own = None,
            Source::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                Arc::make_mut(&mut self.text).add(&text);
                match own {
                    Some(own) if std::str::from_utf8(bytes).is_ok() => own.add(&text),
                    own => *own = None,
                }
            }
        }
    }
}

enum Source {
    Text(Vec<u8>),
    Masked,
    Refused(String),
}

/// `a-b@i.service.d`, `a-b@.service.d`, `a-.service.d`, `service.d`: most specific first; and whether
/// `[Install]` counts there.
fn drop_in_directories(unit: &UnitName) -> Vec<(String, bool)> {
    let suffix = unit.unit_type().suffix();
    let mut names = vec![(format!("{unit}.d"), true)];
    if let Some(template) = unit.template() {
        names.push((format!("{template}.d"), true));
    }
    let prefix = unit.stem().split_once('@').map_or(unit.stem(), |(p, _)| p);
    let dashes = prefix.match_indices('-').map(|(at, _)| at).collect::<Vec<_>>();
    for at in dashes.into_iter().rev() {
        // A name that is all prefix ("foo-.service") has itself as its first entry already.
        if let Some(head) = prefix.get(..=at).filter(|head| head.len() < prefix.len()) {
            names.push((format!("{head}.{suffix}.d"), false));
        }
    }
    names.push((format!("{suffix}.d"), false));
    names
}

/// Reads a file of the load path. A link is followed once, and only to another file of it.
fn source(root: &HostRoot, listing: &Listing, place: &Place) -> Source {
    match &place.kind {
        Kind::Link(target) if target == Path::new("/dev/null") => Source::Masked,
        Kind::Link(target) => match listing.target(&place.dir, target) {
            Some((dir, name)) => read(root, dir, &name),
            None => Source::Refused(format!(
                "a symbolic link to {}, outside the unit directories",
                target.display()
            )),
        },
        _ => read(root, &place.dir, &place.name),
    }
}

fn read(root: &HostRoot, dir: &str, name: &str) -> Source {
    match root.read_below(dir, Path::new(name), FILE_LIMIT) {
        Ok(bytes) if bytes.is_empty() => Source::Masked,
        Ok(bytes) => Source::Text(bytes),
        Err(ReadError::Open { source, .. }) => Source::Refused(source.to_string()),
        Err(error) => Source::Refused(error.to_string()),
    }
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

fn unit_file(redactor: &Redactor, path: String, source: Source, shown: bool) -> UnitFile {
    let mut file = UnitFile {
        path: named(redactor, &path),
        digest: Digest::of(b""),
        content: None,
        redactions: 0,
        refused: None,
    };
    match source {
        Source::Masked => {}
        Source::Refused(why) => {
            let why = redactor.text(&why).text;
            file.digest = Digest::of(why.as_bytes());
            file.refused = Some(safetytwin_crds::names::printable(&why, 200));
        }
        Source::Text(bytes) => match String::from_utf8(bytes) {
            Ok(text) => {
                let redacted = redactor.unit(&text);
                file.digest = Digest::of(redacted.text.as_bytes());
                file.redactions = redacted.count;
                file.content = shown.then_some(redacted.text);
            }
            Err(error) => {
                // Not redacted: a plain digest would let anybody try guesses.
                file.digest = redactor.digest(error.as_bytes());
                file.refused = shown.then(|| "not UTF-8".into());
            }
        },
    }
    file
}

/// A path below the unit directories, whose parts are names.
fn named(redactor: &Redactor, path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(|part| redactor.name(part).text).collect();
    parts.join("/")
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
            let listing = Listing::scan(&root).unwrap();
            let unit = unit.parse().unwrap();
            Places::of(&listing, &unit).read(
                &root,
                &listing,
                &Packages::default(),
                &Redactor::default(),
                &unit,
                None,
            )
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
            let files = tree.files(unit);
            let file = files.fragment.unwrap();
            assert_eq!((file.content, files.install), (None, None), "{unit}");
            assert!(
                file.refused.as_deref().unwrap_or_default().contains(word),
                "{unit} {:?}",
                file.refused
            );
        }
        assert!(tree.files("m.service").masked);
    }
}
