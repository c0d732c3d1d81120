//! Where the controller may write, read and remove files in a guest.
//!
//! Every path is checked here before it is sent, whoever made it: a manifest is guest content, and a
//! hostile one must not make the controller remove or overwrite anything but units.

use safetytwin_crds::names::{UnitName, printable};

use super::GuestError;

/// Directory of the units that the controller places.
pub const UNIT_DIR: &str = "/etc/systemd/system";

/// Where the guest's service manager looks for unit files (systemd.unit(5)), highest priority first.
pub const UNIT_PATHS: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/transient",
];

/// Checks a path of a unit file or drop-in: `/etc/systemd/system/NAME` or
/// `/etc/systemd/system/NAME.d/FILE.conf` with NAME by the grammar of unit names.
pub fn check(call: &'static str, path: &str) -> Result<(), GuestError> {
    if is_ours(path) {
        return Ok(());
    }
    Err(GuestError::Failed {
        call,
        message: format!("the path {:?} is not one of ours", printable(path, 200)),
    })
}

fn is_ours(path: &str) -> bool {
    let Some(rest) = path.strip_prefix(UNIT_DIR).and_then(|p| p.strip_prefix('/')) else {
        return false;
    };
    match rest.split_once('/') {
        None => rest.parse::<UnitName>().is_ok(),
        Some((directory, file)) => {
            let unit = directory.strip_suffix(".d").map(str::parse::<UnitName>);
            matches!(unit, Some(Ok(_))) && is_drop_in(file)
        }
    }
}

fn is_drop_in(file: &str) -> bool {
    file.len() <= 200
        && !file.starts_with('.')
        && file.strip_suffix(".conf").is_some_and(|stem| !stem.is_empty())
        && file
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The directory of `path`, and its last component.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_units_and_their_drop_ins_may_be_written() {
        for path in [
            "/etc/systemd/system/web.service",
            "/etc/systemd/system/web@1.service",
            "/etc/systemd/system/web.service.d/50-safetytwin.conf",
        ] {
            assert!(check("write", path).is_ok(), "{path}");
        }
        for path in [
            "/etc/passwd",
            "/etc/systemd/system/",
            "/etc/systemd/system",
            "/etc/systemd/systemx/web.service",
            "/etc/systemd/system/../../passwd.service",
            "/etc/systemd/system/web.service/x",
            "/etc/systemd/system/web.service.d/../../x.conf",
            "/etc/systemd/system/web.service.d/.conf",
            "/etc/systemd/system/web.service.d/a/b.conf",
            "/etc/systemd/system/multi-user.target.wants/web.service",
            "/etc/systemd/system/a\n.service",
            "etc/systemd/system/web.service",
            "",
        ] {
            assert!(check("write", path).is_err(), "{path}");
        }
    }
}
