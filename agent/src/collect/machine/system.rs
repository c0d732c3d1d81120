//! The operating system, the service manager and the board, as their files name them.

use safetytwin_crds::item::machine::{Firmware, Os};
use safetytwin_crds::names::printable;

use super::source::{Source, value, word};
use crate::hostroot::HostRoot;

const TIMESYNC: &str = "/run/systemd/timesync";
/// Where systemd's own library lies, which carries its version in its name.
const SYSTEMD: [&str; 3] = [
    "/usr/lib/systemd",
    "/usr/lib64/systemd",
    "/usr/lib/ARCH-linux-gnu/systemd",
];

/// The static host name, else the present one.
pub fn hostname(source: &mut Source) -> String {
    let name = source.root.read_word("/etc/hostname");
    let name = name.unwrap_or_else(|| source.proc("sys/kernel/hostname"));
    printable(name.trim(), 64)
}

/// os-release(5).
pub fn os(root: &HostRoot) -> Os {
    let text = root.read_word("/etc/os-release").unwrap_or_default();
    let get = |key: &str| printable(value(&text, key).trim_matches(['"', '\'']), 128);
    Os {
        id: get("ID"),
        version_id: get("VERSION_ID"),
        pretty_name: get("PRETTY_NAME"),
    }
}

/// "Debian 12": the first word of the name and the version.
pub fn short_os(os: &Os) -> String {
    let name = os.pretty_name.split_whitespace().next().unwrap_or(&os.id);
    format!("{name} {}", os.version_id).trim().to_owned()
}

/// systemd's version by `libsystemd-shared-252.so`; 0 when there is none.
pub fn systemd(root: &HostRoot) -> i32 {
    let version = |name: &str| {
        let rest = name.strip_prefix("libsystemd-shared-")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<i32>().ok()
    };
    let dirs = SYSTEMD.map(|dir| dir.replace("ARCH", std::env::consts::ARCH));
    let names = dirs.iter().flat_map(|dir| root.list(dir).unwrap_or_default());
    let versions = names.filter_map(|name| version(name.to_str()?));
    versions.max().unwrap_or(0)
}

/// DMI vendor and product.
pub fn product(source: &Source) -> String {
    let dmi = |file: &str| word(&source.sys(&format!("class/dmi/id/{file}")));
    let product = format!("{} {}", dmi("sys_vendor"), dmi("product_name"));
    product.trim().to_owned()
}

/// How it was booted; unknown without the directory that would tell.
pub fn firmware(source: &Source) -> Option<Firmware> {
    let dir = source.sys("firmware");
    let uefi = dir.join("efi").exists();
    dir.exists()
        .then_some(if uefi { Firmware::Uefi } else { Firmware::Bios })
}

/// Whether systemd-timesyncd has set the clock since it started. Other daemons leave no such note,
/// and to ask timedated would start it: then it is unknown.
pub fn clock_synchronized(root: &HostRoot) -> Option<bool> {
    root.modified(TIMESYNC)?;
    Some(root.modified(&format!("{TIMESYNC}/synchronized")).is_some())
}
