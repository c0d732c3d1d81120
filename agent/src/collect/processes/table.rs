//! What procfs says of a process, and which processes are on their own. Pure.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;

/// Kernel thread (`PF_KTHREAD`, include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// How many fields after the name are of interest.
const FIELDS: usize = 22;

/// Longest name of a program (`TASK_COMM_LEN` without its end, include/linux/sched.h).
const NAME: usize = 15;

/// Name of a process, any bytes. What a kernel thread calls itself beyond the length of a program's name is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comm {
    /// Zero from `len` on.
    bytes: [u8; NAME],
    len: u8,
}

impl From<&[u8]> for Comm {
    fn from(name: &[u8]) -> Self {
        let mut comm = Self::default();
        let mut bytes = comm.bytes.iter_mut().zip(name);
        bytes.by_ref().for_each(|(to, from)| *to = *from);
        comm.len = name.len().min(NAME) as u8;
        comm
    }
}

impl Comm {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

/// What `stat` says of a process (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Name.
    pub comm: Comm,
    /// One letter.
    pub state: u8,
    /// Controlling terminal; 0 for none.
    pub tty: i32,
    /// Start in clock ticks after boot.
    pub start: u64,
    /// Belongs to the kernel.
    pub kernel: bool,
    /// CPU time in user and kernel mode, clock ticks.
    pub cpu: u64,
    /// Resident pages.
    pub resident: u64,
    /// Its only thread; where it has others, they may run while this one sleeps.
    pub alone: bool,
    /// Stands still while its only thread does nothing; none where that is not known. Not in `stat`: see
    /// [`crate::collect::schedstat::SchedStat::mark`].
    pub ran: Option<NonZeroU64>,
}

impl Stat {
    /// Parses a `stat` file. The name may hold any byte, also `)` and newlines: the last `)` ends it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|b| *b == b'(')?;
        let close = bytes.iter().rposition(|b| *b == b')')?;
        let pid = std::str::from_utf8(bytes.get(..open)?)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        let mut fields = [""; FIELDS];
        let words = rest.split_ascii_whitespace();
        fields
            .iter_mut()
            .zip(words)
            .for_each(|(field, word)| *field = word);
        let flags: u64 = fields.get(6)?.parse().ok()?;
        let number = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        Some(Self {
            pid,
            comm: bytes.get(open + 1..close)?.into(),
            state: *fields.first()?.as_bytes().first()?,
            ppid: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
            kernel: flags & KERNEL_THREAD != 0,
            cpu: number(11).saturating_add(number(12)),
            resident: number(21),
            alone: number(17) == 1,
            ran: None,
        })
    }
}

/// To whom a control group belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A container of some engine or of Kubernetes.
    Container,
    /// A per-user service manager.
    UserManager,
    /// A service that only runs what is its own.
    Service,
    /// A service that gives others a place to run: logins, cron. Its main process is its own.
    Host(String),
    /// A login session, PID 1's own group, or no systemd at all.
    Nobody,
}

/// Services whose group also holds what people and jobs leave behind.
const HOSTING: [&str; 10] = [
    "ssh",
    "sshd",
    "getty",
    "serial-getty",
    "console-getty",
    "cron",
    "crond",
    "cronie",
    "atd",
    "dropbear",
];

/// Whether a service gives others a place to run.
pub fn is_host(service: &str) -> bool {
    let stem = service.trim_end_matches(".service");
    HOSTING.contains(&stem.split_once('@').map_or(stem, |(prefix, _)| prefix))
}

/// Reads a `cgroup` file (cgroups(7)). In a cgroup namespace foreign paths begin with `/..`.
pub fn owner(cgroup: &str) -> Owner {
    let unified = cgroup.lines().find_map(|l| l.strip_prefix("0::"));
    let named = cgroup
        .lines()
        .find_map(|l| l.split_once(":name=systemd:").map(|(_, path)| path));
    // In the hybrid layout systemd's own tree is the named one.
    let path = unified.filter(|p| *p != "/").or(named).unwrap_or("/");
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != "..").collect();
    if parts.iter().any(|p| is_container(p)) {
        return Owner::Container;
    }
    if parts
        .iter()
        .any(|p| p.starts_with("user@") && p.ends_with(".service"))
    {
        return Owner::UserManager;
    }
    match parts.iter().rev().find(|p| p.ends_with(".service")) {
        None => Owner::Nobody,
        Some(service) => {
            if is_host(service) {
                Owner::Host((*service).to_owned())
            } else {
                Owner::Service
            }
        }
    }
}

fn is_container(part: &str) -> bool {
    let prefixes = [
        "kubepods",
        "docker-",
        "libpod",
        "cri-containerd",
        "crio-",
        "machine-",
        "machine.slice",
        "buildkit",
        "nspawn",
        "lxc",
    ];
    let pod = part.strip_prefix("pod").is_some_and(|uid| uid.len() == 36);
    pod || part == "docker" || prefixes.iter().any(|prefix| part.starts_with(prefix))
}

