//! Files of a host, planted one at a time in a tree that is otherwise ordinary, and read by the collectors that read
//! them on a host.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::FutureExt;
use safetytwin_crds::hoststate::Source;
use safetytwin_crds::item::{ProcessItem, UnitItem};
use serde_json::Value;

use super::{TOKEN, is_shown, redactor};
use crate::clock;
use crate::collect::accounts::Accounts;
use crate::collect::load::HostLoad;
use crate::collect::machine::MachineFacts;
use crate::collect::optin::{self, Choice};
use crate::collect::processes::listens::{Sockets, of};
use crate::collect::processes::{files, packages as executables};
use crate::collect::units::{packages, presets::Presets};
use crate::collect::{Collector, Scope, runit};
use crate::hostroot::HostRoot;
use crate::settings::{HelperSlot, Level, Settings};

/// Where a file is, and what reads it.
type File = (&'static str, fn(&HostRoot));

/// What is in the tree beside the file of an input: of some files what a host has, others are only there to be looked
/// at.
const SURROUNDINGS: [(&str, &str); 16] = [
    ("proc/1/net/dev", " eth0: 300 1 0 0 0 0 0 0 400 5 0\n"),
    ("proc/self/net/.keep", ""),
    ("proc/1/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"),
    ("proc/meminfo", "MemTotal: 2048 kB\nMemAvailable: 1024 kB\n"),
    ("sys/block/sda/size", "100\n"),
    ("sys/block/sda/dev", "8:0\n"),
    ("sys/block/sda/sda1/partition", "1\n"),
    ("sys/block/sda/sda1/size", "20\n"),
    ("sys/block/sda/sda1/dev", "8:1\n"),
    ("sys/class/net/eth0/device/driver", ""),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
    ("sys/fs/cgroup/system.slice/a.service/cpu.stat", "usage_usec 7\n"),
    ("etc/service/web/run", "#!/bin/sh\nexec web\n"),
    ("var/lib/dpkg/info/.keep", ""),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
];

/// The files, by the first letter of an input from `A` on. New ones are put at the end: kept inputs name theirs by its
/// place.
const FILES: [File; 47] = [
    ("proc/1/net/tcp", sockets),
    ("proc/1/net/tcp6", sockets),
    ("proc/1/net/udp", sockets),
    ("proc/1/net/udp6", sockets),
    ("proc/sys/net/ipv4/ip_local_port_range", sockets),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", sockets),
    ("proc/1/net/route", machine),
    ("proc/1/net/ipv6_route", machine),
    ("proc/1/net/if_inet6", machine),
    ("proc/1/net/dev", machine),
    ("proc/1/mountinfo", machine),
    ("proc/swaps", machine),
    ("proc/cpuinfo", machine),
    ("proc/meminfo", machine),
    ("etc/os-release", machine),
    ("etc/hostname", machine),
    ("sys/bus/pci/devices/0000:00:01.0/uevent", machine),
    ("sys/class/net/eth0/uevent", machine),
    ("sys/devices/system/cpu/online", machine),
    ("run/udev/data/b8:1", machine),
    ("run/systemd/container", machine),
    ("proc/diskstats", load),
    ("proc/loadavg", load),
    ("proc/stat", load),
    ("proc/pressure/cpu", load),
    ("proc/pressure/io", load),
    ("sys/fs/cgroup/system.slice/a.service/cpu.stat", load),
    ("sys/fs/cgroup/system.slice/a.service/io.stat", load),
    ("sys/fs/cgroup/system.slice/a.service/memory.current", load),
    ("etc/passwd", accounts),
    ("etc/group", accounts),
    ("var/lib/dpkg/status", |root| chosen(root, Choice::Packages)),
    ("var/lib/dpkg/info/a:amd64.list", owners),
    ("etc/crontab", |root| chosen(root, Choice::Cron)),
    ("var/spool/cron/crontabs/web", |root| chosen(root, Choice::Cron)),
    ("etc/sysctl.d/50-x.conf", |root| chosen(root, Choice::Sysctl)),
    ("etc/sysctl.conf", |root| chosen(root, Choice::Sysctl)),
    ("proc/modules", |root| chosen(root, Choice::Modules)),
    ("etc/modules-load.d/x.conf", |root| chosen(root, Choice::Modules)),
    ("etc/machine-info", |root| chosen(root, Choice::Hostname)),
    ("proc/sys/kernel/hostname", |root| chosen(root, Choice::Hostname)),
    ("etc/systemd/system-preset/50-x.preset", presets),
    ("etc/service/web/supervise/status", services),
    ("etc/service/web/run", services),
    ("proc/uptime", clocks),
    ("proc/sys/kernel/random/boot_id", clocks),
    ("proc/7/status", ids),
];

/// Lines that hold a secret, for files whose text is published without it.
const PLANTED: [(&str, &str); 5] = [
    ("etc/crontab", "\n* * * * * root true --token=TOKEN\n"),
    ("var/spool/cron/crontabs/web", "\n* * * * * true TOKEN\n"),
    ("etc/sysctl.d/50-x.conf", "\nkernel.domainname = TOKEN\n"),
    ("etc/sysctl.conf", "\nkernel.domainname = TOKEN\n"),
    ("etc/service/web/run", "\nexec TOKEN\n"),
];

thread_local! {
    /// One tree for all inputs: what an input writes is taken out again.
    static TREE: Option<tempfile::TempDir> = tree();
}

fn tree() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().ok()?;
    for (path, text) in SURROUNDINGS {
        write(dir.path(), path, text.as_bytes())?;
    }
    for (path, _) in FILES {
        std::fs::create_dir_all(dir.path().join(path).parent()?).ok()?;
    }
    // Both are in one network namespace.
    let [ours, theirs] = ["proc/self/net/dev", "proc/1/net/dev"].map(|path| dir.path().join(path));
    std::os::unix::fs::symlink(theirs, ours).ok()?;
    Some(dir)
}

