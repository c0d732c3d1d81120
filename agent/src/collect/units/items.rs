//! Makes the published items from what is on disk and what is loaded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::item::{InForce, Observed, RunClass, UnitItem};
use safetytwin_crds::names::UnitName;
use tokio::time::Instant;

use super::arrivals::Arrivals;
use super::build::Facts;
use super::clean::Cleaner;
use super::inputs::Inputs;
use super::loaded::Loaded;
use super::on_disk::OnDisk;
use super::properties::Live;
use super::runclass::{self, Debounce};
use super::select;
use super::text::UnitText;
use super::variant::Map;
use crate::collect::accounts::Accounts;
use crate::collect::{Collected, Content};
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

/// An item as it was published last.
struct Published {
    /// The unit was loaded.
    live: bool,
    item: Arc<UnitItem>,
    /// What it was made of; none when that was an earlier item.
    of: Option<Inputs>,
}

/// What all items are made of.
struct Around {
    lingering: BTreeSet<u32>,
    accounts: Arc<Accounts>,
    now: Instant,
}

/// Items as they were published last.
pub struct Items {
    cleaner: Cleaner,
    /// By the name on the host.
    published: BTreeMap<String, Published>,
    debounce: Debounce,
    arrivals: Arrivals,
    /// What the files said of each unit when they were loaded last.
    loaded_texts: HashMap<String, Arc<UnitText>>,
    /// What is told of the dependencies in force, by the name on the host, and of which reading that is.
    told: HashMap<String, (u64, InForce)>,
    /// Users whose manager runs without a login: theirs are items.
    lingering: BTreeSet<u32>,
    /// What sockets, timers and paths start.
    triggered: BTreeSet<String>,
    /// Units that had a file before; none at the first look.
    seen: Option<BTreeSet<String>>,
}

