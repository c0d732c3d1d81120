//! How results are written: aligned table, JSON or YAML; colours on a terminal only.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use safetytwin_crds::names::printable;
use serde::Serialize;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Rows for people. Every cell is escaped: names come from hosts.
pub struct Rows {
    table: Table,
}

impl Rows {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let bold = std::io::stdout().is_terminal();
        table.set_header(columns.iter().map(|c| {
            let cell = Cell::new(c);
            if bold {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            }
        }));
        Self { table }
    }

    /// Adds a row.
    pub fn add<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.table
            .add_row(cells.into_iter().map(|c| Cell::new(printable(c.as_ref(), 400))));
    }

    /// The table without trailing blanks.
    pub fn text(&self) -> String {
        self.table
            .lines()
            .map(|line| format!("{}\n", line.trim_end().trim_start_matches(' ')))
            .collect()
    }
}

/// Writes a result: `value` as a document, or the text for people.
pub fn show<T: Serialize>(format: Format, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let out = match format {
        Format::Table => text(),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        Format::Yaml => serde_yaml::to_string(value)?,
    };
    write(&out)
}

/// Writes text to standard output.
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Whether the reader of our output went away.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Time since an RFC 3339 time as kubectl writes it: 42s, 17m, 5h, 9d; empty when it is not a time.
pub fn age(time: Option<&str>, now: jiff::Timestamp) -> String {
    let Some(then) = time.and_then(|t| t.parse::<jiff::Timestamp>().ok()) else {
        return String::new();
    };
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_drive_the_terminal() {
        let mut rows = Rows::new(&["NAME"]);
        rows.add(["\u{1b}[2Jx"]);
        assert_eq!(rows.text(), "NAME\n\\u{1b}[2Jx\n");
    }

    #[test]
    fn ages_are_short_as_kubectl_writes_them() {
        let now: jiff::Timestamp = "2026-11-22T14:30:00Z".parse().unwrap();
        for (then, expected) in [
            ("2026-11-22T14:29:18Z", "42s"),
            ("2026-11-22T14:00:00Z", "30m"),
            ("2026-11-21T20:30:00Z", "18h"),
            ("2026-11-13T14:30:00Z", "9d"),
            ("never", ""),
            // Clocks of hosts that are wrong.
            ("1970-01-01T00:00:00Z", "20779d"),
            ("-009999-01-02T01:59:59Z", "4392365d"),
            ("2106-02-07T06:28:16Z", "0s"),
            ("9999-12-30T22:00:00Z", "0s"),
            ("2016-12-31T23:59:60Z", "3612d"),
        ] {
            assert_eq!(age(Some(then), now), expected);
        }
    }

    #[test]
    fn a_reader_that_went_away_is_recognised_through_layers() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(pipe).context("write")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
