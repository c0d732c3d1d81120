//! Which points libvirt deletes. Pure; used by every backend, so that all of them refuse the same deletions.

use super::{Point, VmError};
use crate::facts::lineage::{Node, active_chain, ancestors};

impl Node for Point {
    fn name(&self) -> &str {
        &self.name
    }
    fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }
    fn is_current(&self) -> bool {
        self.current
    }
}

/// The points that must be deleted before `name` can be: empty when it can be deleted now.
///
/// These are the dead points anywhere below it. libvirt refuses a point with a dead child by itself
/// (qemuSnapshotDeleteValidate). With a dead point further below, 11.3 dies: it reads the files of that point's disks,
/// and where a revert has put an overlay over an overlay of the seed, it uses one that it could not read.
pub fn blockers<'a>(points: &'a [Point], name: &str) -> Vec<&'a str> {
    let chain = active_chain(points);
    let dead = points
        .iter()
        .filter(|point| !chain.contains(&point.name.as_str()));
    dead.filter(|point| ancestors(points, point).contains(&name))
        .map(|point| point.name.as_str())
        .collect()
}

/// Whether libvirt deletes `name` now, as a [`VmError::Refused`] that names what is in the way.
///
/// # Errors
/// When the point has a dead branch.
pub fn check_deletable(points: &[Point], name: &str) -> Result<(), VmError> {
    let blockers = blockers(points, name);
    if blockers.is_empty() {
        return Ok(());
    }
    Err(VmError::Refused {
        what: "point",
        name: name.to_owned(),
        why: format!(
            "points of another branch are built on it: delete {} first",
            blockers.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use safetytwin_crds::twinsnapshot::TakenMode;

    use super::*;

    fn point(name: &str, parent: Option<&str>, current: bool) -> Point {
        Point {
            name: name.into(),
            parent: parent.map(Into::into),
            current,
            mode: TakenMode::Disk,
        }
    }

    #[test]
    fn every_point_of_a_straight_chain_can_be_deleted() {
        let points = [
            point("a", None, false),
            point("b", Some("a"), false),
            point("c", Some("b"), true),
        ];
        assert_eq!(active_chain(&points), ["c", "b", "a"]);
        for name in ["a", "b", "c"] {
            assert!(check_deletable(&points, name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_dead_branch_goes_leaf_first() {
        // Reverted from c to a: b and c are dead.
        let points = [
            point("a", None, true),
            point("b", Some("a"), false),
            point("c", Some("b"), false),
        ];
        assert_eq!(blockers(&points, "a"), ["b", "c"]);
        assert_eq!(blockers(&points, "b"), ["c"]);
        assert!(blockers(&points, "c").is_empty());
    }
}