fn write(dir: &Path, path: &str, bytes: &[u8]) -> Option<()> {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent()?).ok()?;
    std::fs::write(path, bytes).ok()
}

/// A file of a host: the first letter says which, the rest is its content. All of [`FILES`]: tables of the kernel
/// (sockets, routes, addresses, counters, mounts, CPUs, load, control groups, modules), `os-release`, `passwd` and
/// `group`, dpkg's status and lists, crontabs, sysctl.d, modules-load.d, presets, services of runit, clocks.
pub fn host_file(bytes: &[u8]) {
    let Some((letter, content)) = bytes.split_first() else {
        return;
    };
    let number = letter.checked_sub(b'A').map(usize::from);
    let Some((path, read)) = number.and_then(|number| FILES.get(number)) else {
        return;
    };
    // The input may hold the token where nothing looks for it.
    if content
        .windows(TOKEN.len())
        .any(|window| window == TOKEN.as_bytes())
    {
        return;
    }
    let planted = PLANTED.iter().find(|(planted, _)| planted == path);
    let planted = planted.map_or(String::new(), |(_, text)| text.replace("TOKEN", TOKEN));
    TREE.with(|tree| {
        assert!(tree.is_some(), "no temporary directory can be made");
        let Some(dir) = tree.as_ref().map(tempfile::TempDir::path) else {
            return;
        };
        let written = write(dir, path, &[content, planted.as_bytes()].concat());
        assert!(written.is_some(), "{path}");
        read(&HostRoot::new(dir, dir.join("proc"), dir.join("sys")));
        let before = SURROUNDINGS.iter().find(|(usual, _)| usual == path);
        let after = match before {
            Some((path, text)) => write(dir, path, text.as_bytes()),
            None => std::fs::remove_file(dir.join(path)).ok(),
        };
        assert!(after.is_some(), "{path}");
    });
}

/// What all collectors share, of a host without any service that could be asked.
fn settings(root: &HostRoot) -> Option<Settings> {
    Some(Settings {
        host: "web-01".parse().ok()?,
        source: Source::Node,
        root: root.clone(),
        redactor: redactor(),
        dbus_socket: "/nowhere".into(),
        docker_socket: "/nowhere".into(),
        podman_socket: "/nowhere".into(),
        level: Level::Basic,
        helper: HelperSlot::new(None, root.proc().into()),
        min_age: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        beats_per_head: 1,
        opt_in: Default::default(),
    })
}

