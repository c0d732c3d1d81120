//! Block devices as lsblk shows them: disks and partitions, what device-mapper, md and loop make of
//! them, and where they are mounted. No device is opened.

use std::path::Path;

use safetytwin_crds::item::machine::Disk;
use safetytwin_crds::names::printable;

use super::mounts::{Mount, mounts, swaps};
use super::source::{Source, number, value, word};

const DEVICES: usize = 512;
const MOUNTPOINTS: usize = 64;
/// Unit of `size` in sysfs, whatever the device's own block size is.
const SECTOR: u64 = 512;
/// SCSI peripheral device type of CD and DVD drives.
const ROM: u64 = 5;

/// Block devices that have a size, sorted by name.
pub fn disks(source: &mut Source) -> Vec<Disk> {
    let info = source.proc("1/mountinfo");
    let mut mounted = mounts(&info);
    mounted.extend(swaps(&source.proc("swaps")));
    let dir = source.sys("block");
    let mut disks = Vec::new();
    // Disks of memory are none of the machine's.
    let names = source
        .names(&dir)
        .into_iter()
        .filter(|name| !name.starts_with("ram"));
    for name in names.collect::<Vec<_>>() {
        let path = dir.join(&name);
        let rotational = number(&path.join("queue/rotational")) == Some(1);
        let Some(disk) = device(source, &path, &name, &mounted) else {
            continue;
        };
        let inside = source.names(&path);
        for part in inside.iter().filter(|part| part.starts_with(&name)) {
            let path = path.join(part);
            if path.join("partition").exists()
                && let Some(part) = device(source, &path, part, &mounted)
            {
                disks.push(Disk {
                    kind: "part".into(),
                    parents: vec![disk.name.clone()],
                    rotational,
                    ..part
                });
            }
        }
        let mut parents = source.names(&path.join("slaves"));
        parents.truncate(DEVICES);
        disks.push(Disk {
            kind: kind(&path, &name),
            parents: parents.iter().map(|parent| printable(parent, 64)).collect(),
            model: word(&path.join("device/model")),
            rotational,
            ..disk
        });
    }
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    source.bound("block devices", &mut disks, DEVICES);
    disks
}

/// What a disk and a partition have in common; none without a size.
fn device(source: &mut Source, path: &Path, name: &str, mounted: &[Mount]) -> Option<Disk> {
    let size = number(&path.join("size")).and_then(|sectors| sectors.checked_mul(SECTOR));
    let size_bytes = size.and_then(|bytes| i64::try_from(bytes).ok());
    let Some(size_bytes) = size_bytes else {
        // A size that is no size; a device that went meanwhile is no gap.
        if path.exists() {
            source.gaps.push(format!("size of {}", printable(name, 64)));
        }
        return None;
    };
    if size_bytes == 0 {
        return None;
    }
    let number_pair = word(&path.join("dev"));
    let mapped_name = word(&path.join("dm/name"));
    let paths = [format!("/dev/{name}"), format!("/dev/mapper/{mapped_name}")];
    // What is swapped to is known by its path alone.
    let is_here = |mount: &&Mount| {
        let by_number = !number_pair.is_empty() && mount.device == number_pair;
        by_number || paths.contains(&mount.source) && !mount.source.ends_with('/')
    };
    let here: Vec<&Mount> = mounted.iter().filter(is_here).collect();
    let mut mountpoints: Vec<String> = here.iter().map(|mount| mount.point.clone()).collect();
    mountpoints.sort();
    mountpoints.dedup();
    mountpoints.truncate(MOUNTPOINTS);
    let udev = source
        .root
        .read(&format!("/run/udev/data/b{number_pair}"), 64 * 1024);
    let udev = udev.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let by_udev = value(udev.as_deref().unwrap_or_default(), "E:ID_FS_TYPE");
    let by_mount = || here.first().map_or("", |mount| mount.filesystem.as_str());
    let filesystem = if by_udev.is_empty() { by_mount() } else { by_udev };
    Some(Disk {
        name: printable(name, 64),
        filesystem: printable(filesystem, 32),
        read_only: number(&path.join("ro")) == Some(1),
        mapped_name,
        size_bytes,
        mountpoints,
        ..Disk::default()
    })
}

/// lsblk's TYPE (util-linux, misc-utils/lsblk.c, `get_type`).
fn kind(path: &Path, name: &str) -> String {
    let uuid = word(&path.join("dm/uuid"));
    let level = word(&path.join("md/level"));
    match uuid.split_once('-') {
        Some((prefix, _)) if prefix.to_lowercase().starts_with("part") => "part".into(),
        Some((prefix, _)) => prefix.to_lowercase(),
        None if path.join("dm").exists() => "dm".into(),
        None if !level.is_empty() => level,
        None if name.starts_with("loop") => "loop".into(),
        None if number(&path.join("device/type")) == Some(ROM) => "rom".into(),
        None => "disk".into(),
    }
}
