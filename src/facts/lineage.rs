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
    fn a_chain_that_loops_ends() {
        let points = [Taken("a", Some("b"), true), Taken("b", Some("a"), false)];
        assert_eq!(active_chain(&points), ["a", "b"]);
    }
}
