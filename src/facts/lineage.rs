//! The tree that restore points form.
//!
//! Every point has at most one parent. The *active chain* is the current point and its ancestors: the VM's present is
//! built on it. A revert leaves what was taken later behind as a *dead branch*.
//!
//! ```text
//! a ── b ── c        c and b are dead: the VM was taken back to a, and d was taken since
//! └─── d (current)   active chain: d, a
//! ```

/// A point, as far as its place in the tree goes.
pub trait Node {
    /// Unique name.
    fn name(&self) -> &str;
    /// Name of the point before it.
    fn parent(&self) -> Option<&str>;
    /// The VM's present is built on this point.
    fn is_current(&self) -> bool;
}

/// Names of the current point and its ancestors, the current one first.
pub fn active_chain<T: Node>(points: &[T]) -> Vec<&str> {
    let Some(current) = points.iter().find(|point| point.is_current()) else {
        return Vec::new();
    };
    let above = ancestors(points, current);
    std::iter::once(current.name())
        .chain(above.into_iter().filter(|name| *name != current.name()))
        .collect()
}

/// Names of the points that one was built on, the nearest first; the last one may be no longer among `points`.
pub fn ancestors<'a, T: Node>(points: &'a [T], point: &'a T) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut next = point.parent();
    while let Some(name) = next {
        // A loop cannot be made through libvirt; a broken answer must not hang us.
        if names.contains(&name) {
            break;
        }
        names.push(name);
        next = points
            .iter()
            .find(|point| point.name() == name)
            .and_then(Node::parent);
    }
    names
}

/// The points that must be removed before `name` can be: empty when it can go now.
///
/// These are the dead points anywhere below it. libvirt refuses a point with a dead child by itself
/// (qemuSnapshotDeleteValidate); with a dead point further below, 11.3 reads the files of that point's disks, and dies
/// of one that it cannot read. The current point waits for the dead ones beside it, too: its parent becomes the current
/// one, with an overlay on record that those are built on, and libvirt removes it at the next revert
/// (qemuSnapshotRevertExternalFinish).
pub fn blockers<'a, T: Node>(points: &'a [T], name: &str) -> Vec<&'a str> {
    let chain = active_chain(points);
    let current = points.iter().find(|point| point.is_current());
    let beside = current
        .filter(|point| point.name() == name)
        .and_then(Node::parent);
    let dead = points.iter().filter(|point| !chain.contains(&point.name()));
    dead.filter(|point| {
        let above = ancestors(points, *point);
        above.contains(&name) || beside.is_some_and(|parent| above.contains(&parent))
    })
    .map(Node::name)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Taken(&'static str, Option<&'static str>, bool);

    impl Node for Taken {
        fn name(&self) -> &str {
            self.0
        }
        fn parent(&self) -> Option<&str> {
            self.1
        }
        fn is_current(&self) -> bool {
            self.2
        }
    }

    #[test]
    fn the_active_chain_leads_from_the_current_point_to_the_first() {
        let points = [
            Taken("a", None, false),
            Taken("b", Some("a"), false),
            Taken("c", Some("b"), false),
            Taken("d", Some("a"), true),
        ];
        assert_eq!(active_chain(&points), ["d", "a"]);
        assert_eq!(ancestors(&points, &points[2]), ["b", "a"]);
    }

    #[test]
    fn a_dead_branch_goes_leaf_first() {
        // Taken back from c to a.
        let points = [
            Taken("a", None, true),
            Taken("b", Some("a"), false),
            Taken("c", Some("b"), false),
        ];
        assert_eq!(blockers(&points, "a"), ["b", "c"]);
        assert_eq!(blockers(&points, "b"), ["c"]);
        assert!(blockers(&points, "c").is_empty());
    }

    #[test]
    fn the_current_point_waits_for_a_dead_one_beside_it() {
        let points = [
            Taken("a", None, false),
            Taken("b", Some("a"), false),
            Taken("c", Some("a"), false),
            Taken("d", Some("c"), true),
        ];
        assert!(blockers(&points, "d").is_empty());
        let beside = [
            Taken("a", None, false),
            Taken("b", Some("a"), false),
            Taken("c", Some("a"), true),
        ];
        assert_eq!(blockers(&beside, "c"), ["b"]);
    }

    #[test]
    fn a_chain_that_loops_ends() {
        let points = [Taken("a", Some("b"), true), Taken("b", Some("a"), false)];
        assert_eq!(active_chain(&points), ["a", "b"]);
    }
}
