//! How often something is taken out that is no secret.

use crate::redact::Redactor;

const LINES: &str = include_str!("ordinary.txt");

/// Unit files of this machine.
fn units() -> Vec<(String, String)> {
    let folders = ["/usr/lib/systemd/system", "/usr/lib/systemd/user"];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    files
        .flatten()
        .flatten()
        .filter(|file| file.path().is_file())
        .filter_map(|file| {
            let text = std::fs::read_to_string(file.path()).ok()?;
            Some((file.path().display().to_string(), text))
        })
        .collect()
}

#[test]
fn less_than_one_in_a_hundred_ordinary_units_and_command_lines_is_touched() {
    let redactor = Redactor::default();
    let mut touched = Vec::new();
    let units = units();
    // What the machine's own units run, beside the lines that are kept here.
    let own = units.iter().flat_map(|(_, text)| text.lines());
    let own = own
        .filter(|line| line.starts_with("Exec"))
        .filter_map(|line| line.split_once('='));
    for (path, text) in &units {
        let redacted = redactor.unit(text);
        if redacted.count > 0 {
            touched.push(format!("{path}: {}", redacted.count));
        }
    }
    let lines: Vec<&str> = LINES
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .chain(own.map(|(_, command)| command))
        .collect();
    let in_units = touched.len();
    for line in &lines {
        let argv: Vec<Vec<u8>> = crate::collect::units::tests::planted::words(line);
        if redactor.argv(&argv).1 > 0 || redactor.text(line).count > 0 {
            touched.push((*line).to_owned());
        }
    }
    let items = units.len() + lines.len();
    println!(
        "touched: {in_units} of {} units, {} of {} command lines",
        units.len(),
        touched.len() - in_units,
        lines.len()
    );
    assert!(lines.len() >= 300, "{}", lines.len());
    assert!(touched.len() * 100 < items, "{}", touched.join("\n"));
}