impl Items {
    /// Nothing is published yet.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            cleaner: Cleaner::new(redactor),
            published: BTreeMap::new(),
            debounce: Debounce::default(),
            arrivals: Arrivals::default(),
            loaded_texts: HashMap::new(),
            told: HashMap::new(),
            lingering: BTreeSet::new(),
            triggered: BTreeSet::new(),
            seen: None,
        }
    }

    /// Says whether the service manager is reading all unit files now.
    pub fn note_reload(&mut self, reloading: bool) {
        self.arrivals.note_reload(reloading, Instant::now());
    }

    /// The items, from what is known. `changed` are the units of which something else is known than the last time; none
    /// when that may be any.
    pub fn assemble(
        &mut self,
        root: &HostRoot,
        disk: &OnDisk,
        loaded: &Loaded,
        changed: Option<&BTreeSet<String>>,
    ) -> Collected {
        let accounts = disk.accounts();
        let lingering = select::lingering_users(root, &accounts);
        let changed = changed.filter(|_| lingering == self.lingering);
        self.lingering.clone_from(&lingering);
        let before = std::mem::replace(&mut self.triggered, loaded.triggered());
        let around = Around {
            lingering,
            accounts,
            now: Instant::now(),
        };
        let mut published = BTreeMap::new();
        let mut held = BTreeSet::new();
        for name in disk.names() {
            let other_trigger = before.contains(name) != self.triggered.contains(name);
            if changed.is_some_and(|changed| !changed.contains(name)) && !other_trigger && !self.moves(name) {
                published.extend(self.published.remove_entry(name));
                continue;
            }
            let Ok(unit) = name.parse::<UnitName>() else {
                continue;
            };
            let live = loaded.get(name).filter(|live| live.read);
            // What it is like is not known yet; what was known of it stays.
            if live.is_none() && loaded.unread().contains(name) {
                let before = self.published.remove(name);
                published.extend(before.map(|entry| (name.clone(), entry)));
                continue;
            }
            let Some(entry) = self.entry(&unit, live, (disk, loaded), &around) else {
                continue;
            };
            let in_use = live.is_some_and(|live| live.active_state != "inactive");
            let new =
                self.seen.as_ref().is_some_and(|seen| !seen.contains(name)) || self.arrivals.holds(name);
            if new && !in_use && self.arrivals.hold(name, &entry.item, around.now) {
                held.insert(name.clone());
            } else {
                published.insert(name.clone(), entry);
            }
        }
        self.published = published;
        self.arrivals.retain(&held);
        self.forget(loaded);
        if changed.is_none() {
            self.seen = Some(disk.names().cloned().collect());
        }
        Collected {
            content: self.content(loaded).into(),
            gaps: gaps(disk, loaded),
            observed: self.observed(loaded).into(),
        }
    }

    /// Lets go of what was known of units that went.
    fn forget(&mut self, loaded: &Loaded) {
        // One that went before it was down for long enough is nothing to wait for.
        self.debounce.retain(|name| self.published.contains_key(name));
        self.loaded_texts.retain(|name, _| loaded.get(name).is_some());
        self.told.retain(|name, _| loaded.get(name).is_some());
    }

    /// A unit as it is to be published, if it is an item.
    fn entry(
        &mut self,
        unit: &UnitName,
        live: Option<&Live>,
        (disk, loaded): (&OnDisk, &Loaded),
        around: &Around,
    ) -> Option<Published> {
        let name = unit.as_str();
        let in_use = live.is_some_and(|live| live.active_state != "inactive");
        let load_state = live.map(|live| live.load_state.as_str());
        if !select::is_item(unit, load_state, in_use, disk.has_file(name), &around.lingering) {
            return None;
        }
        let files = disk.files(name)?;
        let loaded_text = self.loaded_text(name, live, &files.text);
        let mut installed = disk.installed(name);
        self.cleaner.dependencies(&mut installed);
        let facts = Facts {
            name: unit,
            live,
            files,
            loaded_text: loaded_text.as_ref(),
            enablement: disk.enablement(name),
            preset: disk.preset(name),
            triggered: self.triggered.contains(name),
            installed,
        };
        Some(self.item(&facts, loaded.manager(), &around.accounts, around.now))
    }

    /// Whether the item of a unit may change without news.
    fn moves(&self, name: &str) -> bool {
        self.debounce.waits(name) || self.arrivals.holds(name)
    }

    /// When the next item changes without news.
    pub fn due(&self) -> Option<Instant> {
        self.debounce.due().into_iter().chain(self.arrivals.due()).min()
    }

    /// What the files of a unit said when they were loaded: the same as now, unless they were edited.
    fn loaded_text(&mut self, name: &str, live: Option<&Live>, now: &Arc<UnitText>) -> Option<Arc<UnitText>> {
        if live?.stale {
            return self.loaded_texts.get(name).cloned();
        }
        self.loaded_texts.insert(name.to_owned(), now.clone());
        None
    }

    fn item(
        &mut self,
        facts: &Facts<'_>,
        (manager, reading): (&Map, u64),
        accounts: &Arc<Accounts>,
        now: Instant,
    ) -> Published {
        let name = facts.name.as_str();
        let before = self.published.get(name);
        let run_before = before.map(|before| before.item.run);
        let active = facts.live.map_or("inactive", |l| &l.active_state);
        // A unit that was unloaded keeps what was known of it while its files are the same, so that
        // garbage collection of an idle unit is no change.
        let kept = before.filter(|before| {
            before.live
                && facts.live.is_none()
                && before.item.fragment == facts.files.fragment
                && before.item.drop_ins == facts.files.drop_ins
        });
        let run = runclass::class(active, facts.nature(), run_before);
        let run = self.debounce.settle(name, run, run_before, now);
        let (live, of) = match kept {
            Some(_) => (true, None),
            None => (
                facts.live.is_some(),
                Some(Inputs::of(facts, run, reading, accounts)),
            ),
        };
        let item = match (kept, before) {
            (None, Some(same)) if same.of == of => Arc::clone(&same.item),
            (None, _) => Arc::new(facts.item(run, manager, accounts, &mut self.cleaner)),
            (Some(kept), _) => Arc::new(linked_anew(&kept.item, facts, run)),
        };
        let same = before.filter(|before| before.item == item);
        let item = same.map_or(item, |before| Arc::clone(&before.item));
        Published { live, item, of }
    }

    fn content(&self, loaded: &Loaded) -> Content {
        let count = |test: &dyn Fn(&str, &Live) -> bool| {
            let count = loaded.iter().filter(|(name, live)| test(name, live)).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        Content::Units {
            items: self
                .published
                .values()
                .map(|published| Arc::clone(&published.item))
                .collect(),
            // As `systemctl list-units` counts: one that has ended stays known until the next audit.
            services: count(&|name, live| {
                name.ends_with(".service") && live.load_state == "loaded" && live.active_state != "inactive"
            }),
            failed: count(&|_, live| live.active_state == "failed"),
        }
    }

    fn observed(&mut self, loaded: &Loaded) -> Observed {
        let published = loaded
            .iter()
            .filter(|(name, _)| self.published.contains_key(*name));
        let mut units: Vec<ObservedUnit> = published
            .map(|(name, live)| {
                let dependencies = told(&mut self.told, &mut self.cleaner, name, live);
                let mut name = name.clone();
                self.cleaner.name(&mut name);
                (name, live, dependencies)
            })
            .map(|(name, live, dependencies)| ObservedUnit {
                name,
                active_state: live.active_state.clone(),
                sub_state: live.sub_state.clone(),
                main_pid: live.main_pid,
                restarts: live.restarts,
                result: live.result.clone(),
                active_enter_timestamp: live.active_enter_timestamp,
                timer: live
                    .timer
                    .is_some()
                    .then(|| live.runs.clone().unwrap_or_default()),
                dependencies,
            })
            .collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        Observed {
            units,
            ..Observed::default()
        }
    }
}

