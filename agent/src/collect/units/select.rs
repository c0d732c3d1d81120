//! Which units are items at all: what an administrator declared, never what a login, a connection
//! or the kernel makes and takes away.

use std::collections::BTreeSet;

use safetytwin_crds::names::{UnitName, UnitType};

use crate::hostroot::HostRoot;

/// Users whose manager is to run without a login (loginctl(1), enable-linger).
pub fn lingering_users(root: &HostRoot, accounts: &crate::collect::accounts::Accounts) -> BTreeSet<u32> {
    let names = root.list("/var/lib/systemd/linger").unwrap_or_default();
    let ids = names.iter().filter_map(|name| accounts.user(name.to_str()?).id);
    ids.collect()
}

/// Whether `unit` is an item. `in_use` means active, activating or failed; `has_file` that
/// it has a unit file of its own; `loaded` is its `LoadState`, none when it is not in memory.
pub fn is_item(
    unit: &UnitName,
    loaded: Option<&str>,
    in_use: bool,
    has_file: bool,
    lingering: &BTreeSet<u32>,
) -> bool {
    if unit.is_template() || made_by_a_login_or_connection(unit, lingering) {
        return false;
    }
    match unit.unit_type() {
        // The kernel's and the session manager's.
        UnitType::Device | UnitType::Scope => false,
        // Those without a file follow the mount table and containers.
        UnitType::Mount | UnitType::Automount | UnitType::Swap | UnitType::Slice => has_file,
        UnitType::Service | UnitType::Socket | UnitType::Target | UnitType::Timer | UnitType::Path => {
            match loaded {
                None => has_file,
                // Only named by another unit.
                Some("not-found") => in_use,
                Some(_) => true,
            }
        }
    }
}

fn made_by_a_login_or_connection(unit: &UnitName, lingering: &BTreeSet<u32>) -> bool {
    if unit.as_str().starts_with("dbus-:") {
        return true;
    }
    let Some((prefix, instance)) = unit.stem().split_once('@') else {
        return false;
    };
    match prefix {
        "user" => instance.parse().map_or(true, |id: u32| !lingering.contains(&id)),
        "user-runtime-dir" => true,
        _ => is_connection(instance),
    }
}

/// Instances of `Accept=yes` sockets: `NR-ADDRESS:PORT-ADDRESS:PORT` or `NR-PID-UID`.
fn is_connection(instance: &str) -> bool {
    let Some((number, rest)) = instance.split_once('-') else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((from, to)) = rest.split_once('-') else {
        return false;
    };
    let port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| digits(port));
    digits(number) && ((digits(from) && (digits(to) || to == "unknown")) || (port(from) && port(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(unit: &str, loaded: Option<&str>, in_use: bool, has_file: bool) -> bool {
        is_item(
            &unit.parse().unwrap(),
            loaded,
            in_use,
            has_file,
            &BTreeSet::from([1000]),
        )
    }

    #[test]
    fn a_login_and_a_connection_add_no_unit() {
        for unit in [
            "user@0.service",
            "user-runtime-dir@0.service",
            "session-3.scope",
            "ssh@3-10.0.0.1:22-10.0.0.2:50000.service",
            "systemd-coredump@1-4242-0.service",
            "dbus-:1.3-org.freedesktop.problems@0.service",
        ] {
            assert!(!item(unit, Some("loaded"), true, false), "{unit}");
        }
    }

    #[test]
    fn declared_units_are_items_whether_or_not_they_run() {
        for (unit, loaded, in_use, has_file) in [
            ("nginx.service", Some("loaded"), true, true),
            ("nginx.service", None, false, true),
            ("user@1000.service", Some("loaded"), true, true),
            ("getty@tty1.service", Some("loaded"), true, false),
            ("worker@3-a.service", Some("loaded"), true, false),
            ("gone.service", Some("not-found"), true, false),
            ("srv.mount", Some("loaded"), true, true),
        ] {
            assert!(item(unit, loaded, in_use, has_file), "{unit}");
        }
        for (unit, loaded, has_file) in [
            ("named-by-another.service", Some("not-found"), false),
            ("run-docker-netns-1.mount", Some("loaded"), false),
            ("worker@.service", None, true),
        ] {
            assert!(!item(unit, loaded, false, has_file), "{unit}");
        }
    }
}
