//! Load for the `observed` section: nearly exact, said again only when it moved.

use std::path::Path;

use safetytwin_crds::item::observed::{DiskUsage, ObservedLoad, Pressure};
use safetytwin_crds::names::printable;

use super::{centi, kib, text};
use crate::collect::steady::Steady;
use crate::hostroot::{HostRoot, read_plain};

const DISKS: usize = 256;
/// Unit of `/proc/diskstats`, whatever the device's own block size is.
const SECTOR: u64 = 512;

/// The load.
pub fn load(root: &HostRoot, steady: &mut Steady) -> ObservedLoad {
    let proc = root.proc();
    let meminfo = text(proc, "meminfo").unwrap_or_default();
    let used = |total: &str, free: &str| {
        let used = kib(&meminfo, total)?.checked_sub(kib(&meminfo, free)?)?;
        used.checked_mul(1024)
    };
    let averages = text(proc, "loadavg").unwrap_or_default();
    let averages: Vec<u64> = averages.split_whitespace().take(3).filter_map(centi).collect();
    let mut hold = |key: String, number: u64| steady.hold(key, number);
    let load = ObservedLoad {
        memory_used_bytes: used("MemTotal", "MemAvailable").map(|n| hold("memory".into(), n)),
        swap_used_bytes: used("SwapTotal", "SwapFree").map(|n| hold("swap".into(), n)),
        load_centi: averages
            .iter()
            .enumerate()
            .map(|(at, n)| hold(format!("load {at}"), *n))
            .collect(),
        pressure: ["cpu", "io", "memory"]
            .into_iter()
            .filter_map(|resource| pressure(proc, resource, &mut hold))
            .collect(),
        disks: disks(root, &mut hold),
    };
    steady.end();
    load
}

fn pressure(proc: &Path, resource: &str, hold: &mut impl FnMut(String, u64) -> u64) -> Option<Pressure> {
    let text = text(proc, &format!("pressure/{resource}"))?;
    let mut average = |who: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(who))?;
        let number = line.split_once("avg60=")?.1.split_whitespace().next()?;
        Some(hold(format!("pressure {resource} {who}"), centi(number)?))
    };
    Some(Pressure {
        some_centi: average("some "),
        full_centi: average("full "),
        resource: resource.to_owned(),
    })
}

/// Whole disks that moved something (Documentation/admin-guide/iostats.rst).
fn disks(root: &HostRoot, hold: &mut impl FnMut(String, u64) -> u64) -> Vec<DiskUsage> {
    // A list: one read has a page of it at most.
    let stats = read_plain(&root.proc().join("diskstats"), super::LIMIT).unwrap_or_default();
    let stats = String::from_utf8_lossy(&stats);
    let disk = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let name = fields.next()?;
        let bytes = |field: &str| field.parse::<u64>().ok()?.checked_mul(SECTOR);
        let (read, written) = (bytes(fields.nth(2)?)?, bytes(fields.nth(3)?)?);
        // A partition is no entry of its own in this directory.
        let whole = (read, written) != (0, 0) && root.sys().join("block").join(name).exists();
        whole.then(|| DiskUsage {
            name: printable(name, 64),
            read_bytes: hold(format!("read {name}"), read),
            written_bytes: hold(format!("written {name}"), written),
        })
    };
    let mut disks: Vec<DiskUsage> = stats.lines().filter_map(disk).take(DISKS).collect();
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = HostRoot::new(dir.path(), dir.path().join("proc"), dir.path().join("sys"));
        (dir, root)
    }

    #[test]
    fn load_is_what_procfs_says() {
        let (_dir, root) = planted(&[
            (
                "proc/meminfo",
                "MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 9 kB\nSwapFree: 9 kB\n",
            ),
            ("proc/loadavg", "0.25 1.50 12.05 1/200 999\n"),
            (
                "proc/pressure/io",
                "some avg10=0.00 avg60=1.25 avg300=0 total=1\nfull avg10=0.00 avg60=0.50 avg300=0 total=1\n",
            ),
            (
                "proc/diskstats",
                " 8 0 sda 5 0 100 7 9 0 200 3 0\n 8 1 sda1 5 0 100 7 9 0 200 3 0\n 7 0 loop0 0 0 0 0 0 0 0 0 0\n",
            ),
            ("sys/block/sda/size", "1"),
            ("sys/block/loop0/size", "1"),
        ]);
        let load = load(&root, &mut Steady::default());
        assert_eq!(
            (load.memory_used_bytes, load.swap_used_bytes),
            (Some(600 * 1024), Some(0))
        );
        assert_eq!(load.load_centi, [25, 150, 1205]);
        let io = Pressure {
            resource: "io".into(),
            some_centi: Some(125),
            full_centi: Some(50),
        };
        assert_eq!(load.pressure, [io]);
        let sda = DiskUsage {
            name: "sda".into(),
            read_bytes: 51_200,
            written_bytes: 102_400,
        };
        assert_eq!(load.disks, [sda]);
    }

    #[test]
    fn nonsense_in_procfs_is_no_load() {
        let (_dir, root) = planted(&[
            (
                "proc/meminfo",
                "MemTotal: 10 kB\nMemAvailable: 400 kB\nSwapTotal: -1 kB\n",
            ),
            ("proc/loadavg", "-1.00 nan 18446744073709551615.00"),
            (
                "proc/pressure/cpu",
                "some avg10=x avg60=99999999999999999999.00\nfull",
            ),
            (
                "proc/diskstats",
                " 8 0 ../.. 5 0 18446744073709551615 7 9 0 200\n 8\n",
            ),
        ]);
        let cpu = Pressure {
            resource: "cpu".into(),
            ..Pressure::default()
        };
        let expected = ObservedLoad {
            pressure: vec![cpu],
            ..ObservedLoad::default()
        };
        assert_eq!(load(&root, &mut Steady::default()), expected);
    }
}
