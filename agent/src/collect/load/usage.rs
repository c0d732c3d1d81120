//! What running services and containers use, by their control groups (cgroups(7), version 2): one walk
//! of the slices, one small file of each group, three more of a group that has used the processor since the last look.
//! A service that does not run has no group.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use safetytwin_crds::item::observed::UnitUsage;
use safetytwin_crds::names::printable;

use crate::collect::steady::held;
use crate::hostroot::HostRoot;
use crate::redact::Redactor;

/// Below the host's root, not in this process's sysfs: a pod sees only its own groups there.
const ROOT: &str = "/sys/fs/cgroup";
/// What is in these belongs to pods and logins.
const OTHERS: [&str; 3] = ["kubepods.slice", "kubelet.slice", "user.slice"];
const SERVICES: usize = 2048;
/// Slices are nested by the dashes of their names; systemd's own limit is the length of a name.
const SLICES: usize = 256;
const LIMIT: u64 = 256 * 1024;

/// What a service that does nothing has: its memory goes only where others need it. Read again after this time.
const IDLE: Duration = Duration::from_secs(300);

/// What was read of each group, by its directory.
#[derive(Default)]
pub struct Groups {
    known: BTreeMap<String, Group>,
}

struct Group {
    read: Instant,
    /// As the kernel counts it.
    cpu: Option<u64>,
    usage: UnitUsage,
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
        let services = services(root)?;
        let mut before = std::mem::take(&mut self.known);
        for (name, dir) in services {
            let files = Files { root, dir: &dir };
            let group = files.look(before.remove(&dir), now, || {
                // As the unit itself is called: an instance may be named by a secret.
                printable(&redactor.name(&name).text, 256)
            });
            self.known.insert(dir, group);
        }
        let mut all: Vec<UnitUsage> = self.known.values().map(|group| group.usage.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

/// Names and directories of services and containers, slice by slice.
fn services(root: &HostRoot) -> Result<Vec<(String, String)>, String> {
    let mut slices = VecDeque::from([ROOT.to_owned()]);
    let mut found = Vec::new();
    for _ in 0..SLICES {
        let Some(dir) = slices.pop_front() else {
            return Ok(found);
        };
        // A slice that went meanwhile is empty.
        for name in root.directories(&dir).map_err(|error| error.to_string())? {
            let Some(name) = name.to_str() else {
                continue;
            };
            let path = format!("{dir}/{name}");
            if name.ends_with(".slice") && !OTHERS.contains(&name) {
                slices.push_back(path);
            } else if name.ends_with(".service") || is_container(name) {
                if found.len() == SERVICES {
                    return Err(format!("more than {SERVICES} services run"));
                }
                found.push((name.to_owned(), path));
            }
        }
    }
    Err(format!("more than {SLICES} slices"))
}

/// Docker's and Podman's scopes, without the monitors of the latter.
fn is_container(name: &str) -> bool {
    let engine = name.starts_with("docker-") || name.starts_with("libpod-");
    engine && name.ends_with(".scope") && !name.starts_with("libpod-conmon-")
}

/// The files of a group.
struct Files<'a> {
    root: &'a HostRoot,
    dir: &'a str,
}

impl Files<'_> {
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
        let cpu = self.read("cpu.stat").and_then(|text| cpu_nsec(&text));
        let idle = |known: &Group| {
            cpu.is_some() && known.cpu == cpu && now.saturating_duration_since(known.read) < IDLE
        };
        let last = match known {
            Some(known) if idle(&known) => return known,
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
mod tests {
    use std::path::Path;

    use super::*;

    fn plant(host: &Path, group: &str, files: &[(&str, &str)]) {
        let dir = host.join("sys/fs/cgroup").join(group);
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in files {
            std::fs::write(dir.join(file), text).unwrap();
        }
    }

    fn look(host: &Path) -> Result<Vec<UnitUsage>, String> {
        let root = HostRoot::new(host, "/proc", "/sys");
        Groups::default().usage(&root, &Redactor::default())
    }

    #[test]
    fn every_running_service_and_container_is_told_in_whichever_slice_and_no_pod_or_login() {
        let host = tempfile::tempdir().unwrap();
        plant(host.path(), "", &[("cgroup.controllers", "cpu io memory pids\n")]);
        plant(
            host.path(),
            "system.slice/nginx.service",
            &[
                ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
                ("memory.current", "4096\n"),
                ("pids.current", "3\n"),
                (
                    "io.stat",
                    "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
                ),
            ],
        );
        let getty = "system.slice/system-getty.slice/getty@tty1.service";
        plant(host.path(), getty, &[("cpu.stat", "usage_usec 7\n")]);
        plant(
            host.path(),
            "kubepods.slice/x.service",
            &[("memory.current", "1")],
        );
        plant(host.path(), "user.slice/user-0.slice/user@0.service", &[]);
        for scope in ["libpod-1f.scope", "libpod-conmon-1f.scope", "session-3.scope"] {
            plant(host.path(), &format!("machine.slice/{scope}"), &[]);
        }
        let all = look(host.path()).unwrap();
        let names: Vec<&str> = all.iter().map(|usage| usage.name.as_str()).collect();
        assert_eq!(names, ["getty@tty1.service", "libpod-1f.scope", "nginx.service"]);
        let nginx = UnitUsage {
            name: "nginx.service".into(),
            cpu_usage_nsec: Some(1_500_000),
            memory_current: Some(4096),
            tasks_current: Some(3),
            io_read_bytes: Some(11),
            io_write_bytes: Some(22),
        };
        assert_eq!(all[2], nginx);
        assert_eq!((all[0].memory_current, all[0].io_read_bytes), (None, None));
    }

    #[test]
    fn a_service_that_has_not_used_the_processor_is_not_read_again_for_five_minutes() {
        let host = tempfile::tempdir().unwrap();
        plant(host.path(), "", &[("cgroup.controllers", "cpu memory\n")]);
        let (mut groups, begin) = (Groups::default(), Instant::now());
        let mut memory = |seconds, cpu: &str, memory: &str| {
            let files = [("cpu.stat", cpu), ("memory.current", memory)];
            plant(host.path(), "system.slice/a.service", &files);
            let root = HostRoot::new(host.path(), "/proc", "/sys");
            let now = begin + Duration::from_secs(seconds);
            let all = groups.usage_at(&root, &Redactor::default(), now).unwrap();
            all[0].memory_current.unwrap()
        };
        assert_eq!(memory(0, "usage_usec 5\n", "1000\n"), 1000);
        assert_eq!(memory(60, "usage_usec 5\n", "2000\n"), 1000, "idle");
        assert_eq!(memory(120, "usage_usec 6\n", "2000\n"), 2000);
        assert_eq!(
            memory(180, "usage_usec 7\n", "2010\n"),
            2000,
            "near what was said"
        );
        assert_eq!(memory(479, "usage_usec 7\n", "3000\n"), 2000);
        assert_eq!(memory(480, "usage_usec 7\n", "3000\n"), 3000);
    }

    #[test]
    fn an_instance_that_is_named_by_a_secret_is_called_as_its_unit_is() {
        let host = tempfile::tempdir().unwrap();
        plant(host.path(), "", &[("cgroup.controllers", "cpu\n")]);
        let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
        let name = format!("backup@{secret}.service");
        plant(host.path(), &format!("system.slice/{name}"), &[]);
        let all = look(host.path()).unwrap();
        let unit = Redactor::default().unit_name(&name.parse().unwrap());
        assert_eq!(all[0].name, unit.as_str());
        assert!(!all[0].name.contains(secret));
    }

    #[test]
    fn nonsense_in_a_counter_is_no_number_and_a_link_leads_nowhere() {
        let host = tempfile::tempdir().unwrap();
        plant(host.path(), "", &[("cgroup.controllers", "cpu\n")]);
        plant(
            host.path(),
            "system.slice/a\u{1b}[31m.service",
            &[
                ("cpu.stat", "usage_usec 18446744073709551615\n"),
                ("memory.current", "-1\n"),
                ("pids.current", "max\n"),
                (
                    "io.stat",
                    "8:0 rbytes=18446744073709551615 wbytes=-2\n8:1 rbytes=9\n",
                ),
            ],
        );
        let link = host.path().join("sys/fs/cgroup/system.slice/link.service");
        std::os::unix::fs::symlink("/etc", link).unwrap();
        let all = look(host.path()).unwrap();
        let expected = UnitUsage {
            name: "a\\u{1b}[31m.service".into(),
            io_read_bytes: Some(u64::MAX),
            io_write_bytes: Some(0),
            ..UnitUsage::default()
        };
        assert_eq!(all, [expected]);
    }

    #[test]
    fn without_version_2_and_with_too_many_services_the_reason_is_told() {
        let host = tempfile::tempdir().unwrap();
        assert!(
            look(host.path())
                .unwrap_err()
                .starts_with("no control groups of version 2")
        );
        plant(host.path(), "", &[("cgroup.controllers", "")]);
        for number in 0..=SERVICES {
            plant(host.path(), &format!("system.slice/{number}.service"), &[]);
        }
        assert_eq!(look(host.path()).unwrap_err(), "more than 2048 services run");
    }
}
