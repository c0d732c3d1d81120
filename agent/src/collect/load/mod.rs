//! Load: in the head quantised, so that an idle host's head stays the same; finer, and by service, in
//! `observed`, looked at as often as that may be written. What cannot be read, and why there is no load at all, is said
//! by the section `observed`.

mod fine;
mod slices;
mod usage;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use safetytwin_crds::hoststate::Load;
use safetytwin_crds::item::Observed;
use safetytwin_crds::section::SectionName;

use self::usage::Groups;
use super::steady::Steady;
use super::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::{HostRoot, read_single};
use crate::redact::Redactor;
use crate::settings::Settings;

const LIMIT: u64 = 1024 * 1024;
/// The `observed` section is written no more often.
const FINE: Duration = Duration::from_secs(60);

/// The collector.
pub struct HostLoad {
    root: HostRoot,
    redactor: Redactor,
    interval: Duration,
    /// Busy and total jiffies at the last look (proc_stat(5)).
    jiffies: Option<(u64, u64)>,
    /// What is finer, and when it was looked at.
    observed: Option<(Instant, Arc<Observed>)>,
    /// What was said last of the machine.
    machine: Steady,
    groups: Groups,
}

impl HostLoad {
    /// A collector that looks once per beat.
    pub fn new(settings: &Settings) -> Self {
        Self {
            root: settings.root.clone(),
            redactor: settings.redactor.clone(),
            interval: settings.interval,
            jiffies: None,
            observed: None,
            machine: Steady::default(),
            groups: Groups::default(),
        }
    }

    /// What a file that every Linux has says; why it says nothing goes to `gaps`.
    fn needed<T>(
        &self,
        file: &str,
        gaps: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let path = self.root.proc().join(file);
        let parsed = read_single(&path, LIMIT).map(|bytes| parse(&String::from_utf8_lossy(&bytes)));
        match parsed {
            Ok(Some(parsed)) => return Some(parsed),
            Ok(None) => gaps.push(format!("{} is not as proc(5) says", path.display())),
            Err(error) => gaps.push(error.to_string()),
        }
        None
    }

    /// What goes to `observed`; the files are read every minute.
    fn fine(&mut self) -> Arc<Observed> {
        if let Some((_, observed)) = self.observed.as_ref().filter(|(at, _)| at.elapsed() < FINE) {
            return Arc::clone(observed);
        }
        let (usage, unknown) = match self.groups.usage(&self.root, &self.redactor) {
            Ok(usage) => (usage, Vec::new()),
            Err(why) => (Vec::new(), vec![format!("usage: {why}")]),
        };
        let observed = Arc::new(Observed {
            load: Some(fine::load(&self.root, &mut self.machine)),
            usage,
            unknown,
            ..Observed::default()
        });
        self.observed = Some((Instant::now(), Arc::clone(&observed)));
        observed
    }

    fn cpu_percent(&mut self, gaps: &mut Vec<String>) -> Option<i32> {
        let now = self.needed("stat", gaps, jiffies)?;
        let (busy, total) = self.jiffies.replace(now)?;
        percent(now.0.checked_sub(busy)?, now.1.checked_sub(total)?)
    }

    fn memory_percent(&self, gaps: &mut Vec<String>) -> Option<i32> {
        self.needed("meminfo", gaps, |text| {
            let total = kib(text, "MemTotal")?;
            percent(total.checked_sub(kib(text, "MemAvailable")?)?, total)
        })
    }

    fn load1_centi(&self, gaps: &mut Vec<String>) -> Option<i32> {
        self.needed("loadavg", gaps, |text| {
            let centi = centi(text.split_whitespace().next()?)?;
            i32::try_from(centi.checked_add(5)? / 10 * 10).ok()
        })
    }

    /// None where the kernel does not count it (CONFIG_PSI).
    fn pressure(&self, resource: &str) -> Option<i32> {
        let text = text(self.root.proc(), &format!("pressure/{resource}"))?;
        let average = text.split_once("avg10=")?.1.split_whitespace().next()?;
        let whole: i32 = average.split('.').next()?.parse().ok()?;
        Some(whole.clamp(0, 100))
    }
}

