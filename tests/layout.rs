//! The shape of the source: imports flow one way, and files and functions stay readable.
//!
//! `crds ← all; facts ← render ← plan; {plan, vm, guest} ← execute ← controller ← cli ← main`;
//! `vm` and `guest` never see each other, `plan` or `render`; the agent and the controller never
//! see each other; the end-to-end tests see the kinds and the binaries only.

// Tests may fail by panicking, also in what several of them share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{blank_comments_and_strings, crate_paths, long_functions, without_tests};

/// A top-level module of the root crate and what it may import of the others.
const LAYERS: &[(&str, &[&str])] = &[
    ("facts", &[]),
    ("telemetry", &[]),
    ("render", &["facts"]),
    ("plan", &["facts", "render"]),
    ("vm", &["facts"]),
    ("guest", &["facts"]),
    ("execute", &["facts", "render", "plan", "vm", "guest"]),
    ("export", &["facts", "render", "plan"]),
    ("web", &["facts", "plan", "telemetry"]),
    (
        "controller",
        &[
            "facts",
            "telemetry",
            "render",
            "plan",
            "vm",
            "guest",
            "execute",
            "export",
            "web",
        ],
    ),
    (
        "cli",
        &[
            "facts",
            "telemetry",
            "render",
            "plan",
            "vm",
            "guest",
            "execute",
            "export",
            "web",
            "controller",
        ],
    ),
    // `main.rs` and `lib.rs`.
    ("main", &["cli", "telemetry"]),
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, sorted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The module path of a file below `src`: `["vm", "libvirt"]` for `vm/libvirt/mod.rs`.
fn module_path(file: &Path) -> Vec<String> {
    let below = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut path: Vec<String> = below.iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    if path
        .last()
        .is_some_and(|p| p == "mod" || p == "lib" || p == "main")
    {
        path.pop();
    }
    path
}

fn name_of(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn imports_flow_one_way() {
    let layers: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("src")) {
        let path = module_path(&file);
        let layer = path.first().map_or("main", String::as_str);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            wrong.push(format!(
                "{}: give module {layer} its layer in tests/layout.rs",
                name_of(&file)
            ));
            continue;
        };
        let text = blank_comments_and_strings(&fs::read_to_string(&file).unwrap());
        for target in crate_paths(&text, path.len()) {
            let upward = target != layer && !allowed.contains(&target.as_str());
            if layers.contains(target.as_str()) && upward {
                wrong.push(format!("{}: {layer} must not import {target}", name_of(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "upward imports:\n{}", wrong.join("\n"));
}

#[test]
fn crates_depend_one_way() {
    let of_ours = |manifest: &str| -> Vec<String> {
        fs::read_to_string(root().join(manifest))
            .unwrap()
            .lines()
            .skip_while(|line| *line != "[dependencies]")
            .filter(|line| line.starts_with("safetytwin"))
            .map(|line| line.split(['.', ' ', '=']).next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of_ours("crds/Cargo.toml"), Vec::<String>::new());
    for manifest in ["Cargo.toml", "agent/Cargo.toml", "e2e/Cargo.toml"] {
        assert_eq!(of_ours(manifest), ["safetytwin-crds"], "{manifest}");
    }
}

#[test]
fn files_and_functions_stay_readable() {
    let mut wrong = Vec::new();
    for folder in ["src", "crds", "agent", "e2e", "tests"] {
        for file in rust_files(&root().join(folder)) {
            let whole = fs::read_to_string(&file).unwrap();
            let text = without_tests(&whole);
            let lines = text.lines().count();
            if lines > MAX_FILE_LINES {
                wrong.push(format!(
                    "{}: {lines} lines, at most {MAX_FILE_LINES}",
                    name_of(&file)
                ));
            }
            for (function, lines) in long_functions(text, MAX_FUNCTION_LINES) {
                wrong.push(format!(
                    "{}: fn {function} has {lines} lines, at most {MAX_FUNCTION_LINES}",
                    name_of(&file)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}

#[test]
fn an_upward_import_is_found_in_every_spelling() {
    for text in [
        "use crate::vm::TwinVm;",
        "use crate::{\n    facts::Fact,\n    vm::{TwinVm, Point},\n};",
        "use super::vm::TwinVm;",
        "fn f() -> crate::vm::Point { todo!() }",
        "use crate::{plan::{a, b::{c}}, vm};",
    ] {
        let found = crate_paths(&blank_comments_and_strings(text), 1);
        assert!(found.iter().any(|m| m == "vm"), "{text}: {found:?}");
    }
    for text in [
        "// use crate::vm::X;",
        "let s = \"crate::vm::X\";",
        "use super::super::x::vm;",
    ] {
        let found = crate_paths(&blank_comments_and_strings(text), 1);
        assert!(!found.iter().any(|m| m == "vm"), "{text}: {found:?}");
    }
}

#[test]
fn a_long_function_is_found_and_braces_in_text_do_not_confuse() {
    let text = "fn short() { let c = '}'; let s = \"}\"; }\nfn long<'a>(x: &'a str) {\n// }\n\n\n}\n";
    assert_eq!(long_functions(text, 4), [("long".to_owned(), 5)]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n}\n"), "a\n");
}
