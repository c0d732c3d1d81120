//! Collects what each item asks of the guest, so that every kind of call is made once for all.

use std::collections::{BTreeMap, BTreeSet};

use safetytwin_crds::item::RunClass;
use safetytwin_crds::manifest::ManifestItem;
use safetytwin_crds::names::{UnitName, UnitType};
use safetytwin_crds::revision::{DesiredFile, DesiredItem, Enablement, Needs};

use super::{Resumed, StepInput, placed_item};
use crate::facts::{Active, Load, UnitFacts};
use crate::plan::preflight::{self, Fitted};
use crate::plan::{Expect, Step, UnitJob};

/// What all items together ask of the guest.
pub(super) struct Work<'a> {
    input: &'a StepInput<'a>,
    facts: BTreeMap<&'a UnitName, &'a UnitFacts>,
    needs: Vec<&'a Needs>,
    stop_removed: BTreeSet<UnitName>,
    disable: BTreeSet<UnitName>,
    remove_files: BTreeSet<String>,
    unmask: BTreeSet<UnitName>,
    write: BTreeMap<String, DesiredFile>,
    reload: bool,
    enable: BTreeSet<UnitName>,
    mask: BTreeSet<UnitName>,
    jobs: Vec<UnitJob>,
    verify: Vec<(UnitName, Expect)>,
}

impl<'a> Work<'a> {
    pub(super) fn new(input: &'a StepInput<'a>) -> Self {
        Self {
            input,
            facts: input.units.iter().map(|f| (&f.name, f)).collect(),
            needs: Vec::new(),
            stop_removed: BTreeSet::new(),
            disable: BTreeSet::new(),
            remove_files: BTreeSet::new(),
            unmask: BTreeSet::new(),
            write: BTreeMap::new(),
            reload: false,
            enable: BTreeSet::new(),
            mask: BTreeSet::new(),
            jobs: Vec::new(),
            verify: Vec::new(),
        }
    }

    fn load(&self, unit: &UnitName) -> Load {
        self.facts.get(unit).map_or(Load::NotLoaded, |f| f.load)
    }

