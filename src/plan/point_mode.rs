//! Which mode a restore point is taken in, and why (design §6).

use safetytwin_crds::twinclass::{PointLimits, PointMode};

use super::quantity;

/// What is known when a point is to be taken.
#[derive(Clone, Copy, Debug)]
pub struct PointFacts {
    /// What the point asks for: a manual one its own `spec.mode`, an automatic one Auto.
    pub asked: PointMode,
    /// Memory of the guest in bytes.
    pub memory_bytes: u64,
    /// How long the last Full point took, in milliseconds; `None` when there was none.
    pub last_full_milliseconds: Option<u64>,
    /// Free bytes in the pool.
    pub free_bytes: u64,
}

/// The mode of a point, with the reason that its status shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenMode {
    /// Full or Disk where somebody says so or a limit does; else Auto: Full, and Disk of a VM whose memory cannot be kept.
    pub mode: PointMode,
    /// One sentence.
    pub reason: String,
}

/// Too little space: nothing is snapshotted or applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pool has {free_mib} MiB free, the class asks for {needed_mib} MiB (spec.snapshots.minFreeSpace): free space or lower it"
)]
pub struct NoSpace {
    /// Free space in MiB.
    pub free_mib: u64,
    /// `minFreeSpace` in MiB.
    pub needed_mib: u64,
}

/// Whether a point may be taken at all. A limit that cannot be read counts as the strictest.
///
/// # Errors
/// The pool has less free space than the class asks for.
pub fn check_space(limits: &PointLimits, free_bytes: u64) -> Result<(), NoSpace> {
    let needed = quantity::bytes(&limits.min_free_space).unwrap_or(u64::MAX);
    if free_bytes >= needed {
        return Ok(());
    }
    Err(NoSpace {
        free_mib: free_bytes >> 20,
        needed_mib: needed >> 20,
    })
}

/// Chooses the mode. A limit that cannot be read counts as the strictest.
pub fn choose(limits: &PointLimits, facts: &PointFacts) -> ChosenMode {
    let chosen = |mode, reason: String| ChosenMode { mode, reason };
    match (facts.asked, limits.mode) {
        (PointMode::Full, _) => return chosen(PointMode::Full, "asked for by the snapshot".into()),
        (PointMode::Disk, _) => return chosen(PointMode::Disk, "asked for by the snapshot".into()),
        (PointMode::Auto, PointMode::Full) => return chosen(PointMode::Full, "the class says Full".into()),
        (PointMode::Auto, PointMode::Disk) => return chosen(PointMode::Disk, "the class says Disk".into()),
        (PointMode::Auto, PointMode::Auto) => {}
    }
    let max_memory = quantity::bytes(&limits.full_max_memory).unwrap_or_default();
    if facts.memory_bytes > max_memory {
        let memory = facts.memory_bytes >> 20;
        let reason = format!(
            "{memory} MiB of memory is more than fullMaxMemory {}",
            limits.full_max_memory
        );
        return chosen(PointMode::Disk, reason);
    }
    let max_pause = quantity::milliseconds(&limits.full_max_pause).unwrap_or_default();
    if let Some(pause) = facts.last_full_milliseconds.filter(|pause| *pause > max_pause) {
        let reason = format!(
            "the last Full point took {pause} ms, more than fullMaxPause {}",
            limits.full_max_pause
        );
        return chosen(PointMode::Disk, reason);
    }
    let expected = facts.memory_bytes.saturating_mul(2);
    if facts.free_bytes < expected {
        let reason = format!(
            "{} MiB free is less than twice the {} MiB that a Full point may take",
            facts.free_bytes >> 20,
            facts.memory_bytes >> 20
        );
        return chosen(PointMode::Disk, reason);
    }
    chosen(
        PointMode::Auto,
        "memory, pause and free space are within the class's limits".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn facts() -> PointFacts {
        PointFacts {
            asked: PointMode::Auto,
            memory_bytes: GIB,
            last_full_milliseconds: Some(400),
            free_bytes: 100 * GIB,
        }
    }

    fn mode(change: impl FnOnce(&mut PointFacts)) -> PointMode {
        let mut facts = facts();
        change(&mut facts);
        choose(&PointLimits::default(), &facts).mode
    }

    #[test]
    fn auto_stays_auto_within_all_limits_and_is_disk_beyond_any() {
        assert_eq!(mode(|_| {}), PointMode::Auto);
        assert_eq!(mode(|f| f.memory_bytes = 4 * GIB + 1), PointMode::Disk);
        assert_eq!(mode(|f| f.last_full_milliseconds = Some(1001)), PointMode::Disk);
        assert_eq!(mode(|f| f.last_full_milliseconds = None), PointMode::Auto);
        assert_eq!(
            mode(|f| (f.memory_bytes, f.free_bytes) = (4 * GIB, 7 * GIB + 4 * GIB)),
            PointMode::Auto
        );
    }

    #[test]
    fn auto_is_disk_without_twice_the_space_of_the_memory() {
        let limits = PointLimits {
            min_free_space: "1Gi".into(),
            ..PointLimits::default()
        };
        let facts = PointFacts {
            free_bytes: 2 * GIB - 1,
            ..facts()
        };
        assert_eq!(choose(&limits, &facts).mode, PointMode::Disk);
    }

    #[test]
    fn what_a_snapshot_asks_for_goes_before_the_class() {
        assert_eq!(
            mode(|f| (f.asked, f.memory_bytes) = (PointMode::Full, 90 * GIB)),
            PointMode::Full
        );
        assert_eq!(mode(|f| f.asked = PointMode::Disk), PointMode::Disk);
    }

    #[test]
    fn below_the_least_free_space_no_point_is_taken() {
        let limits = PointLimits::default();
        assert_eq!(
            check_space(&limits, 10 * GIB - 1).unwrap_err().needed_mib,
            10 * 1024
        );
        assert!(check_space(&limits, 10 * GIB).is_ok());
    }
}
