//! The report for people.

use std::fmt;

use safetytwin_crds::digitaltwin::NotReplicated;

use super::Report;

/// Lines of each list.
const MAX_LINES: usize = 40;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({})",
            self.host,
            if self.os.is_empty() {
                "unknown system"
            } else {
                &self.os
            }
        )?;
        writeln!(
            f,
            "\n{:<12} {:>7} {:>6} {:>12} {:>14}",
            "KIND", "ON HOST", "EQUAL", "SUBSTITUTED", "NOT REPLICABLE"
        )?;
        for kind in &self.kinds {
            let total = kind.total.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
            let missing: usize = kind.not_replicable.values().sum();
            writeln!(
                f,
                "{:<12} {total:>7} {:>6} {:>12} {missing:>14}",
                kind.kind, kind.equal, kind.substituted
            )?;
        }
        for kind in self.kinds.iter().filter(|k| !k.not_replicable.is_empty()) {
            let reasons: Vec<String> = kind
                .not_replicable
                .iter()
                .map(|(r, n)| format!("{n} {r}"))
                .collect();
            writeln!(f, "\n{} not replicable: {}", kind.kind, reasons.join(", "))?;
        }
        list(f, "Incomplete", self.incomplete.iter().cloned())?;
        list(f, "With something standing in", self.substituted.iter().map(line))?;
        list(f, "Not in the twin", self.not_replicable.iter().map(line))?;
        list(
            f,
            "The twin's image must have these units",
            self.needs.vendor_units.iter().cloned(),
        )?;
        list(
            f,
            "The twin's image must have these executables",
            self.needs.executables.iter().cloned(),
        )?;
        list(
            f,
            "The twin's image must have these container images",
            self.needs.images.iter().cloned(),
        )
    }
}

fn line(item: &NotReplicated) -> String {
    format!(
        "{:<44} {:<20} {}",
        item.item,
        format!("{:?}", item.reason),
        item.message
    )
}

fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    let total = lines.len();
    if total == 0 {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    for line in lines.take(MAX_LINES) {
        writeln!(f, "  {line}")?;
    }
    if total > MAX_LINES {
        writeln!(f, "  and {} more (-o json lists all)", total - MAX_LINES)?;
    }
    Ok(())
}
