//! A sheet of figures: printed as a table, kept as JSON, and written into a page between markers.
//!
//! `cargo bench` writes the sheet `pure` (`SAFETYTWIN_FIGURES` names the file), `lab bench` the sheet `loop`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figure::Figure;

const HEADINGS: [&str; 5] = ["WHAT", "FIGURE", "GOAL", "PEER", "RATIO"];

/// Figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    /// Name of its place in the page.
    pub name: String,
    /// When it was measured, and with what: title and text.
    #[serde(default)]
    pub conditions: Vec<(String, String)>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What could not be measured, and why.
    #[serde(default)]
    pub missing: Vec<String>,
    /// All samples.
    #[serde(default)]
    pub samples: Value,
}

impl Sheet {
    /// Reads what [`Sheet::save`] or `cargo bench` wrote.
    ///
    /// # Errors
    /// The file is missing or is no sheet.
    pub fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| {
            format!(
                "failed to read the figures in {}, which `make bench` writes",
                file.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} holds no figures", file.display()))
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, file: &Path) -> Result<()> {
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("failed to write {}", file.display()))
    }

    /// An aligned table for a terminal.
    pub fn table(&self) -> String {
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(self.figures.iter().map(Figure::cells));
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths = [0, 1, 2, 3, 4].map(width);
        let line = |row: &[String; 5]| {
            let cells = row.iter().zip(widths);
            let padded: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect::<String>() + &self.missing_lines()
    }

    /// The same as Markdown, after the conditions.
    pub fn markdown(&self) -> String {
        let row = |cells: &[String; 5]| format!("| {} |\n", cells.join(" | "));
        let mut text = list(&self.conditions);
        text.push_str(&row(&HEADINGS.map(str::to_lowercase)));
        text.push_str("|---|---|---|---|---|\n");
        text.extend(self.figures.iter().map(|figure| row(&figure.cells())));
        text + &self.missing_lines()
    }

    fn missing_lines(&self) -> String {
        let lines = self
            .missing
            .iter()
            .map(|what| format!("\nnot measured: {what}\n"));
        lines.collect()
    }
}

/// Titles and texts as a Markdown list, with an empty line after it.
fn list(entries: &[(String, String)]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let lines = entries.iter().map(|(title, text)| format!("- {title}: {text}\n"));
    lines.collect::<String>() + "\n"
}

/// `page` with what stands between the markers `<!-- NAME: … -->` and `<!-- end of NAME -->` replaced.
///
/// # Errors
/// The page lacks a marker.
pub fn placed(page: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}:"), format!("<!-- end of {name} -->"));
    let lacks = |marker: &str| format!("the page has no line {marker:?}");
    let (before, rest) = page.split_once(&begin).with_context(|| lacks(&begin))?;
    let (marker, rest) = rest.split_once("-->\n").with_context(|| lacks(&begin))?;
    let (_, after) = rest.split_once(&end).with_context(|| lacks(&end))?;
    Ok(format!(
        "{before}{begin}{marker}-->\n\n{}\n\n{end}{after}",
        text.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::figure::Unit;
    use super::*;

    fn sheet() -> Sheet {
        Sheet {
            name: "pure".into(),
            conditions: vec![("build".into(), "release".into())],
            figures: vec![
                Figure::new("diff", Unit::Seconds, 0.002).goal(0.005),
                Figure::new("a longer one", Unit::Count, 1.0),
            ],
            missing: vec!["idle: the lab went away".into()],
            samples: Value::Null,
        }
    }

    #[test]
    fn a_table_is_aligned_and_says_what_is_missing() {
        let table = sheet().table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "WHAT          FIGURE  GOAL         PEER  RATIO");
        assert_eq!(lines[1], "diff          2.0 ms  5.0 ms, met  -     -");
        assert!(table.ends_with("not measured: idle: the lab went away\n"));
    }

    #[test]
    fn a_page_keeps_all_but_what_is_between_the_markers() {
        let page = "# P\n\n<!-- pure: by make bench-doc -->\nold\n<!-- end of pure -->\n\nrest\n";
        let first = placed(page, "pure", &sheet().markdown()).unwrap();
        assert!(first.starts_with("# P\n\n<!-- pure: by make bench-doc -->\n\n- build: release\n"));
        assert!(first.contains("| diff | 2.0 ms | 5.0 ms, met | - | - |\n") && !first.contains("old"));
        assert!(first.ends_with("\n\n<!-- end of pure -->\n\nrest\n"));
        assert_eq!(placed(&first, "pure", &sheet().markdown()).unwrap(), first);
    }

    #[test]
    fn a_page_without_markers_is_refused() {
        let error = placed("# P\n", "loop", "x").unwrap_err().to_string();
        assert!(error.contains("<!-- loop:"), "{error}");
    }
}
