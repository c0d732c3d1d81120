//! What the unit directories say, kept from look to look: the files of each unit and its
//! enablement. Only what changed is read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use safetytwin_crds::names::UnitName;

use super::enablement::{self, Enablement};
use super::files::{Places, UnitFiles};
use super::listing::{Listing, Place};
use super::packages::Packages;
use super::presets::Presets;
use crate::collect::accounts::Accounts;
use crate::hostroot::entries::Kind;
use crate::hostroot::{HostRoot, ReadError};
use crate::redact::Redactor;

/// Where systemd itself writes: what `systemctl set-property` changes is in force at once.
const WRITTEN_BY_SYSTEMD: [&str; 3] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
];

/// What is known of one unit.
struct Known {
    places: Places,
    /// The same places have the same content next time.
    settled: bool,
    loaded_from: Option<String>,
    files: Arc<UnitFiles>,
    enablement: Enablement,
    /// What its `.wants` and `.requires` directories link.
    wants: Vec<String>,
}

/// Answers of systemd about enablement, and what they were about.
type Answers = HashMap<String, (u64, String)>;

/// What differs from the look before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Units whose files were edited, so that what is loaded of them is old.
    pub edited: BTreeSet<String>,
    /// Units whose files systemd wrote itself.
    pub written: BTreeSet<String>,
    /// Units whose `.wants` or `.requires` directories link something else.
    pub relinked: BTreeSet<String>,
}

/// The unit directories.
pub struct OnDisk {
    root: HostRoot,
    redactor: Redactor,
    packages: Packages,
    presets: Presets,
    accounts: Arc<Accounts>,
    listing: Listing,
    units: BTreeMap<String, Known>,
    answers: Answers,
}

impl OnDisk {
    /// Nothing is read yet.
    pub fn new(root: HostRoot, redactor: Redactor) -> Self {
        Self {
            root,
            redactor,
            packages: Packages::default(),
            presets: Presets::default(),
            accounts: Arc::default(),
            listing: Listing::default(),
            units: BTreeMap::new(),
            answers: Answers::new(),
        }
    }

    /// Looks at all units that have a file, and at those of `live`, which are given with where the
    /// service manager has them from.
    ///
    /// # Errors
    /// A directory of the load path cannot be listed; what was known stays.
    pub fn look(&mut self, live: &BTreeMap<String, String>) -> Result<Changes, ReadError> {
        let listing = Listing::scan(&self.root)?;
        let moved = self.packages.refresh(&self.root);
        self.presets.refresh(&self.root);
        let accounts = Accounts::read(&self.root);
        if *self.accounts != accounts {
            self.accounts = Arc::new(accounts);
        }
        let mut before = std::mem::take(&mut self.units);
        let first = before.is_empty();
        let mut changes = Changes::default();
        let names = listing.names().chain(listing.instances()).chain(live.keys());
        let names: BTreeSet<&String> = names.collect();
        for name in names {
            let Ok(unit) = name.parse::<UnitName>() else {
                continue;
            };
            let loaded_from = live.get(name);
            if loaded_from.is_none() && (unit.is_template() || enablement::is_alias(&listing, &unit)) {
                continue;
            }
            let old = before.remove(name);
            let known = self.known(&listing, &unit, loaded_from, old.as_ref().filter(|_| !moved));
            match &old {
                Some(old) => changes.note(name, old, &known),
                // It may have been loaded before it had these files.
                None if !first && Places::of(&self.listing, &unit) != known.places => {
                    changes.edited.insert(name.clone());
                }
                None => {}
            }
            self.units.insert(name.clone(), known);
        }
        self.answers.retain(|name, _| self.units.contains_key(name));
        changes.edited.extend(before.into_keys());
        self.listing = listing;
        Ok(changes)
    }

    fn known(
        &self,
        listing: &Listing,
        unit: &UnitName,
        loaded_from: Option<&String>,
        old: Option<&Known>,
    ) -> Known {
        let places = Places::of(listing, unit);
        // Only a unit without a file of its own is described by where it was loaded from.
        let loaded_from = loaded_from.filter(|_| places.fragment.is_none()).cloned();
        // Before the files are read: what is written while they are is seen next time.
        let settled = places.are_settled();
        let same = |old: &&Known| old.settled && old.places == places && old.loaded_from == loaded_from;
        let files = match old.filter(same) {
            Some(old) => Arc::clone(&old.files),
            None => Arc::new(places.read(
                &self.root,
                listing,
                &self.packages,
                &self.redactor,
                unit,
                loaded_from.as_deref(),
            )),
        };
        Known {
            enablement: enablement::of(listing, unit, &files),
            wants: listing.wants(unit.as_str()).to_vec(),
            places,
            settled,
            loaded_from,
            files,
        }
    }

