//! Makes the published items from what is on disk and what is loaded.

use std::collections::BTreeMap;
use std::time::Instant;

use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::item::{Observed, RunClass, UnitItem};
use safetytwin_crds::names::UnitName;

use super::build::Facts;
use super::loaded::Loaded;
use super::on_disk::OnDisk;
use super::properties::Live;
use super::runclass::{self, Debounce};
use super::select;
use crate::collect::{Collected, Content};
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

/// Items as they were published last.
pub struct Items {
    redactor: Redactor,
    /// By the name on the host; and whether the unit was loaded.
    published: BTreeMap<String, (bool, UnitItem)>,
    debounce: Debounce,
}

impl Items {
    /// Nothing is published yet.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            published: BTreeMap::new(),
            debounce: Debounce::default(),
        }
    }

    /// The items, from what is known.
    pub fn assemble(&mut self, root: &HostRoot, disk: &OnDisk, loaded: &Loaded) -> Collected {
        let accounts = disk.accounts();
        let lingering = select::lingering_users(root, &accounts);
        let now = Instant::now();
        let mut published = BTreeMap::new();
        let mut gaps = gaps(disk, loaded);
        let unnamed = loaded
            .iter()
            .filter(|(name, _)| name.parse::<UnitName>().is_err());
        gaps.extend(unnamed.map(|(name, _)| format!("unit {name:?} is refused")));
        for name in disk.names() {
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
            let in_use = live.is_some_and(|l| l.active_state != "inactive");
            let load_state = live.map(|l| l.load_state.as_str());
            if select::is_item(&unit, load_state, in_use, disk.has_file(name), &lingering)
                && let Some(files) = disk.files(name)
            {
                let facts = Facts {
                    name: &unit,
                    live,
                    files,
                    enablement: disk.enablement(name),
                };
                published.insert(name.clone(), self.item(&facts, &accounts, now));
            }
        }
        self.published = published;
        Collected {
            content: self.content(loaded),
            gaps,
            observed: self.observed(loaded),
        }
    }

    /// When the next item changes without news.
    pub fn due(&self) -> Option<Instant> {
        self.debounce.due()
    }

    fn item(
        &mut self,
        facts: &Facts<'_>,
        accounts: &crate::collect::accounts::Accounts,
        now: Instant,
    ) -> (bool, UnitItem) {
        let name = facts.name.as_str();
        let before = self.published.get(name);
        let run_before = before.map(|(_, item)| item.run);
        let active = facts.live.map_or("inactive", |l| &l.active_state);
        // A unit that was unloaded keeps what was known of it while its files are the same, so that
        // garbage collection of an idle unit is no change.
        let kept = before.filter(|(was_live, item)| {
            *was_live
                && facts.live.is_none()
                && item.fragment == facts.files.fragment
                && item.drop_ins == facts.files.drop_ins
        });
        let run = match kept {
            Some((_, item)) if item.run == RunClass::OnDemand => RunClass::OnDemand,
            _ => runclass::class(active, facts.nature(), run_before),
        };
        let run = self.debounce.settle(name, run, run_before, now);
        match kept {
            Some((_, item)) => (
                true,
                UnitItem {
                    run,
                    enablement: facts.enablement().to_owned(),
                    ..item.clone()
                },
            ),
            None => (facts.live.is_some(), facts.item(run, accounts, &self.redactor)),
        }
    }

    fn content(&self, loaded: &Loaded) -> Content {
        let count = |test: &dyn Fn(&str, &Live) -> bool| {
            let count = loaded.iter().filter(|(name, live)| test(name, live)).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        Content::Units {
            items: self.published.values().map(|(_, item)| item.clone()).collect(),
            services: count(&|name, live| name.ends_with(".service") && live.load_state == "loaded"),
            failed: count(&|_, live| live.active_state == "failed"),
        }
    }

    fn observed(&self, loaded: &Loaded) -> Observed {
        let published = loaded
            .iter()
            .filter(|(name, _)| self.published.contains_key(*name));
        let mut units: Vec<ObservedUnit> = published
            .map(|(name, live)| ObservedUnit {
                name: self.redactor.name(name).text,
                active_state: live.active_state.clone(),
                sub_state: live.sub_state.clone(),
                main_pid: live.main_pid,
                restarts: live.restarts,
                result: live.result.clone(),
            })
            .collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        Observed {
            units,
            ..Observed::default()
        }
    }
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
    unread.into_iter().chain(unasked).collect()
}
