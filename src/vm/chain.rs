//! Which points libvirt deletes. Pure; used by every backend, so that all of them refuse the same deletions.

use super::{Point, VmError};
use crate::facts::lineage::{Node, blockers};

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

/// Whether libvirt deletes `name` now, as a [`VmError::Refused`] that names what is in the way.
///
/// # Errors
/// When the point has a dead branch, or is the current one beside a dead one.
pub fn check_deletable(points: &[Point], name: &str) -> Result<(), VmError> {
    let blockers = blockers(points, name);
    if blockers.is_empty() {
        return Ok(());
    }
    Err(VmError::Refused {
        what: "point",
        name: name.to_owned(),
        why: format!(
            "points of another branch need it: delete {} first",
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
        for name in ["a", "b", "c"] {
            assert!(check_deletable(&points, name).is_ok(), "{name}");
        }
    }
}
