//! Data: what a unit file of a host may not say in its twin, and why.
//!
//! Code of the host runs as root in its twin, so this is no wall against the host. It keeps the
//! twin's own means of being a twin (its channel, its power state, its identity, its keys) out of
//! reach of unit files that are right for the host: a copied unit must neither power the twin off,
//! nor stop its sshd, nor read keys that exist only there.

/// What to do with a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Never written.
    Never,
    /// Written only when it is `none`.
    OnlyNone,
    /// A path: left out when [`SENSITIVE`] covers it.
    Paths,
    /// `source[:target…]`, several: left out when the source is `/` or sensitive.
    Binds,
    /// `file:path`, `append:path` or `truncate:path`: left out when the path is sensitive.
    Stream,
    /// Unit names that are started along: power targets are left out.
    PullsIn,
    /// Unit names that are stopped along: units that the twin needs are left out.
    Stops,
    /// Other names that enabling gives the unit: protected ones are left out, paths refused.
    Alias,
    /// Units that enabling links or enables along: protected ones are left out, paths refused.
    Install,
}

/// A directive that is not written as it is.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// Its name.
    pub key: &'static str,
    /// What to do with it.
    pub rule: Rule,
    /// Why, as it stands in status.
    pub why: &'static str,
}

const fn directive(key: &'static str, rule: Rule, why: &'static str) -> Directive {
    Directive { key, rule, why }
}

const SECRET: &str = "secrets of the host are never copied";
const IMAGE: &str = "images and devices of the host do not exist in a twin";
const POWER: &str = "a unit must not decide over the twin's power state";
const CHANNEL: &str = "it would stop what the twin needs";
const KEYS: &str = "it reaches files that belong to the twin";
const NAMES: &str = "it would take the place of a unit that the twin needs";

/// All directives with a rule, sorted by name (systemd.unit(5), .exec(5), .service(5)).
pub const DIRECTIVES: &[Directive] = &[
    directive("Alias", Rule::Alias, NAMES),
    directive("Also", Rule::Install, NAMES),
    directive("BindPaths", Rule::Binds, KEYS),
    directive("BindReadOnlyPaths", Rule::Binds, KEYS),
    directive("BindsTo", Rule::PullsIn, POWER),
    directive("Conflicts", Rule::Stops, CHANNEL),
    directive("EnvironmentFile", Rule::Paths, KEYS),
    directive("ExtensionDirectories", Rule::Never, IMAGE),
    directive("ExtensionImages", Rule::Never, IMAGE),
    directive("FailureAction", Rule::OnlyNone, POWER),
    directive("ImportCredential", Rule::Never, SECRET),
    directive("JobTimeoutAction", Rule::OnlyNone, POWER),
    directive("LoadCredential", Rule::Never, SECRET),
    directive("LoadCredentialEncrypted", Rule::Never, SECRET),
    directive("MountImages", Rule::Never, IMAGE),
    directive("OnFailure", Rule::PullsIn, POWER),
    directive("OnSuccess", Rule::PullsIn, POWER),
    directive("OpenFile", Rule::Binds, KEYS),
    directive("PropagatesStopTo", Rule::Stops, CHANNEL),
    directive("RequiredBy", Rule::Install, NAMES),
    directive("Requires", Rule::PullsIn, POWER),
    directive("RootDirectory", Rule::Paths, KEYS),
    directive("RootEphemeral", Rule::Never, IMAGE),
    directive("RootHash", Rule::Never, IMAGE),
    directive("RootHashSignature", Rule::Never, IMAGE),
    directive("RootImage", Rule::Never, IMAGE),
    directive("RootImageOptions", Rule::Never, IMAGE),
    directive("RootImagePolicy", Rule::Never, IMAGE),
    directive("RootVerity", Rule::Never, IMAGE),
    directive("SetCredential", Rule::Never, SECRET),
    directive("SetCredentialEncrypted", Rule::Never, SECRET),
    directive("StandardError", Rule::Stream, KEYS),
    directive("StandardInput", Rule::Stream, KEYS),
    directive("StandardOutput", Rule::Stream, KEYS),
    directive("StartLimitAction", Rule::OnlyNone, POWER),
    directive("SuccessAction", Rule::OnlyNone, POWER),
    directive("TemporaryFileSystem", Rule::Binds, KEYS),
    directive("Unit", Rule::PullsIn, POWER),
    directive("UpheldBy", Rule::Install, NAMES),
    directive("Upholds", Rule::PullsIn, POWER),
    directive("WantedBy", Rule::Install, NAMES),
    directive("Wants", Rule::PullsIn, POWER),
];

/// Files and directories of a twin that are its own: accounts, its host keys, who may log in, what
/// we recorded, raw devices and kernel files.
pub const SENSITIVE: &[&str] = &[
    "/boot",
    "/dev",
    "/etc/gshadow",
    "/etc/machine-id",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/systemd",
    "/proc",
    "/root/.ssh",
    "/run/credentials",
    "/run/docker.sock",
    "/run/podman",
    "/run/safetytwin",
    "/run/systemd",
    "/sys",
    "/var/lib/cloud",
    "/var/lib/safetytwin",
    "/var/run/docker.sock",
    "/var/run/podman",
];

/// What a unit may use although [`SENSITIVE`] covers it: sockets that every service may speak to.
pub const HARMLESS: &[&str] = &[
    "/dev/log",
    "/dev/null",
    "/dev/shm",
    "/dev/urandom",
    "/run/systemd/journal",
    "/run/systemd/notify",
];

/// Targets and units that end or change the running of a machine.
pub const POWER_UNITS: &[&str] = &[
    "ctrl-alt-del.target",
    "emergency.service",
    "emergency.target",
    "exit.target",
    "factory-reset.target",
    "final.target",
    "halt.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "kexec.target",
    "poweroff.target",
    "reboot.target",
    "rescue.service",
    "rescue.target",
    "runlevel0.target",
    "runlevel1.target",
    "runlevel6.target",
    "shutdown.target",
    "sleep.target",
    "soft-reboot.target",
    "suspend-then-hibernate.target",
    "suspend.target",
    "systemd-halt.service",
    "systemd-hibernate.service",
    "systemd-kexec.service",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-soft-reboot.service",
    "systemd-suspend.service",
    "umount.target",
];

/// Directives of sockets that open a port; the twin's own sshd listens at [`CHANNEL_PORT`].
pub const LISTENS: &[&str] = &["ListenStream", "ListenDatagram", "ListenSequentialPacket"];

/// Port of the twin's sshd.
pub const CHANNEL_PORT: &str = "22";

/// The rule of a directive, if it has one.
pub fn rule_of(key: &str) -> Option<&'static Directive> {
    let place = DIRECTIVES.binary_search_by(|d| d.key.cmp(key)).ok()?;
    DIRECTIVES.get(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_so_that_they_can_be_searched() {
        assert!(DIRECTIVES.windows(2).all(|w| w[0].key < w[1].key));
        assert!(SENSITIVE.is_sorted() && HARMLESS.is_sorted() && POWER_UNITS.is_sorted());
    }
}
