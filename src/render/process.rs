//! Independent processes: a generated service each.

use askama::Template;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::item::{ProcessItem, Reason};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::DesiredFile;

use super::unit::{is_account_name, values};
use super::{MAX_LINE, Refusal, Rendered, UNIT_DIR, escape, unit_file};

#[derive(Template)]
#[template(path = "process.service")]
struct ProcessUnit<'a> {
    comm: &'a str,
    exec: &'a str,
    directory: Option<&'a str>,
    user: Option<String>,
    group: Option<String>,
}

/// `twin-process-<slug of comm>-<key>.service`.
pub fn unit_name(item: &ProcessItem) -> Result<UnitName, Refusal> {
    if item.key.len() != 16 || !item.key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Refusal::invalid("its key is not 16 hex digits"));
    }
    let name = format!("twin-process-{}-{}.service", slug(&item.comm.lossy()), item.key);
    name.parse().map_err(|e| Refusal::invalid(format!("{e}")))
}

/// Lower-case letters, digits and single hyphens of a name, at most 32 bytes, never empty.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().take(64) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(32);
    match slug.trim_end_matches('-') {
        "" => "process".to_owned(),
        slug => slug.to_owned(),
    }
}

/// Renders a process.
pub fn render(item: &ProcessItem) -> Result<Rendered, Refusal> {
    let unit = unit_name(item)?;
    if item.truncated {
        return Err(Refusal::new(
            Reason::ArgvTooLong,
            "its arguments are longer than 64 KiB",
        ));
    }
    if item.argv.is_empty() {
        return Err(Refusal::invalid(
            "it has no arguments: a kernel thread, or it hides them",
        ));
    }
    let mut rendered = Rendered::default();
    let executable = executable(item)?;
    let argv: Vec<&[u8]> = item.argv.iter().map(|a| a.0.as_slice()).collect();
    let exec = escape::exec_line(executable.as_bytes(), &argv);
    if exec.len() > MAX_LINE {
        return Err(Refusal::new(
            Reason::ArgvTooLong,
            "its command line is longer than 64 KiB when escaped",
        ));
    }
    if item.redactions > 0 {
        let detail = format!("{} redacted", values(item.redactions));
        rendered.substitute(Reason::Redacted, detail);
    }
    let directory = directory(item)?;
    if directory.is_none() {
        let detail = "its working directory on the host is not known: it starts in /";
        rendered.substitute(Reason::MissingDirectory, detail);
    }
    let text = ProcessUnit {
        comm: &item.comm.lossy(),
        exec: &exec,
        directory: directory.as_deref(),
        user: account(&item.user)?,
        group: account(&item.group)?,
    }
    .render()
    .map_err(|e| Refusal::invalid(format!("no unit: {e}")))?;
    let text = check(&text, &["Unit", "Service", "Install"])?;
    rendered.needs.executables = vec![executable];
    rendered.needs.directory = directory.filter(|d| d != "/");
    rendered.needs.user = Some(item.user.clone()).filter(is_named);
    rendered.needs.group = Some(item.group.clone()).filter(is_named);
    rendered.installable = true;
    rendered.files.push(DesiredFile {
        path: format!("{UNIT_DIR}/{unit}"),
        content: text,
    });
    Ok(rendered)
}

/// The file to run: what the kernel says; where that could not be read, an absolute argv[0].
fn executable(item: &ProcessItem) -> Result<String, Refusal> {
    if item.executable_gone {
        return Err(Refusal::new(
            Reason::ExecutableDeleted,
            "the file that it runs was deleted or replaced on the host",
        ));
    }
    let first = item.argv.first().filter(|a| a.0.starts_with(b"/"));
    let path = item.executable.as_ref().or(first).ok_or_else(|| {
        Refusal::new(
            Reason::ExecutableUnknown,
            "the agent may not read which file it runs; it may at level full (chart: agent.level=full)",
        )
    })?;
    match std::str::from_utf8(&path.0) {
        // What systemd takes for special in the name of an executable, however it is quoted.
        Ok(path) if is_clean_path(path) && !path.contains(['"', '\'', '\\']) => Ok(path.to_owned()),
        _ => Err(Refusal::invalid(
            "the path of its executable is not absolute and plain",
        )),
    }
}

fn directory(item: &ProcessItem) -> Result<Option<String>, Refusal> {
    let Some(path) = &item.working_directory else {
        return Ok(None);
    };
    match std::str::from_utf8(&path.0) {
        // The template's escaper would change a backslash.
        Ok(path) if is_clean_path(path) && !path.contains('\\') => Ok(Some(path.to_owned())),
        _ => Err(Refusal::invalid(
            "its working directory cannot be written in a unit file",
        )),
    }
}

/// An absolute path without `.`, `..` and empty parts, with nothing that ends a line.
pub(super) fn is_clean_path(path: &str) -> bool {
    let Some(below) = path.strip_prefix('/') else {
        return false;
    };
    let parts = || below.split('/');
    path.len() < 4096
        && escape::is_plain_value(path)
        && (below.is_empty() || parts().all(|part| !matches!(part, "" | "." | "..")))
}

/// What stands behind `User=` or `Group=`; nothing for root.
fn account(account: &Account) -> Result<Option<String>, Refusal> {
    match account {
        Account { id: Some(0), .. } => Ok(None),
        Account { name, .. } if is_account_name(name) => {
            Ok(Some(name.clone())).map(|n| n.filter(|n| n != "root"))
        }
        Account {
            name, id: Some(id), ..
        } if name.is_empty() => Ok(Some(id.to_string())),
        _ => Err(Refusal::invalid("its user or group has no acceptable name")),
    }
}

fn is_named(account: &Account) -> bool {
    account.id != Some(0) && account.name != "root" && !account.name.is_empty()
}

/// Reads a generated unit back and answers the text to write: nothing that went into it may have
/// made another section or another line.
pub(super) fn check(text: &str, sections: &[&str]) -> Result<String, Refusal> {
    let unit = unit_file::read("the generated unit", text)?;
    let written = unit.write();
    let same_sections = unit
        .sections
        .iter()
        .map(|s| s.name.as_str())
        .eq(sections.iter().copied());
    if same_sections && written.trim_end() == text.trim_end() {
        Ok(written)
    } else {
        Err(Refusal::invalid(
            "the generated unit does not read back as it was meant",
        ))
    }
}
