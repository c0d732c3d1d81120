//! Load for the head: quantised, so that an idle host's head stays the same.

use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::hoststate::Load;
use safetytwin_crds::section::SectionName;

use super::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::{HostRoot, read_plain};
use crate::settings::Settings;

const LIMIT: u64 = 256 * 1024;

/// The collector.
pub struct HostLoad {
    root: HostRoot,
    interval: Duration,
    /// Busy and total jiffies at the last look (proc_stat(5)).
    jiffies: Option<(u64, u64)>,
}

impl HostLoad {
    /// A collector that looks once per beat.
    pub fn new(settings: &Settings) -> Self {
        Self {
            root: settings.root.clone(),
            interval: settings.interval,
            jiffies: None,
        }
    }

    fn text(&self, file: &str) -> Option<String> {
        let bytes = read_plain(&self.root.proc().join(file), LIMIT).ok()?;
        String::from_utf8(bytes).ok()
    }

    fn cpu_percent(&mut self) -> Option<i32> {
        let now = jiffies(&self.text("stat")?)?;
        let (busy, total) = self.jiffies.replace(now)?;
        percent(now.0.checked_sub(busy)?, now.1.checked_sub(total)?)
    }

    fn memory_percent(&self) -> Option<i32> {
        let text = self.text("meminfo")?;
        let total = kib(&text, "MemTotal")?;
        percent(total.checked_sub(kib(&text, "MemAvailable")?)?, total)
    }

    fn pressure(&self, resource: &str) -> Option<i32> {
        let text = self.text(&format!("pressure/{resource}"))?;
        let average = text.split_once("avg10=")?.1.split_whitespace().next()?;
        let whole: i32 = average.split('.').next()?.parse().ok()?;
        Some(whole.clamp(0, 100))
    }
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
    let values: Vec<u64> = line
        .split_whitespace()
        .filter_map(|v| v.parse().ok())
        .take(8)
        .collect();
    let idle = values.get(3)? + values.get(4)?;
    let total: u64 = values.iter().sum();
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
        None
    }

    fn audit_interval(&self) -> Duration {
        self.interval
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        let load1 = self.text("loadavg").and_then(|text| {
            let (whole, hundredths) = text.split_whitespace().next()?.split_once('.')?;
            let centi = whole.parse::<i32>().ok()?.checked_mul(100)? + hundredths.parse::<i32>().ok()?;
            Some((centi + 5) / 10 * 10)
        });
        Ok(Collected::whole(Content::Load(Load {
            cpu_percent: self.cpu_percent(),
            memory_percent: self.memory_percent(),
            load1_centi: load1,
            cpu_pressure_percent: self.pressure("cpu"),
            memory_pressure_percent: self.pressure("memory"),
            io_pressure_percent: self.pressure("io"),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_read_from_procfs_in_coarse_steps() {
        assert_eq!(jiffies("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1\n"), Some((20, 100)));
        assert_eq!(
            kib("MemTotal:  1000 kB\nMemAvailable: 400 kB\n", "MemAvailable"),
            Some(400)
        );
        assert_eq!(
            (percent(51, 100), percent(53, 100), percent(1, 0)),
            (Some(50), Some(55), None)
        );
    }
}
