//! Kernel parameters that somebody set: what sysctl.d(5) and sysctl.conf(5) files say, and what
//! the kernel has now. A kernel's defaults depend on the machine, so "differs from the default" is
//! read as "a file sets it"; what was only written to /proc/sys does not survive a boot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use safetytwin_crds::item::SysctlItem;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use super::text::{configuration, is_conf_name, read, watched};
use super::{Listed, Look, Source};
use crate::collect::CollectError;
use crate::hostroot::{HostRoot, read_plain};
use crate::redact::{Redactor, shape};

/// By precedence. `/run/sysctl.d` is left out: mounting `/run` would show engines' sockets.
const DIRECTORIES: [&str; 4] = [
    "/etc/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];
/// sysctl(8) reads it last; for systemd a link in sysctl.d leads to it.
const CONF: &str = "/etc/sysctl.conf";
const LONGEST: usize = 1024;
const MOST: usize = 10_000;
/// Writable, but the kernel moves it with every process.
const MOVING: &str = "kernel.ns_last_pid";
/// Parameters of the IPC namespace (ipc_namespaces(7)): a pod sees its own.
const IPC: [&str; 5] = [
    "kernel.msg",
    "kernel.sem",
    "kernel.shm",
    "kernel.auto_msgmni",
    "fs.mqueue.",
];

/// The source.
pub struct Parameters(pub Redactor);

impl Source for Parameters {
    const SECTION: SectionName = SectionName::Sysctl;
    /// What is written to /proc/sys has no event in a directory.
    const AUDIT: Duration = Duration::from_secs(60);

    fn directories(&self, _: &HostRoot) -> Vec<String> {
        watched(&DIRECTORIES)
    }

    fn matters(name: &[u8]) -> bool {
        name == b"sysctl.d" || is_conf_name(name)
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let mut gaps = Vec::new();
        let mut files = configuration(root, &DIRECTORIES, &mut gaps);
        if let Some(text) = read(root, CONF, &mut gaps) {
            files.push((CONF.to_owned(), text));
        }
        let mut set = BTreeMap::new();
        for (path, text) in &files {
            for line in text.lines() {
                if let Some((key, value)) = assignment(line) {
                    set.insert(key, (value, path.as_str()));
                }
            }
        }
        if set.len() > MOST {
            gaps.push(format!("{} of {} keys are left out", set.len() - MOST, set.len()));
        }
        let items = set.into_iter().take(MOST);
        let items: Vec<SysctlItem> = items
            .map(|(key, (value, path))| item(&self.0, root, key, value, path))
            .collect();
        Ok(Look {
            items: Listed::of(&items, &mut gaps)?,
            gaps,
        })
    }
}

/// Key as sysctl(8) shows it, and the value; none for a comment or what is no assignment. A key
/// alone with `-` before it is left out of what patterns set.
fn assignment(line: &str) -> Option<(String, Option<String>)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    // Before an assignment `-` says that a failure does not matter.
    let bare = line.strip_prefix('-').unwrap_or(line).trim_start();
    let (key, value) = match bare.split_once('=') {
        Some((key, value)) => (key.trim(), Some(words(value))),
        None if bare.len() < line.len() => (bare, None),
        None => return None,
    };
    let of = |c: char| c.is_ascii_alphanumeric() || "._-/*?[]!:@+,".contains(c);
    let valid = (1..=256).contains(&key.len()) && key.chars().all(of) && !key.contains("..");
    valid.then(|| (dotted(key), value))
}

/// `net/ipv4/conf/eth0.1/x` is `net.ipv4.conf.eth0/1.x`: the first separator decides.
fn dotted(key: &str) -> String {
    let first = key.find(['.', '/']).and_then(|at| key.get(at..=at));
    if first != Some("/") {
        return key.to_owned();
    }
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    key.chars().map(swap).collect()
}

/// Words with one space between, as `sysctl -n` differs from files only in tabs.
fn words(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    printable(&words.join(" "), LONGEST)
}

fn item(
    redactor: &Redactor,
    root: &HostRoot,
    key: String,
    configured: Option<String>,
    source: &str,
) -> SysctlItem {
    let text = format!("{key}={}", configured.as_deref().unwrap_or_default());
    let secret = is_secret(&key) || redactor.text(&text).count > 0;
    SysctlItem {
        live: if secret { None } else { live(root, &key) },
        configured: if secret {
            configured.map(|value| redactor.whole(&value).text)
        } else {
            configured
        },
        source: printable(source, 300),
        redacted: secret,
        name: key,
    }
}

/// stable_secret, tcp_fastopen_key and their like.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    last.ends_with("_key") || last.ends_with("secret") || shape::secret_name(last)
}

/// The kernel's value of a key that only changes when somebody writes it.
fn live(root: &HostRoot, key: &str) -> Option<String> {
    let hidden = !root.is_whole() && IPC.iter().any(|prefix| key.starts_with(prefix));
    if hidden || key == MOVING || key.contains(['*', '?', '[']) {
        return None;
    }
    let path = path(root, key);
    let metadata = std::fs::metadata(&path).ok()?;
    // Counters cannot be written.
    let settable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o222 != 0;
    let value = read_plain(&path, 64 * 1024).ok().filter(|_| settable)?;
    Some(words(&String::from_utf8_lossy(&value)))
}

/// Where a key is: dots lead down, a slash stands for a dot in a name. No part of it can lead up.
fn path(root: &HostRoot, key: &str) -> PathBuf {
    let parts = key.split('.').map(|part| part.replace('/', "."));
    let parts = parts.filter(|part| !part.is_empty() && part != "." && part != "..");
    parts.fold(root.proc().join("sys"), |path, part| path.join(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_sysctl_shows_them_and_never_lead_out() {
        assert_eq!(
            dotted("net/ipv4/conf/eth0.1/rp_filter"),
            "net.ipv4.conf.eth0/1.rp_filter"
        );
        assert_eq!(
            dotted("net.ipv4.conf.eth0/1.rp_filter"),
            "net.ipv4.conf.eth0/1.rp_filter"
        );
        let root = HostRoot::new("/", "/p", "/sys");
        assert_eq!(
            path(&root, "net.ipv4.conf.eth0/1.x"),
            PathBuf::from("/p/sys/net/ipv4/conf/eth0.1/x")
        );
        assert_eq!(path(&root, "a.//.b"), PathBuf::from("/p/sys/a/b"));
        assert_eq!(assignment("../../etc/passwd = 1"), None);
        assert_eq!(
            assignment("/etc/passwd = 1").map(|(k, _)| path(&root, &k)),
            Some("/p/sys/etc/passwd".into())
        );
    }

    #[test]
    fn comments_and_flags_are_understood() {
        assert_eq!(assignment("# a = 1"), None);
        assert_eq!(
            assignment("-kernel.x = 1\t 2"),
            Some(("kernel.x".into(), Some("1 2".into())))
        );
        assert_eq!(
            assignment("-net.ipv4.conf.lo.rp_filter"),
            Some(("net.ipv4.conf.lo.rp_filter".into(), None))
        );
        assert_eq!(assignment("words"), None);
    }
}
