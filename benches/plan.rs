//! Figures of the pure part: diff of two states, of equal states, rendering and digests.
//!
//! `cargo bench -p safetytwin --bench plan` prints divan's table. With `SAFETYTWIN_FIGURES` naming a
//! file it also writes each figure there, beside its goal and a peer from the same run, which is what
//! a straightforward program does with the same states; `lab figures FILE` prints it (`make bench`).

// A benchmark may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod states;

use std::hint::black_box;
use std::time::Instant;

use divan::Bencher;
use safetytwin::plan::diff::{DiffInput, in_sync};
use safetytwin::plan::{Diff, Observation, desired, diff};
use safetytwin_crds::Digest;
use safetytwin_crds::digitaltwin::Replicate;
use safetytwin_crds::item::UnitItem;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::revision::Content;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use states::State;

/// Samples behind each printed figure; the median is shown.
const SAMPLES: usize = 51;

/// Everything that a comparison needs, made once.
struct Compared {
    state: State,
    content: Content,
    manifest: Manifest,
    observation: Observation,
    replicate: Replicate,
}

impl Compared {
    /// What the guest has is of `before`, what the host has is `after`.
    fn new(before: &State, after: State) -> Self {
        Self {
            content: desired(&after.items, &states::spec()),
            manifest: states::manifest_of(&desired(&before.items, &states::spec())),
            observation: Observation::default(),
            replicate: Replicate::default(),
            state: after,
        }
    }

    fn input(&self) -> DiffInput<'_> {
        DiffInput {
            content: &self.content,
            manifest: &self.manifest,
            items: &self.state.items,
            observation: &self.observation,
            pending: None,
            approved: None,
            replicate: &self.replicate,
            re_render: None,
            now: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn diff(&self) -> Diff {
        diff(&self.input())
    }
}

fn changed() -> (Value, Value, Compared) {
    let (before, after) = (State::new(1000, 1000), State::new(1000, 1000).with_changes());
    (before.json(), after.json(), Compared::new(&before, after))
}

fn equal() -> (Value, Value, Compared) {
    let (before, after) = (State::new(1000, 1000), State::new(1000, 1000));
    (before.json(), after.json(), Compared::new(&before, after))
}

#[divan::bench]
fn diff_of_two_states(bencher: Bencher<'_, '_>) {
    let (_, _, compared) = changed();
    bencher.bench_local(|| compared.diff());
}

#[divan::bench]
fn diff_of_two_states_by_json_patch(bencher: Bencher<'_, '_>) {
    let (before, after, _) = changed();
    bencher.bench_local(|| json_patch::diff(&before, &after));
}

#[divan::bench]
fn equal_states(bencher: Bencher<'_, '_>) {
    let (_, _, compared) = equal();
    bencher.bench_local(|| in_sync(&compared.input()));
}

#[divan::bench]
fn equal_states_by_json_patch(bencher: Bencher<'_, '_>) {
    let (before, after, _) = equal();
    bencher.bench_local(|| json_patch::diff(&before, &after));
}

#[divan::bench]
fn render_and_digest_of_1000_units(bencher: Bencher<'_, '_>) {
    let state = State::new(1000, 0);
    bencher.bench_local(|| desired(&state.items, &states::spec()));
}

#[divan::bench]
fn write_1000_units_as_yaml_and_digest_them(bencher: Bencher<'_, '_>) {
    let state = State::new(1000, 0);
    bencher.bench_local(|| each(&state, yaml_and_sha256));
}

#[divan::bench]
fn digest_of_1000_units(bencher: Bencher<'_, '_>) {
    let state = State::new(1000, 0);
    bencher.bench_local(|| each(&state, digest));
}

#[divan::bench]
fn digest_of_1000_units_by_json_and_sha256(bencher: Bencher<'_, '_>) {
    let state = State::new(1000, 0);
    bencher.bench_local(|| each(&state, json_and_sha256));
}

/// Something done with each unit of a state.
fn each<T>(state: &State, work: impl Fn(&UnitItem) -> T) {
    for unit in state.items.units.iter().flat_map(|section| &section.items) {
        black_box(work(unit));
    }
}

fn digest(unit: &UnitItem) -> Digest {
    Digest::of_json(unit).unwrap()
}

fn json_and_sha256(unit: &UnitItem) -> [u8; 32] {
    Sha256::digest(serde_json::to_vec(unit).unwrap()).into()
}

fn yaml_and_sha256(unit: &UnitItem) -> [u8; 32] {
    Sha256::digest(serde_yaml::to_string(unit).unwrap()).into()
}

/// Median time of one call, in seconds.
fn median<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            black_box(call());
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(SAMPLES / 2).copied().unwrap_or_default()
}

fn figure(what: &str, ours: f64, goal: Option<f64>, peer: &str, theirs: f64) -> Value {
    let mut figure = json!({
        "what": format!("{what}, median of {SAMPLES}"),
        "unit": "seconds",
        "value": ours,
        "peer": {"name": peer, "value": theirs},
    });
    if let (Some(goal), Some(fields)) = (goal, figure.as_object_mut()) {
        fields.insert("goal".into(), json!(goal));
    }
    figure
}

fn main() {
    divan::main();
    // As a test it only has to run.
    if std::env::args().any(|a| a == "--bench")
        && let Some(file) = std::env::var_os("SAFETYTWIN_FIGURES")
    {
        let figures = [diffs(), writing()].concat();
        let sheet = json!({
            "name": "pure",
            "conditions": [
                ["measured", format!("{:.0}, by `cargo bench`, one thread", jiff::Timestamp::now())],
                ["machine", processor()],
            ],
            "figures": figures,
        });
        std::fs::write(file, sheet.to_string()).expect("SAFETYTWIN_FIGURES names a file that can be written");
    }
}

/// Its name, as Linux has it.
fn processor() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    model
        .map_or("unknown", |text| text.trim_matches([' ', '\t', ':']))
        .to_owned()
}

fn diffs() -> Vec<Value> {
    let (before, after, compared) = changed();
    let changes = compared.diff().changes;
    assert!(
        changes.added.len() == 20 && changes.changed.len() == 40,
        "the states differ as meant"
    );
    let two = figure(
        "diff of two states of 1,000 units and 1,000 processes, 60 changes",
        median(|| compared.diff()),
        Some(5e-3),
        "json-patch",
        median(|| json_patch::diff(&before, &after)),
    );
    let (before, after, compared) = equal();
    assert!(in_sync(&compared.input()), "the states are equal");
    let equal = figure(
        "diff of equal states of 1,000 units and 1,000 processes",
        median(|| in_sync(&compared.input())),
        Some(50e-6),
        "json-patch",
        median(|| json_patch::diff(&before, &after)),
    );
    vec![two, equal]
}

fn writing() -> Vec<Value> {
    let state = State::new(1000, 0);
    let rendered = desired(&state.items, &states::spec()).items.len();
    assert!(rendered == 1000, "every unit is rendered");
    vec![
        figure(
            "selection, rendering and digests of 1,000 units",
            median(|| desired(&state.items, &states::spec())),
            None,
            "serde_yaml, SHA-256",
            median(|| each(&state, yaml_and_sha256)),
        ),
        figure(
            "digests of 1,000 units (canonical JSON, blake3)",
            median(|| each(&state, digest)),
            None,
            "serde_json, SHA-256",
            median(|| each(&state, json_and_sha256)),
        ),
    ]
}
