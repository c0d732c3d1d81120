//! The pure pipeline as a whole: items → content → diff → steps → manifest.

mod apply;
mod failures;
mod hostile;
mod options;
mod oracle;
mod removal;

use std::collections::BTreeSet;

use jiff::Timestamp;
use safetytwin_crds::digitaltwin::DigitalTwinSpec;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::item::{Fidelity, ItemKind, Reason, RunClass};
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::revision::Content;
use safetytwin_crds::section::{RefusedItem, SectionState};

use super::diff::{DiffInput, in_sync};
use super::samples::{container, file, host, process, section, service, spec, vendor};
use super::steps::{OperationIds, Resumed, StepInput, record_failures};
use super::{
    Diff, Expect, HostItems, Observation, Step, StepPlan, UnitJob, WaitingOn, desired, diff, preflight,
    retry, status, steps, summary,
};
use crate::facts::{Active, Load, Preflight, UnitFacts};

const NOW: &str = "2026-11-24T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A twin under test: what its guest has, and what its status remembers.
#[derive(Default)]
struct Twin {
    manifest: Manifest,
    pending: Option<safetytwin_crds::digitaltwin::PendingRemoval>,
    approved: Option<String>,
    sequence: i64,
    /// Another boot id than the usual.
    boot: Option<&'static str>,
    now: Option<Timestamp>,
    units: Vec<UnitFacts>,
    preflight: Option<Preflight>,
    resumed: Option<Resumed>,
}

impl Twin {
    fn diff(&self, items: &HostItems, spec: &DigitalTwinSpec, content: &Content) -> Diff {
        let observation = Observation {
            boot_id: self.boot.unwrap_or("boot").into(),
            sequence: self.sequence,
        };
        let input = DiffInput {
            content,
            manifest: &self.manifest,
            items,
            observation: &observation,
            pending: self.pending.as_ref(),
            approved: self.approved.as_deref(),
            replicate: &spec.replicate,
            re_render: spec.re_render.as_deref(),
            now: self.now.unwrap_or_else(now),
        };
        let diff = diff(&input);
        let quiet = diff.changes.is_empty() && diff.changes.kept.is_empty() && diff.retry_at.is_none();
        if in_sync(&input) {
            assert!(quiet, "in sync, yet {diff:?}");
        }
        diff
    }

    fn plan(&self, diff: &Diff, content: &Content) -> StepPlan {
        let everything = everything(diff);
        let ids = OperationIds {
            twin_uid: "uid".into(),
            epoch: 1,
            operation: 7,
            revision: 7,
        };
        let input = StepInput {
            changes: &diff.changes,
            content,
            manifest: &self.manifest,
            preflight: self.preflight.as_ref().unwrap_or(&everything),
            units: &self.units,
            resumed: self.resumed.as_ref(),
            ids: &ids,
            re_render: None,
            now: self.now.unwrap_or_else(now),
        };
        let plan = steps(&input);
        assert_eq!(plan, steps(&input), "same inputs, same plan");
        plan
    }

    /// Plans and applies: the manifest becomes what the plan records, the units what it wants.
    fn apply(&mut self, items: &HostItems) -> (Diff, StepPlan) {
        self.sequence += 10;
        let content = desired(items, &spec());
        let diff = self.diff(items, &spec(), &content);
        let plan = self.plan(&diff, &content);
        self.pending = diff.pending.clone();
        if let Some(Step::Record(manifest)) = plan.steps.iter().find(|s| matches!(s, Step::Record(_))) {
            self.manifest = manifest.clone();
        }
        self.units = self
            .manifest
            .items
            .iter()
            .map(|i| running(i.unit.as_str()))
            .collect();
        (diff, plan)
    }
}

/// A guest that has all that is asked of it.
fn everything(diff: &Diff) -> Preflight {
    let query = preflight::query(&diff.changes);
    Preflight {
        executables: query.executables,
        directories: query.directories,
        users: query.users.into_iter().map(|u| (u, 1000)).collect(),
        groups: query.groups.into_iter().map(|g| (g, 1000)).collect(),
        unit_files: query.unit_files,
        images: query.images,
        engines: BTreeSet::from(["docker".into(), "podman".into()]),
    }
}

fn running(unit: &str) -> UnitFacts {
    UnitFacts {
        name: unit.parse().unwrap(),
        load: Load::Loaded,
        active: Active::Active,
        sub: "running".into(),
        file_state: "enabled".into(),
        invocation: format!("of-{unit}"),
        main_pid: 42,
        result: "success".into(),
        exit_status: 0,
    }
}

fn kinds(plan: &StepPlan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|step| match step {
            Step::TakePoint => "point",
            Step::Lock => "lock",
            Step::MakeAccounts(_) => "accounts",
            Step::StopRemoved(_) => "stop",
            Step::Disable(_) => "disable",
            Step::RemoveFiles(_) => "remove",
            Step::Unmask(_) => "unmask",
            Step::WriteFiles(_) => "write",
            Step::Reload => "reload",
            Step::Enable(_) => "enable",
            Step::Mask(_) => "mask",
            Step::Activate(_) => "activate",
            Step::Verify(_) => "verify",
            Step::ProveChannel => "prove",
            Step::Record(_) => "record",
            Step::Unlock => "unlock",
        })
        .collect()
}

fn jobs(plan: &StepPlan) -> Vec<UnitJob> {
    let found = plan.steps.iter().find_map(|s| match s {
        Step::Activate(jobs) => Some(jobs.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

const NEW: [&str; 9] = [
    "point", "lock", "write", "enable", "activate", "verify", "prove", "record", "unlock",
];