/// A file of procfs that is one record.
fn text(proc: &Path, file: &str) -> Option<String> {
    String::from_utf8(read_single(&proc.join(file), LIMIT).ok()?).ok()
}

/// Hundredths of a number with two decimals.
fn centi(number: &str) -> Option<u64> {
    let (whole, hundredths) = number.split_once('.')?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(100)?;
    whole.checked_add(hundredths.get(..2)?.parse().ok()?)
}

/// A line of `/proc/meminfo` in KiB.
pub fn kib(text: &str, key: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn jiffies(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let values = line.split_whitespace().take(8).map(|v| v.parse().ok());
    let values = values.collect::<Option<Vec<u64>>>()?;
    let idle = values.get(3)?.checked_add(*values.get(4)?)?;
    let total = values
        .iter()
        .try_fold(0u64, |sum, value| sum.checked_add(*value))?;
    Some((total.checked_sub(idle)?, total))
}

/// In steps of 5, so that noise is no change.
fn percent(part: u64, whole: u64) -> Option<i32> {
    let exact = part.checked_mul(100)?.checked_div(whole)?.min(100);
    i32::try_from((exact + 2) / 5 * 5).ok()
}

#[async_trait]
impl Collector for HostLoad {
    fn name(&self) -> &'static str {
        "load"
    }

    fn section(&self) -> Option<SectionName> {
        Some(SectionName::Observed)
    }

    fn audit_interval(&self) -> Duration {
        self.interval
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        let mut gaps = Vec::new();
        let observed = self.fine();
        let content = Content::Load(Load {
            cpu_percent: self.cpu_percent(&mut gaps),
            memory_percent: self.memory_percent(&mut gaps),
            load1_centi: self.load1_centi(&mut gaps),
            cpu_pressure_percent: self.pressure("cpu"),
            memory_pressure_percent: self.pressure("memory"),
            io_pressure_percent: self.pressure("io"),
        });
        Ok(Collected {
            content: content.into(),
            gaps,
            observed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_read_from_procfs_in_coarse_steps() {
        assert_eq!(jiffies("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1\n"), Some((20, 100)));
        let overflow = "cpu  18446744073709551615 1 1 1 1 1 1 1\n";
        assert_eq!(
            (jiffies(overflow), jiffies("cpu 1"), centi("-1.00")),
            (None, None, None)
        );
        assert_eq!(
            kib("MemTotal:  1000 kB\nMemAvailable: 400 kB\n", "MemAvailable"),
            Some(400)
        );
        assert_eq!(
            (percent(51, 100), percent(53, 100), percent(1, 0)),
            (Some(50), Some(55), None)
        );
    }

    #[tokio::test]
    async fn a_file_of_the_load_that_cannot_be_read_is_said_and_the_others_are_told() {
        let proc = tempfile::tempdir().unwrap();
        let path = proc.path().to_str().unwrap();
        std::fs::write(proc.path().join("loadavg"), "0.50 0.1 0.1 1/2 3\n").unwrap();
        std::fs::write(proc.path().join("meminfo"), "MemTotal: many\n").unwrap();
        let words = ["twin-agent", "--node-name=web-01", "--proc", path];
        let cli: crate::cli::Cli = clap::Parser::parse_from(words);
        let mut load = HostLoad::new(&cli.settings(None).unwrap());
        let collected = load.collect(Scope::Audit).await.unwrap();
        let Content::Load(load) = &*collected.content else {
            unreachable!()
        };
        assert_eq!((load.load1_centi, load.memory_percent), (Some(50), None));
        let [stat, memory] = &collected.gaps[..] else {
            panic!("{:?}", collected.gaps);
        };
        assert!(stat.contains(&format!("{path}/stat")), "{stat}");
        assert_eq!(*memory, format!("{path}/meminfo is not as proc(5) says"));
    }
}
