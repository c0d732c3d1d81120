//! Figures of the pure part: diff of two states, of equal states, rendering and digests.
//!
//! `cargo bench -p safetytwin --bench plan` prints divan's table, then each figure beside its goal
//! and beside a peer from the same run: what a straightforward program does with the same states
//! (json-patch over JSON values, serde_json for writing).

// A benchmark may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod states;

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::Bencher;
use safetytwin::plan::diff::{DiffInput, in_sync};
use safetytwin::plan::{Diff, Observation, desired, diff};
use safetytwin_crds::digitaltwin::Replicate;
use safetytwin_crds::manifest::Manifest;
use safetytwin_crds::revision::Content;
use serde_json::Value;
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
fn write_1000_units_as_json(bencher: Bencher<'_, '_>) {
    let json = State::new(1000, 0).json();
    bencher.bench_local(|| serde_json::to_string_pretty(&json));
}

/// Median time of one call.
fn median<T>(mut call: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            black_box(call());
            start.elapsed()
        })
        .collect();
    times.sort();
    times.get(SAMPLES / 2).copied().unwrap_or_default()
}

fn figure(what: &str, ours: Duration, goal: Option<Duration>, peer: &str, theirs: Duration) {
    let goal = goal.map_or_else(String::new, |goal| {
        format!("  goal {goal:?} {}", if ours <= goal { "met" } else { "MISSED" })
    });
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64().max(f64::MIN_POSITIVE);
    println!("{what:<58} {ours:>10.1?}{goal}  {peer} {theirs:.1?}, {ratio:.1} times ours");
}

fn main() {
    divan::main();
    // As a test it only has to run.
    if std::env::args().any(|a| a == "--bench") {
        print_figures();
    }
}

fn print_figures() {
    println!("\nmedian of {SAMPLES}, 1,000 units and 1,000 processes:");
    let (before, after, compared) = changed();
    let changes = compared.diff().changes;
    assert!(
        changes.added.len() == 20 && changes.changed.len() == 40,
        "the states differ as meant"
    );
    figure(
        "diff of two states (60 changes)",
        median(|| compared.diff()),
        Some(Duration::from_millis(5)),
        "json-patch",
        median(|| json_patch::diff(&before, &after)),
    );
    let (before, after, compared) = equal();
    assert!(in_sync(&compared.input()), "the states are equal");
    figure(
        "diff of equal states",
        median(|| in_sync(&compared.input())),
        Some(Duration::from_micros(50)),
        "json-patch",
        median(|| json_patch::diff(&before, &after)),
    );
    let state = State::new(1000, 0);
    let json = state.json();
    figure(
        "selection, rendering and digests of 1,000 units",
        median(|| desired(&state.items, &states::spec())),
        None,
        "serde_json, writing only",
        median(|| serde_json::to_string_pretty(&json)),
    );
}
