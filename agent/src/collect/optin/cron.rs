//! Cron jobs: crontab(5) files of the system and of users. Command lines are redacted; of the
//! variables that a crontab sets only the names are kept.

use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::CronItem;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use super::text::{is_clean, names, read};
use super::{Listed, Look, Source};
use crate::collect::CollectError;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

const SYSTEM: &str = "/etc/crontab";
const SYSTEM_DIRECTORY: &str = "/etc/cron.d";
/// Where users' crontabs are: Debian's, SUSE's, and what others have.
const SPOOLS: [&str; 3] = [
    "/var/spool/cron/crontabs",
    "/var/spool/cron/tabs",
    "/var/spool/cron",
];
const LONGEST: usize = 4096;
const MOST: usize = 10_000;

/// The source.
pub struct Crontabs(pub Redactor);

impl Source for Crontabs {
    const SECTION: SectionName = SectionName::Cron;

    fn directories(&self, _: &HostRoot) -> Vec<String> {
        let fixed = ["/etc", SYSTEM_DIRECTORY];
        fixed.iter().chain(&SPOOLS).map(|d| (*d).to_owned()).collect()
    }

    /// In `/etc` there are others too; a look costs little.
    fn matters(name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| is_table(name) || is_spooled(name))
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let mut gaps = Vec::new();
        let mut jobs = Jobs {
            redactor: &self.0,
            items: Vec::new(),
            refused: 0,
            left_out: 0,
        };
        if let Some(text) = read(root, SYSTEM, &mut gaps) {
            jobs.add(SYSTEM, None, &text);
        }
        for name in names(root, SYSTEM_DIRECTORY, is_table, &mut gaps) {
            let path = format!("{SYSTEM_DIRECTORY}/{name}");
            if let Some(text) = read(root, &path, &mut gaps) {
                jobs.add(&path, None, &text);
            }
        }
        for spool in SPOOLS {
            for user in names(root, spool, is_spooled, &mut gaps) {
                let path = format!("{spool}/{user}");
                // `/var/spool/cron/crontabs` is a directory of the third.
                if SPOOLS.contains(&path.as_str()) {
                    continue;
                }
                if let Some(text) = read(root, &path, &mut gaps) {
                    jobs.add(&path, Some(&user), &text);
                }
            }
        }
        jobs.finish(gaps)
    }
}

/// Jobs so far, and lines that are none.
struct Jobs<'a> {
    redactor: &'a Redactor,
    items: Vec<CronItem>,
    refused: usize,
    left_out: usize,
}

impl Jobs<'_> {
    /// Adds the lines of a crontab; without `user` each line names its own.
    fn add(&mut self, source: &str, user: Option<&str>, text: &str) {
        let mut variables = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = variable(line) {
                variables.push(name.to_owned());
                variables.sort();
                variables.dedup();
                continue;
            }
            match job(self.redactor, source, user, line) {
                Some(_) if self.items.len() >= MOST => self.left_out += 1,
                Some(item) => self.items.push(CronItem {
                    environment_names: variables.clone(),
                    ..item
                }),
                None => self.refused += 1,
            }
        }
    }

    fn finish(mut self, mut gaps: Vec<String>) -> Result<Look, CollectError> {
        if self.refused > 0 {
            gaps.push(format!(
                "{} lines of crontabs are not of their form",
                self.refused
            ));
        }
        if self.left_out > 0 {
            gaps.push(format!("{} jobs more than {MOST}", self.left_out));
        }
        self.items
            .sort_by(|a, b| (&a.source, &a.key).cmp(&(&b.source, &b.key)));
        let mut ordinal = 0;
        let mut before = String::new();
        for item in &mut self.items {
            ordinal = if item.key == before { ordinal + 1 } else { 0 };
            before.clone_from(&item.key);
            if ordinal > 0 {
                item.key = format!("{}.{ordinal}", item.key);
            }
        }
        Ok(Look {
            items: Listed::of(&self.items, &mut gaps)?,
            gaps,
        })
    }
}

/// The name of a variable that a line sets; none for another line.
fn variable(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim().trim_matches(['"', '\'']);
    let of = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = name.bytes().next()?;
    (name.len() <= 128 && !first.is_ascii_digit() && name.bytes().all(of)).then_some(name)
}

fn job(redactor: &Redactor, source: &str, user: Option<&str>, line: &str) -> Option<CronItem> {
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let (schedule, rest) = take(line, fields)?;
    let (user, command) = match user {
        Some(user) => (user.to_owned(), rest),
        None => take(rest, 1)?,
    };
    if command.is_empty() || !is_schedule(&schedule) || !is_user(&user) {
        return None;
    }
    let redacted = redactor.text(command);
    let command = printable(&redacted.text, LONGEST);
    let parts = [schedule.as_str(), &user, &command];
    let digest = Digest::of_fields(parts.map(str::as_bytes)).to_string();
    Some(CronItem {
        key: format!("{source}#{}", digest.get(..16).unwrap_or_default()),
        source: source.to_owned(),
        schedule,
        user,
        command,
        redactions: redacted.count,
        environment_names: Vec::new(),
    })
}

/// The first `count` words with one space between, and what follows them.
fn take(line: &str, count: usize) -> Option<(String, &str)> {
    let mut words = Vec::with_capacity(count);
    let mut rest = line;
    for _ in 0..count {
        let (word, after) = rest.trim_start().split_once([' ', '\t'])?;
        words.push(word);
        rest = after;
    }
    Some((words.join(" "), rest.trim_start()))
}

fn is_schedule(schedule: &str) -> bool {
    let of = |b: u8| b.is_ascii_alphanumeric() || b"*/,-@ ~?#".contains(&b);
    (1..=256).contains(&schedule.len()) && schedule.bytes().all(of)
}

/// Names that cron reads in `/etc/cron.d` (cron(8)): no dot, so no editor's nor dpkg's leftovers.
fn is_table(name: &str) -> bool {
    let of = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=128).contains(&name.len()) && name.bytes().all(of)
}

/// A user's crontab; crontab(1) writes `tmp.XXXX` first.
fn is_spooled(name: &str) -> bool {
    is_user(name) && !name.starts_with("tmp.")
}

fn is_user(name: &str) -> bool {
    let clean = is_clean(name) && !name.contains([' ', '/', ':', '#']);
    clean && (1..=256).contains(&name.len()) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_job_a_variable_or_neither() {
        assert_eq!(variable("MAILTO=root"), Some("MAILTO"));
        assert_eq!(variable("*/5 * * * * root A=1 x"), None);
        let job = |line| super::job(&super::Redactor::default(), "/etc/crontab", None, line);
        let nightly = job("17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly").unwrap();
        assert_eq!(
            (nightly.schedule.as_str(), nightly.user.as_str()),
            ("17 * * * *", "root")
        );
        assert_eq!(nightly.command, "cd / && run-parts --report /etc/cron.hourly");
        assert_eq!(job("@reboot web /bin/x").unwrap().schedule, "@reboot");
        assert_eq!(job("* * * *"), None);
        assert_eq!(job("$(x) * * * * root y"), None);
    }
}