/// Supervisors: what they run is a service of theirs, and they are no programs of their own.
const SUPERVISORS: [&[u8]; 2] = [b"runsvdir", b"runsv"];

/// Processes that are on their own: reparented to PID 1, root of a tree, without a terminal, and
/// neither a service's nor a container's. `owner_of` answers for a process; `main` says whether a
/// process is the main one of a hosting service.
pub fn independent(
    all: &[Stat],
    mut owner_of: impl FnMut(&Stat) -> Option<Owner>,
    main: impl Fn(&str, &Stat) -> bool,
) -> Vec<&Stat> {
    let managers: HashSet<i32> = all
        .iter()
        .filter(|s| s.ppid == 1 && s.comm.as_bytes() == b"systemd")
        .map(|s| s.pid)
        .collect();
    // A per-user manager adopts what its user leaves behind.
    let reaper = |pid: i32| pid == 1 || managers.contains(&pid);
    let mut found: Vec<&Stat> = all
        .iter()
        .filter(|s| s.pid != 1 && !s.kernel && s.tty == 0 && !matches!(s.state, b'Z' | b'X'))
        .filter(|s| reaper(s.ppid) && !SUPERVISORS.contains(&s.comm.as_bytes()))
        .filter(|s| match owner_of(s) {
            Some(Owner::Nobody) => true,
            Some(Owner::Host(unit)) => !main(&unit, s),
            Some(Owner::Container | Owner::UserManager | Owner::Service) | None => false,
        })
        .collect();
    found.sort_by_key(|s| (s.start, s.pid));
    found
}

/// Without D-Bus the oldest child of PID 1 in a hosting service's group stands for its main process.
pub fn oldest_by_host(
    all: &[Stat],
    mut owner_of: impl FnMut(&Stat) -> Option<Owner>,
) -> HashMap<String, i32> {
    let mut oldest: HashMap<String, (u64, i32)> = HashMap::new();
    for stat in all.iter().filter(|s| s.ppid == 1 && !s.kernel) {
        if let Some(Owner::Host(unit)) = owner_of(stat) {
            let entry = oldest.entry(unit).or_insert((stat.start, stat.pid));
            *entry = (*entry).min((stat.start, stat.pid));
        }
    }
    oldest.into_iter().map(|(unit, (_, pid))| (unit, pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_newlines_is_read_whole() {
        let line = b"42 (a) b\n(c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.comm.as_bytes(), b"a) b\n(c");
        assert_eq!(
            (stat.pid, stat.ppid, stat.tty, stat.start, stat.kernel),
            (42, 1, 0, 777, false)
        );
        for broken in [b"".as_slice(), b"1 (", b")(", b"1 (x) S 1"] {
            assert_eq!(Stat::parse(broken), None);
        }
    }

    #[test]
    fn control_groups_name_their_owner_also_through_a_namespace() {
        let host = Owner::Host("ssh.service".into());
        for (path, expected) in [
            ("/system.slice/nginx.service", Owner::Service),
            ("/system.slice/ssh.service", host),
            ("/user.slice/user-0.slice/session-3.scope", Owner::Nobody),
            ("/init.scope", Owner::Nobody),
            (
                "/user.slice/user-0.slice/user@0.service/app.slice/x.service",
                Owner::UserManager,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/x/cri-containerd-1.scope",
                Owner::Container,
            ),
            ("/../../kubepods-besteffort-pod1.slice/1", Owner::Container),
            ("/system.slice/docker-0a1b.scope", Owner::Container),
            ("/machine.slice/libpod-1.scope", Owner::Container),
            ("/../pod123e4567-e89b-12d3-a456-426614174000/1", Owner::Container),
        ] {
            assert_eq!(owner(&format!("0::{path}\n")), expected, "{path}");
        }
        assert_eq!(
            owner("1:name=systemd:/system.slice/a.service\n0::/\n"),
            Owner::Service
        );
        assert_eq!(owner(""), Owner::Nobody);
    }

    fn stat(pid: i32, ppid: i32, tty: i32) -> Stat {
        Stat {
            pid,
            ppid,
            comm: b"x".as_slice().into(),
            state: b'S',
            tty,
            start: pid as u64,
            kernel: false,
            cpu: 0,
            resident: 0,
            alone: true,
            ran: None,
        }
    }

    #[test]
    fn an_administrators_session_has_no_process_of_its_own_and_what_it_left_behind_is_one() {
        let table = [
            stat(1, 0, 0),
            stat(10, 1, 0),   // sshd, the service's main process
            stat(11, 10, 0),  // sshd of the session
            stat(12, 11, 34), // shell
            stat(13, 12, 34), // editor
            stat(20, 1, 0),   // left behind in ssh.service, no terminal any more
            stat(21, 20, 0),  // its child
            stat(30, 1, 34),  // still has its terminal
        ];
        let owner = |_: &Stat| Some(Owner::Host("ssh.service".into()));
        let found = independent(&table, owner, |_, s| s.pid == 10);
        assert_eq!(found.iter().map(|s| s.pid).collect::<Vec<_>>(), [20]);
    }
}