    /// Names of all units that are known, in order.
    pub fn names(&self) -> impl Iterator<Item = &String> + '_ {
        self.units.keys()
    }

    /// Whether the unit was looked at.
    pub fn knows(&self, name: &str) -> bool {
        self.units.contains_key(name)
    }

    /// The files of a unit.
    pub fn files(&self, name: &str) -> Option<&Arc<UnitFiles>> {
        self.units.get(name).map(|known| &known.files)
    }

    /// Enablement of a unit that has a file, as far as it is known.
    pub fn enablement(&self, name: &str) -> Option<&str> {
        match self.units.get(name)?.enablement {
            Enablement::Is(state) => Some(state),
            Enablement::Ask => self.answers.get(name).map(|(_, state)| state.as_str()),
            Enablement::NoFile => None,
        }
    }

    /// `UnitFilePreset` of a unit; empty when it has no file.
    pub fn preset(&self, name: &str) -> &'static str {
        let Some(place) = self
            .units
            .get(name)
            .and_then(|known| known.places.fragment.as_ref())
        else {
            return "";
        };
        // Where a link leads is the unit's file; a mask is none.
        match &place.kind {
            Kind::Link(target) if target == Path::new("/dev/null") => "",
            Kind::Link(target) => {
                let name = target.file_name().and_then(|name| name.to_str());
                name.map_or("", |name| self.presets.of(name))
            }
            _ => self.presets.of(&place.name),
        }
    }

    /// Links of a unit's enablement: WantedBy, RequiredBy and UpheldBy.
    pub fn installed(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        self.listing.installed(name)
    }

    /// Whether the unit directories have a unit of that name, not only another name for one.
    pub fn has_file(&self, name: &str) -> bool {
        match self.units.get(name).map(|known| known.enablement) {
            Some(Enablement::Is(state)) => state != "alias",
            Some(Enablement::Ask) => self.enablement(name) != Some("alias"),
            Some(Enablement::NoFile) | None => false,
        }
    }

    /// Units whose enablement only systemd can say, and has not said since it may have changed.
    pub fn unasked(&self) -> Vec<String> {
        let open = |(name, known): (&String, &Known)| {
            let answered = self.answers.get(name).map(|(about, _)| *about);
            let ask = known.enablement == Enablement::Ask && answered != Some(self.about(name, known));
            ask.then(|| name.clone())
        };
        self.units.iter().filter_map(open).collect()
    }

    /// Keeps what systemd said.
    pub fn answer(&mut self, name: &str, state: String) {
        if let Some(known) = self.units.get(name) {
            let about = self.about(name, known);
            self.answers.insert(name.to_owned(), (about, state));
        }
    }

    fn about(&self, name: &str, known: &Known) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.listing.links(name).hash(&mut hasher);
        known.places.hash(&mut hasher);
        hasher.finish()
    }

    /// Users and groups at the last look.
    pub fn accounts(&self) -> Arc<Accounts> {
        self.accounts.clone()
    }

    /// Directories below those of the load path, for watches.
    pub fn directories(&self) -> Vec<String> {
        self.listing.below().cloned().collect()
    }
}

impl Changes {
    fn note(&mut self, name: &str, old: &Known, new: &Known) {
        // A file that only moved, or is as it was, leaves what is loaded true.
        if (old.files.masked, &old.files.text) != (new.files.masked, &new.files.text) {
            let mut places = old.places.differing(&new.places).peekable();
            if places.peek().is_some() && places.all(written_by_systemd) {
                self.written.insert(name.to_owned());
            } else {
                self.edited.insert(name.to_owned());
            }
        }
        if old.wants != new.wants {
            self.relinked.insert(name.to_owned());
        }
    }
}

fn written_by_systemd(place: &Place) -> bool {
    let dir = Path::new(&place.dir);
    WRITTEN_BY_SYSTEMD.iter().any(|below| dir.starts_with(below))
}
