//! What names of variables say of their values: data for the rules.

use super::super::shape::split;

/// Variables that systems, shells and languages themselves define, and that hold no secret: environ(7), locale(7),
/// systemd.exec(5), the XDG base directories, and the manuals of what reads them. `*` stands for any rest.
const ORDINARY: [&str; 42] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "PWD",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_*",
    "LD_LIBRARY_PATH",
    "MANPATH",
    "DEBIAN_FRONTEND",
    "SYSTEMD_*",
    "NOTIFY_SOCKET",
    "DBUS_SESSION_BUS_ADDRESS",
    "MALLOC_*",
    "G_MESSAGES_DEBUG",
    "JAVA_HOME",
    "CLASSPATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUNBUFFERED",
    "VIRTUAL_ENV",
    "NODE_PATH",
    "GOPATH",
    "GOTRACEBACK",
    "GODEBUG",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "PERL5LIB",
    "GEM_HOME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "HIP_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
];

/// Last words of names whose value is a plain word: `LOG_LEVEL=info`, `DB_HOST=db`, `AWS_REGION=eu-central-1`.
const SAYS: [&str; 60] = [
    "mode",
    "level",
    "loglevel",
    "type",
    "kind",
    "host",
    "hostname",
    "hosts",
    "server",
    "servers",
    "broker",
    "brokers",
    "peers",
    "node",
    "nodes",
    "port",
    "address",
    "addr",
    "bind",
    "listen",
    "interface",
    "domain",
    "region",
    "zone",
    "cluster",
    "namespace",
    "env",
    "environment",
    "stage",
    "profile",
    "profiles",
    "format",
    "driver",
    "backend",
    "engine",
    "provider",
    "protocol",
    "scheme",
    "version",
    "locale",
    "timezone",
    "user",
    "username",
    "group",
    "db",
    "database",
    "schema",
    "bucket",
    "queue",
    "topic",
    "app",
    "application",
    "module",
    "service",
    "role",
    "roles",
    "model",
    "policy",
    "encoding",
    "branch",
];

/// Whether values of this variable are published as all other text is.
pub fn is_ordinary(name: &str) -> bool {
    super::is_one_of(name, ORDINARY)
}

/// Whether the name says that the value is a plain word.
pub fn says_a_word(name: &str) -> bool {
    let words = split(name);
    words.last().is_some_and(|last| SAYS.contains(&last.as_str()))
}

/// Whether the name says that the value is a model, which its maker's name may stand before.
pub fn says_a_model(name: &str) -> bool {
    split(name).last().is_some_and(|last| last == "model")
}