    fn file_state(&self, unit: &UnitName) -> &'a str {
        self.facts.get(unit).map_or("", |f| f.file_state.as_str())
    }

    /// In memory with a definition that a new file does not change by itself.
    fn is_loaded(&self, unit: &UnitName) -> bool {
        matches!(self.load(unit), Load::Loaded | Load::Error)
    }

    fn is_active(&self, unit: &UnitName) -> bool {
        let active = self.facts.get(unit).map(|f| f.active);
        matches!(
            active,
            Some(Active::Active | Active::Reloading | Active::Activating)
        )
    }

    /// Adds an item; answers its entry in the manifest.
    pub(super) fn place(&mut self, fitted: &Fitted<'a>) -> ManifestItem {
        let item = fitted.item;
        if fitted.absent {
            return placed_item(self.input, fitted, false);
        }
        let before = self.input.manifest.item(&item.id);
        let files = (!fitted.files.is_empty()).then(|| DesiredItem::digest_of_files(fitted.files));
        let differs = before.and_then(|b| b.files_digest) != files;
        let gone = self.gone_files(before, fitted.files);
        if differs {
            let new = fitted.files.iter().map(|f| (f.path.clone(), f.clone()));
            self.write.extend(new);
            self.reload |= self.is_loaded(&item.unit);
        }
        self.remove_files.extend(gone);
        self.needs.push(match &item.fallback {
            Some(fallback) if fitted.fallback => &fallback.needs,
            _ => &item.needs,
        });
        let enabled_by_us = self.set_enablement(item, before, differs);
        self.set_run(item, differs);
        placed_item(self.input, fitted, enabled_by_us)
    }

    fn gone_files(&self, before: Option<&ManifestItem>, files: &[DesiredFile]) -> Vec<String> {
        before
            .map_or(&[][..], |b| b.files.as_slice())
            .iter()
            .filter(|path| files.iter().all(|f| f.path != **path))
            .cloned()
            .collect()
    }

    /// Masks, unmasks, enables, disables. Answers whether a removal has to disable it again.
    fn set_enablement(&mut self, item: &DesiredItem, before: Option<&ManifestItem>, differs: bool) -> bool {
        let unit = &item.unit;
        let state = self.file_state(unit);
        let masked = state.starts_with("masked");
        if item.enablement == Enablement::Masked {
            if !masked {
                self.mask.insert(unit.clone());
                self.reload |= self.is_loaded(unit);
            }
            return false;
        }
        if masked || self.load(unit) == Load::Masked {
            self.unmask.insert(unit.clone());
            self.reload |= self.load(unit) == Load::Masked;
        }
        let enabled = state.starts_with("enabled");
        let ours = before.is_some_and(|b| b.enabled_by_us);
        match item.enablement {
            Enablement::Enabled => {
                // Changed files may want other links.
                if differs || !enabled {
                    self.enable.insert(unit.clone());
                }
                // After an interruption an enabled unit may be so by our own earlier attempt.
                let resumed = self.input.resumed;
                ours || !resumed.map_or(enabled, |r| r.enabled.contains(unit.as_str()))
            }
            Enablement::Disabled => {
                if enabled {
                    self.disable.insert(unit.clone());
                }
                false
            }
            Enablement::Untouched | Enablement::Masked => ours,
        }
    }

    fn set_run(&mut self, item: &DesiredItem, differs: bool) {
        let unit = &item.unit;
        match item.run {
            RunClass::Up | RunClass::Failed => {
                if let Some(job) = self.start_job(unit, differs) {
                    self.jobs.push(job);
                }
                let expect = if item.run == RunClass::Up {
                    Expect::Up
                } else {
                    Expect::Any
                };
                self.verify.push((unit.clone(), expect));
            }
            RunClass::Down => {
                if self.is_active(unit) {
                    self.jobs.push(UnitJob::Stop(unit.clone()));
                }
                self.verify.push((unit.clone(), Expect::Down));
            }
            // Started and stopped by what it waits for, never by us.
            RunClass::OnDemand => {}
        }
    }

    /// The record of an interruption whose units are still in memory.
    fn same_boot(&self) -> Option<&'a Resumed> {
        self.input.resumed.filter(|resumed| !resumed.rebooted)
    }

    /// Start, restart, or nothing when it runs as it should.
    fn start_job(&self, unit: &UnitName, differs: bool) -> Option<UnitJob> {
        if let Some(resumed) = self.same_boot() {
            if let Some(before) = resumed.invocations.get(unit.as_str()) {
                return Some(UnitJob::Restart {
                    unit: unit.clone(),
                    before: before.clone(),
                });
            }
            // Not recorded: it did not run before, so what runs now was started by this operation.
            return (!self.is_active(unit)).then(|| UnitJob::Start(unit.clone()));
        }
        if !self.is_active(unit) {
            return Some(UnitJob::Start(unit.clone()));
        }
        let before = self
            .facts
            .get(unit)
            .map(|f| f.invocation.clone())
            .unwrap_or_default();
        // A target does nothing itself: restarting it would only stop what it holds.
        (differs && unit.unit_type() != UnitType::Target).then(|| UnitJob::Restart {
            unit: unit.clone(),
            before,
        })
    }

    /// Adds an item that is to go. `placed` is what stays.
    pub(super) fn remove(&mut self, item: &ManifestItem, placed: &[ManifestItem]) {
        if placed.iter().any(|p| p.unit == item.unit) {
            self.remove_files.extend(item.files.iter().cloned());
            return;
        }
        if !item.vendor && self.is_active(&item.unit) {
            self.stop_removed.insert(item.unit.clone());
        }
        if item.enabled_by_us {
            self.disable.insert(item.unit.clone());
        }
        self.reload |= !item.files.is_empty() && self.is_loaded(&item.unit);
        self.remove_files.extend(item.files.iter().cloned());
    }

    /// Files that another item still has stay: instances share their template's.
    pub(super) fn forget_files_in_use(&mut self, placed: &[ManifestItem]) {
        for item in placed {
            for path in &item.files {
                self.remove_files.remove(path);
            }
        }
    }

    /// Whether anything but the manifest changes in the guest.
    pub(super) fn has_effects(&self) -> bool {
        !self.has_only_jobs() || !self.jobs.is_empty() || self.input.resumed.is_some()
    }

    /// Whether nothing is written, enabled, made or removed: at most, units are started and stopped.
    pub(super) fn has_only_jobs(&self) -> bool {
        let accounts = preflight::accounts(self.needs.iter().copied(), self.input.preflight);
        accounts.users.is_empty()
            && accounts.groups.is_empty()
            && self.stop_removed.is_empty()
            && self.disable.is_empty()
            && self.remove_files.is_empty()
            && self.unmask.is_empty()
            && self.write.is_empty()
            && self.enable.is_empty()
            && self.mask.is_empty()
    }

    /// Steps between Lock and ProveChannel.
    pub(super) fn into_steps(self) -> Vec<Step> {
        let accounts = preflight::accounts(self.needs.iter().copied(), self.input.preflight);
        let reload = self.same_boot().map_or(self.reload, |r| r.reload_owed);
        let list = |units: BTreeSet<UnitName>| units.into_iter().collect::<Vec<_>>();
        let all = [
            Step::MakeAccounts(accounts),
            Step::StopRemoved(list(self.stop_removed)),
            Step::Disable(list(self.disable)),
            Step::RemoveFiles(self.remove_files.into_iter().collect()),
            Step::Unmask(list(self.unmask)),
            Step::WriteFiles(self.write.into_values().collect()),
        ];
        let later = [
            Step::Enable(list(self.enable)),
            Step::Mask(list(self.mask)),
            Step::Activate(self.jobs),
            Step::Verify(self.verify),
        ];
        let reload = reload.then_some(Step::Reload);
        all.into_iter()
            .chain(reload)
            .chain(later)
            .filter(|step| !is_empty(step))
            .collect()
    }
}

fn is_empty(step: &Step) -> bool {
    match step {
        Step::MakeAccounts(accounts) => accounts.users.is_empty() && accounts.groups.is_empty(),
        Step::StopRemoved(units)
        | Step::Disable(units)
        | Step::Unmask(units)
        | Step::Enable(units)
        | Step::Mask(units) => units.is_empty(),
        Step::RemoveFiles(paths) => paths.is_empty(),
        Step::WriteFiles(files) => files.is_empty(),
        Step::Activate(jobs) => jobs.is_empty(),
        Step::Verify(expected) => expected.is_empty(),
        Step::TakePoint | Step::Lock | Step::Reload | Step::ProveChannel | Step::Record(_) | Step::Unlock => {
            false
        }
    }
}
