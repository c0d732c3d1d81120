//! Names that more than one part must agree on: grammar of host-supplied names, derived object
//! names, labels, annotations, finalizers, field managers and well-known paths.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Field manager of the agent.
pub const AGENT_MANAGER: &str = "twin-agent";
/// Field manager of the controller for spec and metadata it owns.
pub const CONTROLLER_MANAGER: &str = "twin-controller";
/// Finalizer on DigitalTwin: removes what the controller made on the hypervisor.
pub const TWIN_FINALIZER: &str = "safetytwin.com/vm";
/// Finalizer on TwinSnapshot: removes the point on the hypervisor.
pub const SNAPSHOT_FINALIZER: &str = "safetytwin.com/point";
/// Finalizer on TwinClass while a twin uses it.
pub const CLASS_FINALIZER: &str = "safetytwin.com/in-use";
/// Label: UID of the twin that an object belongs to.
pub const TWIN_UID_LABEL: &str = "safetytwin.com/twin-uid";
/// Label: name of the twin that an object belongs to.
pub const TWIN_LABEL: &str = "safetytwin.com/twin";
/// Label on automatic snapshots; only these are ever pruned.
pub const AUTOMATIC_LABEL: &str = "safetytwin.com/automatic";
/// Annotation with the plan digest that an administrator allows to remove many items.
pub const APPROVE_REMOVAL: &str = "safetytwin.com/approve-removal";
/// Annotation that forces deletion of a twin and reports what leaks.
pub const FORCE_DELETE: &str = "safetytwin.com/force-delete";
/// Root-owned state directory in the guest, mode 0700.
pub const GUEST_STATE_DIR: &str = "/var/lib/safetytwin";
/// The manifest in the guest: the truth about what is applied.
pub const GUEST_MANIFEST: &str = "/var/lib/safetytwin/manifest.json";
/// The operation under way in the guest.
pub const GUEST_OPERATION: &str = "/var/lib/safetytwin/operation.json";
/// The guest's lock; gone after a reboot.
pub const GUEST_LOCK: &str = "/run/safetytwin/lock";
/// Name of every drop-in that the controller writes.
pub const DROP_IN_NAME: &str = "50-safetytwin.conf";

/// A name that does not follow its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is refused: {why}")]
pub struct InvalidName {
    /// What kind of name it was to be.
    pub what: &'static str,
    /// The name, escaped and cut.
    pub name: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl InvalidName {
    fn new(what: &'static str, name: &str, why: &'static str) -> Self {
        Self {
            what,
            name: printable(name, 80),
            why,
        }
    }
}

/// `text` with control and bidirectional characters escaped and at most `max` bytes long: safe in
/// a terminal, a log line and an event.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let hostile = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let piece: Cow<'_, str> = if hostile {
            c.escape_default().to_string().into()
        } else {
            c.to_string().into()
        };
        if out.len() + piece.len() > max {
            break;
        }
        out.push_str(&piece);
    }
    out
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $max:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check(text).map_err(|why| InvalidName::new(stringify!($name), text, why))?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "minLength": 1, "maxLength": $max})
            }
        }
    };
}

name_type! {
    /// A full unit name by systemd's grammar (systemd.unit(5)): a prefix of letters, digits and
    /// `:-_.\@`, a known suffix, at most 255 bytes, no path.
    UnitName, 255, check_unit_name
}

name_type! {
    /// A container name as Docker and Podman allow it: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 bytes.
    ContainerName, 128, check_container_name
}

name_type! {
    /// Name of a host: a DNS subdomain (node name) of at most 200 bytes, so that section names fit.
    HostName, 200, check_host_name
}

/// The type of a unit: the suffix of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum UnitType {
    Service,
    Socket,
    Target,
    Device,
    Mount,
    Automount,
    Swap,
    Timer,
    Path,
    Slice,
    Scope,
}

impl UnitType {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Service, "service"),
        (Self::Socket, "socket"),
        (Self::Target, "target"),
        (Self::Device, "device"),
        (Self::Mount, "mount"),
        (Self::Automount, "automount"),
        (Self::Swap, "swap"),
        (Self::Timer, "timer"),
        (Self::Path, "path"),
        (Self::Slice, "slice"),
        (Self::Scope, "scope"),
    ];

    /// The suffix without its dot.
    pub fn suffix(self) -> &'static str {
        Self::ALL.iter().find(|(t, _)| *t == self).map_or("", |(_, s)| s)
    }
}

