//! `twin crds`: prints the CustomResourceDefinitions of this build.

use super::output::{self, Format};

/// Arguments of `twin crds`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  twin crds | kubectl apply --server-side -f -")]
pub struct Args {
    /// Only the kind of this plural name: digitaltwins, hoststates …
    plural: Option<String>,
}

/// Prints all kinds, or one.
pub fn run(args: &Args, format: Format) -> anyhow::Result<()> {
    let kinds: Vec<_> = safetytwin_crds::all()
        .into_iter()
        .filter(|crd| args.plural.as_ref().is_none_or(|p| *p == crd.spec.names.plural))
        .collect();
    if kinds.is_empty() {
        anyhow::bail!("no kind has this plural name; `twin crds` prints all");
    }
    if format == Format::Json {
        return output::write(&format!("{}\n", serde_json::to_string_pretty(&kinds)?));
    }
    for kind in kinds {
        output::write(&format!("---\n{}", serde_yaml::to_string(&kind)?))?;
    }
    Ok(())
}
