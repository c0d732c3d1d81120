//! Which restore points go (design §6): automatic ones beyond `keepLast`; never a pinned, in-use or
//! last good one, never the newest.
//!
//! Points form a tree, one branch of which the present is built on. A point cannot be removed while
//! others need it ([`blockers`]), so dead branches go leaf-first, and what must stay on one keeps all that it
//! was built on. Removal has two phases: the object is deleted, then its finalizer removes
//! the point; [`prune`] answers the order of the first phase.

use std::collections::BTreeSet;

use crate::facts::lineage::{Node, blockers};

/// A point as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointInfo {
    /// Name of the point.
    pub name: String,
    /// The point before it.
    pub parent: Option<String>,
    /// The present is built on it.
    pub current: bool,
    /// Operation number; orders points by age.
    pub number: i64,
    /// Made by the controller before an apply; only these are ever pruned.
    pub automatic: bool,
    /// A user pinned it.
    pub pinned: bool,
    /// Something needs it: an operation, a restore, a clone.
    pub in_use: bool,
    /// It is whole and can be restored.
    pub ready: bool,
}

impl Node for PointInfo {
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

/// Names of points to remove, in an order in which each can be removed when it is its turn.
pub fn prune(points: &[PointInfo], keep_last: usize) -> Vec<String> {
    let mut wanted = surplus(points, keep_last);
    let mut order = Vec::new();
    // Removing one point can make another removable; each round removes one, so this ends.
    while let Some(name) = next_removable(&wanted, &order, points) {
        wanted.remove(name);
        order.push(name.to_owned());
    }
    order
}

/// Automatic points beyond the newest `keep_last` that nothing protects.
fn surplus(points: &[PointInfo], keep_last: usize) -> BTreeSet<&str> {
    let newest = points.iter().max_by_key(|p| p.number).map(|p| p.name.as_str());
    let last_good = points
        .iter()
        .filter(|p| p.ready)
        .max_by_key(|p| p.number)
        .map(|p| p.name.as_str());
    let mut automatic: Vec<&PointInfo> = points.iter().filter(|p| p.automatic).collect();
    automatic.sort_by_key(|p| std::cmp::Reverse((p.number, &p.name)));
    automatic
        .into_iter()
        .skip(keep_last.max(1))
        .filter(|p| !p.pinned && !p.in_use)
        .map(|p| p.name.as_str())
        .filter(|name| Some(*name) != newest && Some(*name) != last_good)
        .collect()
}

/// The oldest wanted point that can go now: what it waits for has gone.
fn next_removable<'a>(
    wanted: &BTreeSet<&'a str>,
    gone: &[String],
    points: &'a [PointInfo],
) -> Option<&'a str> {
    let is_gone = |name: &&str| gone.iter().any(|other| other == name);
    let can_go =
        |p: &&PointInfo| wanted.contains(p.name.as_str()) && blockers(points, &p.name).iter().all(is_gone);
    points
        .iter()
        .filter(can_go)
        .min_by_key(|p| (p.number, &p.name))
        .map(|p| p.name.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A chain of automatic points 1..=n, the last one current.
    fn chain(n: i64) -> Vec<PointInfo> {
        (1..=n)
            .map(|number| PointInfo {
                name: format!("r{number:04}"),
                parent: (number > 1).then(|| format!("r{:04}", number - 1)),
                current: number == n,
                number,
                automatic: true,
                pinned: false,
                in_use: false,
                ready: true,
            })
            .collect()
    }

    #[test]
    fn fifty_changes_leave_exactly_the_last_ten() {
        let gone = prune(&chain(50), 10);
        assert_eq!(gone.len(), 40);
        assert_eq!((gone[0].as_str(), gone[39].as_str()), ("r0001", "r0040"));
    }

    #[test]
    fn pinned_used_manual_and_last_good_points_stay() {
        let mut points = chain(8);
        points[0].pinned = true;
        points[1].in_use = true;
        points[2].automatic = false;
        for bad in &mut points[4..] {
            bad.ready = false;
        }
        assert_eq!(prune(&points, 1), ["r0005", "r0006", "r0007"]);
    }

    #[test]
    fn a_dead_branch_goes_leaf_first_and_its_branch_point_after_it() {
        // 1 - 2 - 3 - 4 (dead), then restored to 1: 1 - 5 - 6 (current).
        let mut points = chain(6);
        points[4].parent = Some("r0001".into());
        assert_eq!(prune(&points, 1), ["r0004", "r0003", "r0002", "r0001", "r0005"]);
        points[3].pinned = true;
        assert_eq!(
            prune(&points, 1),
            ["r0005"],
            "a pin on a dead branch keeps its ancestors"
        );
    }

    #[test]
    fn what_a_dead_branch_was_built_on_waits_for_it() {
        // 1 - 2 - 3 - 4 (dead), then restored to 3: 3 - 5 - 6 (current).
        let mut points = chain(6);
        points[4].parent = Some("r0003".into());
        points[3].pinned = true;
        assert_eq!(prune(&points, 1), ["r0005"]);
        points[3].pinned = false;
        assert_eq!(prune(&points, 1), ["r0004", "r0001", "r0002", "r0003", "r0005"]);
    }

    #[test]
    fn keep_last_counts_automatic_points_only() {
        let mut points = chain(6);
        for manual in &mut points[3..] {
            manual.automatic = false;
        }
        assert_eq!(prune(&points, 2), ["r0001"]);
    }

    proptest! {
        #[test]
        fn what_must_stay_stays_in_every_tree(
            seed in proptest::collection::vec((0usize..12, any::<[bool; 4]>()), 0..12),
            current in 0usize..12,
            keep in 0usize..6,
        ) {
            let points: Vec<PointInfo> = seed.iter().enumerate().map(|(n, (parent, [automatic, pinned, in_use, ready]))| PointInfo {
                name: format!("r{n:04}"),
                parent: (n > 0).then(|| format!("r{:04}", parent % n.max(1))),
                current: n == current,
                number: n as i64,
                automatic: *automatic,
                pinned: *pinned,
                in_use: *in_use,
                ready: *ready,
            }).collect();
            let gone = prune(&points, keep);
            for (place, name) in gone.iter().enumerate() {
                let point = points.iter().find(|p| p.name == *name).unwrap();
                prop_assert!(point.automatic && !point.pinned && !point.in_use);
                prop_assert!(!gone[..place].contains(name));
            }
            let automatic = points.iter().filter(|p| p.automatic).count();
            prop_assert!(automatic - gone.len() >= keep.max(1).min(automatic));
            prop_assert!(points.last().is_none_or(|newest| !gone.contains(&newest.name)));
        }
    }
}