impl UnitName {
    /// The unit's type, from its suffix.
    pub fn unit_type(&self) -> UnitType {
        let suffix = self.0.rsplit_once('.').map_or("", |(_, s)| s);
        // Checked when the name was made; the fallback is never reached.
        UnitType::ALL
            .iter()
            .find(|(_, s)| *s == suffix)
            .map_or(UnitType::Service, |(t, _)| *t)
    }

    /// The name without its type suffix.
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(self.0.as_str(), |(stem, _)| stem)
    }

    /// The template of an instance: `getty@.service` for `getty@tty1.service`.
    pub fn template(&self) -> Option<String> {
        let (prefix, instance) = self.stem().split_once('@')?;
        (!instance.is_empty()).then(|| format!("{prefix}@.{}", self.unit_type().suffix()))
    }

    /// Whether this is a template, which cannot run itself.
    pub fn is_template(&self) -> bool {
        self.stem().ends_with('@')
    }
}

fn check_unit_name(text: &str) -> Result<(), &'static str> {
    if text.len() > 255 {
        return Err("longer than 255 bytes");
    }
    let Some((stem, suffix)) = text.rsplit_once('.') else {
        return Err("no type suffix such as .service");
    };
    if !UnitType::ALL.iter().any(|(_, s)| *s == suffix) {
        return Err("unknown type suffix");
    }
    if stem.is_empty() || stem.starts_with('@') {
        return Err("no name before the suffix");
    }
    // systemd reads no hidden file. Dots elsewhere are plain: without a slash they are no path.
    if stem.starts_with('.') {
        return Err("a dot at its beginning");
    }
    if !stem
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
    {
        return Err("a character outside letters, digits and :-_.\\@");
    }
    Ok(())
}

fn check_container_name(text: &str) -> Result<(), &'static str> {
    if text.len() > 128 {
        return Err("longer than 128 bytes");
    }
    if !text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) {
        return Err("does not begin with a letter or digit");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    {
        return Err("a character outside letters, digits and _.-");
    }
    Ok(())
}

fn check_host_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 200 {
        return Err("not between 1 and 200 bytes long");
    }
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.split('.').all(label) {
        Ok(())
    } else {
        Err("not a lower-case DNS subdomain (RFC 1123)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_outside_systemds_grammar_are_refused() {
        for name in [
            "../../etc/cron.d/x.service",
            "a/b.service",
            ".service",
            "a.service\n",
            "foo@$(id).service",
            "x",
            "x.evil",
            "a b.service",
            "\u{202e}evil.service",
            "..service",
            "@x.service",
        ] {
            assert!(name.parse::<UnitName>().is_err(), "{name:?}");
        }
        assert!(
            format!("{}.service", "a".repeat(248))
                .parse::<UnitName>()
                .is_err()
        );
    }

    #[test]
    fn unit_names_of_real_hosts_are_accepted() {
        for name in [
            "nginx.service",
            "getty@tty1.service",
            "dev-disk-by\\x2duuid.swap",
            "a:b_c-d.e.timer",
            "-.mount",
            "x..y.service",
        ] {
            assert!(name.parse::<UnitName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn an_instance_knows_its_template() {
        let unit: UnitName = "getty@tty1.service".parse().unwrap();
        assert_eq!(unit.template().as_deref(), Some("getty@.service"));
        assert_eq!("nginx.service".parse::<UnitName>().unwrap().template(), None);
        assert!("getty@.service".parse::<UnitName>().unwrap().is_template());
    }

    #[test]
    fn container_names_that_could_be_options_or_paths_are_refused() {
        for name in ["-v", "--privileged", "$(reboot)", "/", "", "a b"] {
            assert!(name.parse::<ContainerName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn printable_text_has_no_control_or_direction_characters() {
        assert_eq!(
            printable("a\u{1b}[31m\n\u{202e}b", 99),
            "a\\u{1b}[31m\\n\\u{202e}b"
        );
        assert!(printable(&"\u{e9}".repeat(100), 9).len() <= 9);
    }
}
