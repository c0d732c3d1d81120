//! What is read of one process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use safetytwin_crds::item::{ProcessItem, Text};
use safetytwin_crds::redaction;

use super::files::{command_line, effective, mark};
use super::helper::Answer;
use super::listens;
use super::memory::Known;
use super::scan::{Candidate, Scanner, age};
use super::table::Stat;
use crate::collect::accounts::Accounts;
use crate::hostroot::read_plain;

/// About what an item takes: its arguments, and the rest.
pub fn weight(item: &ProcessItem) -> usize {
    512 + item.argv.iter().map(|argument| argument.0.len()).sum::<usize>()
}

impl Scanner {
    /// A process as it was last read, or as it is read now.
    pub fn candidate(&mut self, stat: &Stat, accounts: &Accounts, now: Instant) -> Option<Candidate> {
        let (proc, helper, sockets) = (self.root.proc(), &mut self.helper, &self.sockets);
        let line = || {
            let (argv, truncated) = command_line(&proc.join(stat.pid.to_string()).join("cmdline"))?;
            Some(mark(&argv, truncated))
        };
        let mut listens = || {
            let inodes = helper.sockets(stat.pid).unwrap_or_default();
            listens::of(&inodes, sockets.addresses())
        };
        let known = self.memory.item(stat, |due, known| {
            (!due.line || line() == Some(known.line)) && (!due.sockets || listens() == known.item.listens)
        });
        if let Some(known) = known {
            return Some((*stat, known));
        }
        let (item, line) = self.read(stat, accounts, now)?;
        let base = key(&item, 0);
        let key = base.clone();
        let item = Arc::new(ProcessItem { key, ..item });
        let base = base.into();
        let known = Known { item, base, line };
        self.keep(stat, &known);
        Some((*stat, known))
    }

    /// Remembers a process, once it is old enough: a program that has just started may still change its user and
    /// directory, which nobody tells.
    pub fn keep(&mut self, stat: &Stat, known: &Known) {
        if age(self.uptime, stat) >= self.min_age {
            self.memory.keep(stat, known);
        }
    }

    /// Its item without a key, and the mark of its command line.
    fn read(&mut self, stat: &Stat, accounts: &Accounts, now: Instant) -> Option<(ProcessItem, u64)> {
        let dir = self.root.proc().join(stat.pid.to_string());
        let (argv, truncated) = command_line(&dir.join("cmdline"))?;
        let line = mark(&argv, truncated);
        let status = read_plain(&dir.join("status"), 64 * 1024).ok()?;
        let status = String::from_utf8_lossy(&status).into_owned();
        let (user, group) = (effective(&status, "Uid:")?, effective(&status, "Gid:")?);
        let mut unknown = Vec::new();
        // It may listen since the tables were read.
        self.others_listen |= self.sockets.look(&self.root, now, Duration::ZERO);
        let links = self.helper.links(stat.pid);
        let mut told = |answer: Answer, field: &str| match answer {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                unknown.push(format!("{field}: {why}"));
                None
            }
        };
        let executable = told(links.executable, "executable");
        let cwd = told(links.directory, "workingDirectory");
        let sockets = told(links.sockets, "listens").unwrap_or_default();
        let name = argv.first().cloned().unwrap_or_default();
        // What it runs is no file of the host, or not any more.
        let gone =
            |path: &[u8]| links.elsewhere || path.ends_with(b" (deleted)") || path.starts_with(b"/memfd:");
        let gone = executable.as_deref().is_some_and(gone);
        let mut clean = self.redactor.tally();
        let argv = clean.argv(&argv);
        let comm = match argv.first().is_some_and(|kept| kept.0 != name) {
            // The kernel's short name is the beginning of what was taken out.
            true if !stat.comm.as_bytes().is_empty() => Text(
                clean
                    .whole(&String::from_utf8_lossy(stat.comm.as_bytes()))
                    .into_bytes(),
            ),
            _ => clean.bytes(stat.comm.as_bytes()),
        };
        let executable = executable.map(|path| clean.bytes(&path));
        let cwd = cwd.map(|path| clean.bytes(&path));
        if !self.full && !unknown.is_empty() {
            unknown.push("level: basic does not read other users' links".into());
        }
        let item = ProcessItem {
            key: String::new(),
            comm,
            executable,
            executable_gone: gone,
            argv,
            redactions: clean.count,
            truncated,
            working_directory: cwd,
            user: accounts.user_of(user),
            group: accounts.group_of(group),
            listens: listens::of(&sockets, self.sockets.addresses()),
            ordinal: 0,
            unknown,
        };
        Some((item, line))
    }
}

/// The process whose executable, arguments, directory and user these are.
pub fn key(item: &ProcessItem, ordinal: u32) -> String {
    // A changed secret is a change of the process, not another process.
    let shape = |text: &Text| Text(redaction::shape(&text.0).into_owned());
    let argv: Vec<Text> = item.argv.iter().map(shape).collect();
    let directory = item
        .working_directory
        .as_ref()
        .map_or_else(|| Text(Vec::new()), shape);
    ProcessItem::identity(
        &shape(item.executable.as_ref().unwrap_or(&item.comm)).0,
        &argv,
        &directory.0,
        item.user.id.unwrap_or(u32::MAX),
        ordinal,
    )
}
