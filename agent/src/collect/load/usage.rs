//! What running services and containers use, by their control groups (cgroups(7), version 2): one walk of the slices, a
//! small file of each, and of each group that has used the processor before; three more of one that has used it since.
//! What a slice has used beyond what is known of its groups, those that do nothing have used: they are looked at when
//! that has grown. A service that does not run has no group.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use safetytwin_crds::item::observed::UnitUsage;
use safetytwin_crds::names::printable;

use super::slices::{Member, ROOT, Slice, slices};
use crate::collect::steady::held;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

const LIMIT: u64 = 256 * 1024;

/// What a service that does nothing has: its memory goes only where others need it. Read again after this time.
const IDLE: Duration = Duration::from_secs(300);
/// What all idle groups of a slice may use together before they are looked at, in ns: about what those that run use
/// between the look at the slice and at them. A slice that has used less than before was made anew.
const UNNOTICED: RangeInclusive<i128> = -5_000_000..=5_000_000;

/// What was read of each group, by its directory.
#[derive(Default)]
pub struct Groups {
    known: BTreeMap<String, Group>,
    /// By directory of a slice: its processor time beyond that of its groups, when all of them were looked at.
    beyond: HashMap<String, i128>,
}

struct Group {
    read: Instant,
    /// It had not used the processor when it was looked at last.
    idle: bool,
    /// As the kernel counts it.
    cpu: Option<u64>,
    usage: UnitUsage,
}

impl Group {
    fn is_idle(&self, now: Instant) -> bool {
        self.idle && self.is_fresh(now)
    }

    /// What was read counts still, if it has not used the processor since.
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.read) < IDLE
    }
}

impl Groups {
    /// Usage of every running service, and of every container as the scope of its engine
    /// (`docker-ID.scope`), by name; the error is for people.
    pub fn usage(&mut self, root: &HostRoot, redactor: &Redactor) -> Result<Vec<UnitUsage>, String> {
        self.usage_at(root, redactor, Instant::now())
    }

    fn usage_at(
        &mut self,
        root: &HostRoot,
        redactor: &Redactor,
        now: Instant,
    ) -> Result<Vec<UnitUsage>, String> {
        root.read(&format!("{ROOT}/cgroup.controllers"), LIMIT)
            .map_err(|error| format!("no control groups of version 2: {error}"))?;
        let slices = slices(root)?;
        let total = |slice: &Slice| (slice.dir.clone(), Files::of(root, &slice.dir).cpu());
        let mut look = Look {
            root,
            redactor,
            now,
            // Before their groups: what these use meanwhile is never taken for what idle ones used.
            totals: slices.iter().map(total).collect(),
            before: std::mem::take(&mut self.known),
            known: BTreeMap::new(),
        };
        let before = std::mem::take(&mut self.beyond);
        for slice in &slices {
            let beyond = look.at(slice, before.get(&slice.dir).copied());
            self.beyond
                .extend(beyond.map(|beyond| (slice.dir.clone(), beyond)));
        }
        self.known = look.known;
        let mut all: Vec<UnitUsage> = self.known.values().map(|group| group.usage.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

/// A look at all groups.
struct Look<'a> {
    root: &'a HostRoot,
    redactor: &'a Redactor,
    now: Instant,
    /// Processor time by slice, of all below it.
    totals: HashMap<String, Option<u64>>,
    before: BTreeMap<String, Group>,
    known: BTreeMap<String, Group>,
}

impl Look<'_> {
    /// Looks at the groups of a slice, at the idle ones if more than what is known of all has been used. Says how far
    /// the slice is beyond its groups when all of them were looked at; `before` is that of the last time.
    fn at(&mut self, slice: &Slice, before: Option<i128>) -> Option<i128> {
        let mut idle = Vec::new();
        for group in &slice.groups {
            match self.before.remove(&group.dir) {
                Some(known) if known.is_idle(self.now) => {
                    self.known.insert(group.dir.clone(), known);
                    idle.push(group);
                }
                known => self.group(group, known),
            }
        }
        let grown = self.beyond(slice).zip(before).map(|(now, before)| now - before);
        if grown.is_some_and(|grown| UNNOTICED.contains(&grown)) {
            return before;
        }
        for group in idle {
            let known = self.known.remove(&group.dir);
            self.group(group, known);
        }
        self.beyond(slice)
    }

    fn group(&mut self, group: &Member, known: Option<Group>) {
        let look = Files::of(self.root, &group.dir).look(known, self.now, || {
            // As the unit itself is called: an instance may be named by a secret.
            printable(&self.redactor.name(&group.name).text, 256)
        });
        self.known.insert(group.dir.clone(), look);
    }

    /// Processor time of a slice beyond what is known of its groups and of the slices in it, in ns; none where any of
    /// them is not known.
    fn beyond(&self, slice: &Slice) -> Option<i128> {
        let total = |dir: &String| self.totals.get(dir).copied().flatten().map(i128::from);
        let group = |group: &Member| self.known.get(&group.dir)?.cpu.map(i128::from);
        let within = slice
            .slices
            .iter()
            .map(total)
            .chain(slice.groups.iter().map(group));
        Some(total(&slice.dir)? - within.sum::<Option<i128>>()?)
    }
}

/// The files of a group.
struct Files<'a> {
    root: &'a HostRoot,
    dir: &'a str,
}

impl<'a> Files<'a> {
    fn of(root: &'a HostRoot, dir: &'a str) -> Self {
        Self { root, dir }
    }

    /// Its processor time, in ns.
    fn cpu(&self) -> Option<u64> {
        self.read("cpu.stat").and_then(|text| cpu_nsec(&text))
    }

    /// Absent without the controller; a service that ends meanwhile has nothing to say.
    fn read(&self, file: &str) -> Option<String> {
        let path = format!("{}/{file}", self.dir);
        let bytes = match self.root.read_record(&path) {
            // Hundreds of devices.
            Err(error) if error.raw_os_error() == Some(Errno::FBIG.raw_os_error()) => {
                self.root.read(&path, LIMIT).ok()?
            }
            result => result.ok()?,
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The group as it was, unless it has used the processor; numbers stand still while they are near what was said.
    fn look(&self, known: Option<Group>, now: Instant, name: impl FnOnce() -> String) -> Group {
        let cpu = self.cpu();
        let idle = |known: &Group| cpu.is_some() && known.cpu == cpu && known.is_fresh(now);
        let last = match known {
            Some(known) if idle(&known) => return Group { idle: true, ..known },
            known => known.map(|known| known.usage).unwrap_or_default(),
        };
        let hold = |last, now: Option<u64>| now.map(|now| held(last, now));
        let number = |file: &str| self.read(file)?.trim().parse::<u64>().ok();
        let io = self.read("io.stat");
        let moved = |key: &str| io.as_ref().map(|text| sum(text, key));
        let usage = UnitUsage {
            cpu_usage_nsec: hold(last.cpu_usage_nsec, cpu),
            memory_current: hold(last.memory_current, number("memory.current")),
            tasks_current: hold(last.tasks_current, number("pids.current")),
            io_read_bytes: hold(last.io_read_bytes, moved("rbytes=")),
            io_write_bytes: hold(last.io_write_bytes, moved("wbytes=")),
            name: name(),
        };
        Group {
            read: now,
            idle: false,
            cpu,
            usage,
        }
    }
}

/// `usage_usec` of `cpu.stat`, as systemd gives it.
fn cpu_nsec(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    line.trim().parse::<u64>().ok()?.checked_mul(1000)
}

/// A counter of `io.stat` over all devices.
fn sum(text: &str, key: &str) -> u64 {
    let values = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