fn sockets(root: &HostRoot) {
    let mut sockets = Sockets::default();
    sockets.look(root, Instant::now(), Duration::ZERO);
    let addresses = sockets.addresses();
    let of_all = addresses.keys().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let all = of(of_all.as_bytes(), addresses);
    assert!(all.len() <= addresses.len());
    assert!(all.iter().all(|address| is_shown(address)), "{all:?}");
}

fn machine(root: &HostRoot) {
    collected(settings(root).map(|settings| MachineFacts::new(&settings)));
}

fn load(root: &HostRoot) {
    collected(settings(root).map(|settings| HostLoad::new(&settings)));
}

/// What a collector gives that waits for nothing: all of it can be shown.
fn collected(collector: Option<impl Collector>) {
    assert!(collector.is_some(), "no settings");
    if let Some(mut collector) = collector {
        let look = collector.collect(Scope::Audit).now_or_never();
        assert!(look.is_some(), "it waits for something");
        let text = look.map(|found| serde_json::to_vec(&found.ok()).unwrap_or_default());
        shown(&text.unwrap_or_default());
    }
}

/// No text in this JSON holds what a terminal would act on, or the secret that was planted.
fn shown(json: &[u8]) {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let mut left = vec![&value];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => assert!(is_shown(text) && !text.contains(TOKEN), "{text:?}"),
            Value::Array(list) => left.extend(list),
            Value::Object(members) => {
                assert!(members.keys().all(|key| is_shown(key)), "{members:?}");
                left.extend(members.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn chosen(root: &HostRoot, choice: Choice) {
    if let Some((items, gaps)) = optin::look(root, &redactor(), choice) {
        shown(&items);
        shown(&serde_json::to_vec(&gaps).unwrap_or_default());
    }
}

fn accounts(root: &HostRoot) {
    chosen(root, Choice::Accounts);
    let accounts = Accounts::read(root);
    for id in [0, 1, 1000, u32::MAX] {
        assert_eq!(accounts.user_of(id).id, Some(id));
        assert_eq!(accounts.group_of(id).id, Some(id));
    }
    for name in ["root", "web", ""] {
        assert_eq!(accounts.user(name).name, name);
        assert_eq!(accounts.group(name).name, name);
    }
}

fn owners(root: &HostRoot) {
    let mut units = packages::Packages::default();
    units.refresh(root);
    let _ = units.owner("/usr/lib/systemd/system/a.service");
    let item: Option<ProcessItem> = serde_json::from_value(serde_json::json!({
        "key": "0", "comm": "a", "executable": "/usr/bin/a", "argv": ["a"],
        "user": {"name": "root"}, "group": {"name": "root"}, "ordinal": 0,
    }))
    .ok();
    assert!(item.is_some(), "no item");
    let mut processes = executables::Packages::default();
    processes.learn(root, item.iter());
    let owner = item.as_ref().and_then(|item| processes.of(item));
    assert!(matches!(owner, None | Some("a")), "{owner:?}");
}

fn presets(root: &HostRoot) {
    let mut presets = Presets::default();
    presets.refresh(root);
    for unit in ["a.service", "a@.service", "web-1.socket"] {
        assert!(matches!(presets.of(unit), "enabled" | "disabled" | "ignored"));
    }
}

fn services(root: &HostRoot) {
    let (items, gaps): (Vec<UnitItem>, _) = runit::look(root, &redactor());
    shown(&serde_json::to_vec(&gaps).unwrap_or_default());
    for item in &items {
        // The text of a unit has lines.
        let mut item = item.clone();
        item.fragment = None;
        shown(&serde_json::to_vec(&item).unwrap_or_default());
    }
}

fn clocks(root: &HostRoot) {
    assert!(clock::boottime_ms(root) >= 0);
    let boot = clock::boot_id(root);
    assert!(
        is_shown(&boot) && !boot.is_empty() && boot.len() <= 64,
        "{boot:?}"
    );
}

fn ids(root: &HostRoot) {
    let bytes = std::fs::read(root.proc().join("7/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&bytes);
    files::effective(&status, "Uid:");
    files::effective(&status, "Gid:");
}
