//! Looks at control groups of the tests' own.

use std::path::Path;

use super::super::slices::SERVICES;
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
fn idle_services_are_looked_at_when_their_slice_has_used_more_than_is_known_of_its_groups() {
    let host = tempfile::tempdir().unwrap();
    plant(host.path(), "", &[("cgroup.controllers", "cpu\n")]);
    let (mut groups, begin) = (Groups::default(), Instant::now());
    // Of the slice, of a service that always runs, of one that seldom does, and of a slice in it, in ms.
    let mut cpu = |seconds, slice: u64, busy: u64, idle: u64, inner: u64| {
        for (group, ms) in [
            ("system.slice", slice),
            ("system.slice/busy.service", busy),
            ("system.slice/idle.service", idle),
            ("system.slice/system-x.slice", inner),
        ] {
            plant(
                host.path(),
                group,
                &[("cpu.stat", &format!("usage_usec {}\n", ms * 1000))],
            );
        }
        let root = HostRoot::new(host.path(), "/proc", "/sys");
        let now = begin + Duration::from_secs(seconds);
        let all = groups.usage_at(&root, &Redactor::default(), now).unwrap();
        let ms: Vec<u64> = all
            .iter()
            .map(|usage| usage.cpu_usage_nsec.unwrap() / 1_000_000)
            .collect();
        (ms[0], ms[1])
    };
    assert_eq!(cpu(0, 1100, 1000, 100, 0), (1000, 100));
    assert_eq!(cpu(60, 2100, 2000, 100, 0), (2000, 100), "it is idle now");
    assert_eq!(
        cpu(120, 4104, 3000, 104, 1000),
        (3000, 100),
        "no more than may go unnoticed"
    );
    assert_eq!(cpu(180, 5108, 4000, 108, 1000), (4000, 108), "which adds up");
    assert_eq!(cpu(240, 6108, 5000, 108, 1000), (5000, 108));
    assert_eq!(cpu(300, 7208, 6000, 208, 1000), (6000, 208));
    // What has ended since is in the slice alone.
    assert_eq!(cpu(360, 9208, 7000, 208, 1000), (7000, 208));
    assert_eq!(cpu(420, 10208, 8000, 208, 1000), (8000, 208));
    assert_eq!(cpu(480, 11218, 9000, 218, 1000), (9000, 218));
    // A slice that was made anew has counted nothing of what ended in the one before.
    assert_eq!(cpu(540, 10242, 10000, 240, 1000), (10000, 240));
    assert_eq!(cpu(600, 10242, 10000, 240, 1000), (10000, 240));
    assert_eq!(cpu(660, 10262, 10000, 260, 1000), (10000, 260));
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
