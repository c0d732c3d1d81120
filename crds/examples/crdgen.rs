//! Writes every CustomResourceDefinition to `crds/*.yaml` and to the Helm chart, from the Rust
//! types. `make generate` runs it; `make check` runs it with `--check`, which writes nothing and
//! fails when a file is stale, missing or left over.
//!
//! An example, not a binary, so that the YAML writer stays a development dependency.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

const HEADER: &str = "# Generated from the Rust types in crds/src by `make generate`. Do not edit.\n";

fn main() -> ExitCode {
    let check = env::args().skip(1).any(|a| a == "--check");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    match generate(root, check) {
        Ok(stale) if stale.is_empty() => ExitCode::SUCCESS,
        Ok(stale) => {
            for path in stale {
                eprintln!("stale: {}", path.display());
            }
            eprintln!("run `make generate` and commit the result");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("failed to generate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Brings both folders up to date; with `check` only answers which files are not.
fn generate(root: &Path, check: bool) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let (mut plain, mut chart) = (BTreeMap::new(), BTreeMap::new());
    for mut crd in safetytwin_crds::all() {
        crd.metadata
            .labels
            .get_or_insert_default()
            .insert("app.kubernetes.io/part-of".into(), "safetytwin".into());
        let name = format!("{}.yaml", crd.spec.names.plural);
        plain.insert(name.clone(), format!("{HEADER}{}", serde_yaml::to_string(&crd)?));
        chart.insert(name, chart_template(crd)?);
    }
    let mut stale = sync(&root.join("crds"), &plain, check)?;
    stale.extend(sync(
        &root.join("charts/safetytwin/templates/crds"),
        &chart,
        check,
    )?);
    Ok(stale)
}

/// The chart's form: kept when the release is uninstalled, because deleting a CRD deletes every
/// object of its kind.
fn chart_template(mut crd: CustomResourceDefinition) -> Result<String, Box<dyn std::error::Error>> {
    crd.metadata
        .annotations
        .get_or_insert_default()
        .insert("helm.sh/resource-policy".into(), "keep".into());
    let body = serde_yaml::to_string(&crd)?;
    if body.contains("{{") {
        return Err(format!("{} contains a template action", crd.spec.names.kind).into());
    }
    Ok(format!(
        "{HEADER}{{{{- if .Values.crds.install }}}}\n{body}{{{{- end }}}}\n"
    ))
}

/// Makes the `*.yaml` files of `folder` equal to `wanted`; answers which ones differed.
fn sync(folder: &Path, wanted: &BTreeMap<String, String>, check: bool) -> io::Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    if !check {
        fs::create_dir_all(folder)?;
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.ends_with(".yaml") && !wanted.contains_key(name) {
            if !check {
                fs::remove_file(&path)?;
            }
            stale.push(path);
        }
    }
    for (name, body) in wanted {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(body) {
            if !check {
                fs::write(&path, body)?;
            }
            stale.push(path);
        }
    }
    if !check {
        for path in stale.drain(..) {
            println!("wrote {}", path.display());
        }
    }
    Ok(stale)
}
