//! Which control groups are those of services and containers, slice by slice.

use std::collections::VecDeque;

use crate::hostroot::HostRoot;

/// Below the host's root, not in this process's sysfs: a pod sees only its own groups there.
pub const ROOT: &str = "/sys/fs/cgroup";
/// What is in these belongs to pods and logins.
const OTHERS: [&str; 3] = ["kubepods.slice", "kubelet.slice", "user.slice"];
/// More than run anywhere.
pub const SERVICES: usize = 2048;
/// Slices are nested by the dashes of their names; systemd's own limit is the length of a name.
const SLICES: usize = 256;

/// A slice, and what is in it.
pub struct Slice {
    /// Its directory.
    pub dir: String,
    /// Directories of the slices in it.
    pub slices: Vec<String>,
    /// Its services and containers.
    pub groups: Vec<Member>,
}

/// A service's or container's group.
pub struct Member {
    /// Unit name.
    pub name: String,
    /// Its directory.
    pub dir: String,
}

/// All slices, each after the one that it is in. The error is for people.
pub fn slices(root: &HostRoot) -> Result<Vec<Slice>, String> {
    let mut dirs = VecDeque::from([ROOT.to_owned()]);
    let mut found = Vec::new();
    let mut services = 0;
    while let Some(dir) = dirs.pop_front() {
        if found.len() == SLICES {
            return Err(format!("more than {SLICES} slices"));
        }
        let slice = slice(root, dir)?;
        services += slice.groups.len();
        if services > SERVICES {
            return Err(format!("more than {SERVICES} services run"));
        }
        dirs.extend(slice.slices.iter().cloned());
        found.push(slice);
    }
    Ok(found)
}

/// One that went meanwhile is empty.
fn slice(root: &HostRoot, dir: String) -> Result<Slice, String> {
    let names = root.directories(&dir).map_err(|error| error.to_string())?;
    let (mut slices, mut groups) = (Vec::new(), Vec::new());
    for name in names.iter().filter_map(|name| name.to_str()) {
        let dir = format!("{dir}/{name}");
        if name.ends_with(".slice") && !OTHERS.contains(&name) {
            slices.push(dir);
        } else if name.ends_with(".service") || is_container(name) {
            let name = name.to_owned();
            groups.push(Member { name, dir });
        }
    }
    Ok(Slice { dir, slices, groups })
}

/// Docker's and Podman's scopes, without the monitors of the latter.
fn is_container(name: &str) -> bool {
    let engine = name.starts_with("docker-") || name.starts_with("libpod-");
    engine && name.ends_with(".scope") && !name.starts_with("libpod-conmon-")
}
