//! What is mounted in PID 1's mount namespace (proc_pid_mountinfo(5)), and what is swapped to.

use safetytwin_crds::names::printable;

/// A mount of a whole file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the device; btrfs has made-up ones.
    pub device: String,
    /// What is mounted: `/dev/vda1`.
    pub source: String,
    /// Where.
    pub point: String,
    /// Type of the file system.
    pub filesystem: String,
}

/// Where kubelet and the engines mount what comes and goes with pods and containers.
const PASSING: [&str; 4] = [
    "/var/lib/kubelet/",
    "/var/lib/docker/",
    "/var/lib/containers/",
    "/run/containerd/",
];
/// lsblk's name for swap space in use.
const SWAP: &str = "[SWAP]";

/// Mounts of whole file systems that stay: a bind of a part of one is none of the device's.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let (device, root, point) = (left.nth(2)?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (filesystem, source) = (right.next()?, right.next()?);
    let options = right.next().unwrap_or_default();
    // The subvolume of btrfs that is mounted stands for the whole.
    let subvolume = || options.split(',').find_map(|o| o.strip_prefix("subvol="));
    let whole = root == "/" || (filesystem == "btrfs" && subvolume() == Some(root));
    let point = unescape(point);
    let stays = !PASSING.iter().any(|dir| point.starts_with(dir));
    (whole && stays).then(|| Mount {
        device: device.to_owned(),
        source: unescape(source),
        point: printable(&point, 256),
        filesystem: printable(filesystem, 32),
    })
}

/// Lines of `/proc/swaps` as mounts.
pub fn swaps(swaps: &str) -> Vec<Mount> {
    let lines = swaps.lines().skip(1).filter(|line| line.starts_with("/dev/"));
    let swap = |line: &str| Mount {
        device: String::new(),
        source: unescape(line.split_whitespace().next().unwrap_or_default()),
        point: SWAP.to_owned(),
        filesystem: "swap".to_owned(),
    };
    lines.map(swap).collect()
}

/// Undoes the kernel's `\040` for a blank.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = code.and_then(|_| after.get(3..)).unwrap_or(after);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(line: &str) -> Vec<String> {
        mounts(line).into_iter().map(|mount| mount.point).collect()
    }

    #[test]
    fn only_mounts_of_whole_file_systems_that_stay_are_kept() {
        let ext4 =
            |root: &str, point: &str| format!("1 2 8:1 {root} {point} rw shared:1 - ext4 /dev/vda1 rw");
        assert_eq!(points(&ext4("/", "/srv")), ["/srv"]);
        assert!(points(&ext4("/x", "/etc/hosts")).is_empty());
        assert!(points(&ext4("/", "/var/lib/kubelet/pods/1/volumes/v")).is_empty());
        let btrfs =
            |root: &str| format!("1 2 0:30 {root} /home rw - btrfs /dev/vda2 rw,subvolid=5,subvol=/@home");
        assert_eq!(points(&btrfs("/@home")), ["/home"]);
        assert!(points(&btrfs("/@home/user")).is_empty());
    }

    #[test]
    fn hostile_mount_points_are_shown_as_text_and_broken_lines_are_left_out() {
        let line = |point: &str| format!("1 2 8:1 / {point} rw - ext4 /dev/vda1 rw");
        assert_eq!(points(&line("/with\\040blank")), ["/with blank"]);
        assert_eq!(points(&line("/a\\012b\\033c")), ["/a\\nb\\u{1b}c"]);
        assert_eq!(points(&line("/odd\\9z\\")), ["/odd\\9z\\"]);
        assert_eq!(points(&line(&"x".repeat(9000)))[0].len(), 256);
        for broken in [
            "",
            " - ",
            "1 2 8:1 / /srv",
            "1 - ext4",
            "1 2 8:1 / /srv rw - ext4",
        ] {
            assert!(points(broken).is_empty(), "{broken}");
        }
    }
}
