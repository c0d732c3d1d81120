//! The privileges, as data: one line each, with the reason. What the chart and the unit give is compared with this by
//! tests.

use super::{Kind, Privilege};

const fn always(kind: Kind, name: &'static str, why: &'static str) -> Privilege {
    Privilege {
        kind,
        name,
        when: None,
        why,
    }
}

const fn when(kind: Kind, name: &'static str, when: &'static str, why: &'static str) -> Privilege {
    Privilege {
        kind,
        name,
        when: Some(when),
        why,
    }
}

/// Everywhere.
const CREATES: Privilege = always(
    Kind::Rbac,
    "create hoststates,hostsections",
    "makes its own host's objects, held to that by the admission policy; it reads, lists, watches and deletes nothing",
);

/// Everywhere.
const PATCHES: Privilege = always(
    Kind::Rbac,
    "patch hoststates,hostsections",
    "writes them, each by its name: the right to patch any would be a right to read any",
);

/// Of the pod that the chart makes.
pub const POD: &[Privilege] = &[
    always(
        Kind::User,
        "0",
        "unit files may be readable by root only; without any of root's capabilities",
    ),
    always(
        Kind::Namespace,
        "hostPID",
        "the processes to list are the node's, not the pod's",
    ),
    always(
        Kind::Namespace,
        "hostNetwork",
        "the sockets of processes are the node's",
    ),
    always(
        Kind::SystemCalls,
        "seccomp:RuntimeDefault",
        "the runtime's filter; all that the agent calls passes it",
    ),
    always(
        Kind::SystemCalls,
        "appArmor:Unconfined",
        "the runtime's default profile forbids D-Bus, by which systemd is asked",
    ),
    always(
        Kind::Mount,
        "/etc",
        "unit files, drop-ins, enablement, users and groups, os-release, machine-id; read-only",
    ),
    always(
        Kind::Mount,
        "/usr/lib",
        "unit files of packages, os-release; read-only",
    ),
    always(
        Kind::Mount,
        "/lib",
        "the same where /lib is no link to /usr/lib; read-only",
    ),
    always(
        Kind::Mount,
        "/usr/local/lib",
        "unit files of the administrator; read-only",
    ),
    always(
        Kind::Mount,
        "/run/systemd",
        "generated and transient unit files; read-only",
    ),
    always(
        Kind::Mount,
        "/run/dbus",
        "the system bus, whose signals say what starts and stops; the directory, for a socket goes stale. A call to it is made as root: the agent makes none that changes anything",
    ),
    always(
        Kind::Mount,
        "/sys/fs/cgroup",
        "what services use: the pod's own shows the pod alone; read-only",
    ),
    when(
        Kind::Mount,
        "/var/spool",
        "agent.sections.cron",
        "users' crontabs; read-only",
    ),
    when(
        Kind::Mount,
        "directories of agent.sections.files",
        "agent.sections.files",
        "selected files outside of these, each directory by its name; read-only",
    ),
    when(
        Kind::Mount,
        "/var/lib/dpkg",
        "agent.dpkg",
        "which package owns a unit file; read-only",
    ),
    when(
        Kind::Mount,
        "/var/lib/rpm",
        "agent.rpm",
        "installed packages, where rpm keeps them there; read-only",
    ),
    when(
        Kind::Mount,
        "/run/docker.sock",
        "agent.containers.docker",
        "Docker's containers; whoever may write to it is root on the node",
    ),
    when(
        Kind::Mount,
        "/run/podman",
        "agent.containers.podman",
        "Podman's containers; whoever may write to its socket is root on the node",
    ),
    when(
        Kind::Mount,
        "/var/lib/containers",
        "agent.containers.podman",
        "the list of Podman's containers while its service does not run; read-only",
    ),
    always(
        Kind::Mount,
        "token",
        "proves which node this is: bound to this pod, one hour, readable by root only",
    ),
    when(
        Kind::Capability,
        "CAP_NET_ADMIN",
        "agent.processEvents",
        "the kernel's process connector before Linux 6.6; whoever has it can change the network of the node",
    ),
    CREATES,
    PATCHES,
    always(
        Kind::Rbac,
        "create serviceaccounts/token",
        "takes the token of its host's account, held to that by the admission policy",
    ),
];

/// Of `twin-agent.service` of the Debian package.
pub const SERVICE: &[Privilege] = &[
    always(Kind::User, "root", "unit files may be readable by root only"),
    always(
        Kind::SystemCalls,
        "SystemCallFilter=@system-service",
        "what services need; no mounting, no modules, no tracing of processes, no clock",
    ),
    always(
        Kind::SystemCalls,
        "SystemCallErrorNumber=EPERM",
        "a refused call is an error of one look, not the end of the agent",
    ),
    always(
        Kind::SystemCalls,
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "the system bus and container engines; the API server; sockets that listen, and from Linux 6.6 on the process connector",
    ),
    always(
        Kind::SystemCalls,
        "RestrictNamespaces=yes",
        "it makes no namespace",
    ),
    always(
        Kind::SystemCalls,
        "RestrictRealtime=yes",
        "it gives way to everything else",
    ),
    always(
        Kind::SystemCalls,
        "LockPersonality=yes",
        "it runs programs of no other system",
    ),
    always(
        Kind::SystemCalls,
        "MemoryDenyWriteExecute=yes",
        "it makes no code",
    ),
    always(
        Kind::SystemCalls,
        "NoNewPrivileges=yes",
        "no program that it starts, its helper, gains a right",
    ),
    always(
        Kind::Files,
        "ProtectSystem=strict",
        "the whole file tree is read-only",
    ),
    always(
        Kind::Files,
        "ProtectHome=read-only",
        "it writes nothing of users; where a process runs may lie there",
    ),
    always(Kind::Files, "PrivateTmp=yes", "it shares no temporary file"),
    always(
        Kind::Files,
        "ProtectKernelTunables=yes",
        "it changes no setting of the kernel",
    ),
    always(Kind::Files, "ProtectKernelModules=yes", "it loads no module"),
    always(Kind::Files, "ProtectClock=yes", "it sets no clock"),
    always(
        Kind::Files,
        "StateDirectory=safetytwin",
        "the token that it renews, the one thing that it writes",
    ),
    always(Kind::Files, "StateDirectoryMode=0700", "for root only"),
    CREATES,
    PATCHES,
    always(
        Kind::Rbac,
        "create serviceaccounts/token",
        "renews its own token, of its own account only",
    ),
];

/// What the main process and all others have, of the capabilities (capabilities(7)).
pub const PTRACE: Privilege = always(
    Kind::Capability,
    "CAP_SYS_PTRACE",
    "where exe and cwd of other users' processes lead and which sockets they have; kept by the helper process alone, which opens neither memory nor environment",
);

/// At level basic.
pub const NO_CAPABILITY: Privilege = always(
    Kind::Capability,
    "none",
    "executables, working directories and sockets of other users' processes stay unknown; --level full reads them",
);