/// The dependencies in force as they may leave the host: those that hold no secret are the same allocation.
fn told(
    told: &mut HashMap<String, (u64, InForce)>,
    cleaner: &mut Cleaner,
    name: &str,
    live: &Live,
) -> InForce {
    if let Some((_, same)) = told.get(name).filter(|(reading, _)| *reading == live.reading) {
        return same.clone();
    }
    let clean = live
        .dependencies
        .renamed(|unit| cleaner.other_name(unit).map(Arc::from));
    told.insert(name.to_owned(), (live.reading, clean.clone()));
    clean
}

/// An item that stays as it was, but for what links and presets say now.
fn linked_anew(item: &UnitItem, facts: &Facts<'_>, run: RunClass) -> UnitItem {
    let mut item = UnitItem {
        run,
        enablement: facts.enablement().to_owned(),
        preset: facts.preset.to_owned(),
        ..item.clone()
    };
    let links = ["WantedBy", "RequiredBy", "UpheldBy"];
    item.dependencies
        .retain(|property, _| !links.contains(&property.as_str()));
    item.dependencies.extend(facts.installed.clone());
    item
}

/// Why the list is not whole yet.
fn gaps(disk: &OnDisk, loaded: &Loaded) -> Vec<String> {
    let some = |what: &str, names: &mut dyn Iterator<Item = &String>| {
        let first = names.next()?;
        Some(match names.count() {
            0 => format!("{what} not read yet: {first}"),
            more => format!("{what} not read yet: {first} and {more} more"),
        })
    };
    let unread = some("properties", &mut loaded.unread().iter());
    let unasked = some("enablement", &mut disk.unasked().iter());
    let unnamed = loaded
        .iter()
        .filter(|(name, _)| name.parse::<UnitName>().is_err());
    let refused = unnamed.map(|(name, _)| format!("unit {name:?} is refused"));
    unread.into_iter().chain(unasked).chain(refused).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_cleaned_once_a_reading_and_shared_where_they_hold_no_secret() {
        let (mut known, mut cleaner) = (HashMap::new(), Cleaner::new(Redactor::default()));
        let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
        let live = |reading, other: String| Live {
            reading,
            dependencies: [("After", Arc::from(other))].into_iter().collect(),
            ..Live::default()
        };
        let plain = live(1, "db.service".into());
        let first = told(&mut known, &mut cleaner, "a.service", &plain);
        assert!(first.is_same(&plain.dependencies));
        let edited = live(2, format!("backup@{secret}.service"));
        let second = told(&mut known, &mut cleaner, "a.service", &edited);
        assert!(
            second.get("After").all(|name| !name.contains(secret)),
            "{second:?}"
        );
        let again = told(&mut known, &mut cleaner, "a.service", &edited);
        assert!(second.is_same(&again));
    }
}
