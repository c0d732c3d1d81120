//! What every [`TwinVm`] must do, as one suite.
//!
//! Run on the fake in this crate's tests and on a real libvirt by `tests/vm_libvirt.rs`. Each check
//! is a sentence and gets the same VM in turn; it says in words what was wrong. [`run`] runs all of
//! them on a VM that does not exist yet, and leaves nothing behind.

use safetytwin_crds::twinclass::PointMode;
use safetytwin_crds::twinsnapshot::TakenMode;

use super::{Point, PointRequest, PointTaken, TwinVm, VmError, VmFacts};

/// Why a backend does not conform.
#[derive(Debug, thiserror::Error)]
pub enum Nonconformance {
    /// A call failed that must succeed.
    #[error("{check}: {error}")]
    Failed {
        /// The check.
        check: &'static str,
        /// What the backend answered.
        error: VmError,
    },
    /// An answer was wrong.
    #[error("{check}: {found}")]
    Wrong {
        /// The check.
        check: &'static str,
        /// What was found.
        found: String,
    },
}

/// One check under way: the VM and the sentence.
struct Check<'a> {
    vm: &'a dyn TwinVm,
    name: &'static str,
}

type Outcome = Result<(), Nonconformance>;

impl Check<'_> {
    fn ok<T>(&self, result: Result<T, VmError>) -> Result<T, Nonconformance> {
        result.map_err(|error| Nonconformance::Failed {
            check: self.name,
            error,
        })
    }

    fn that(&self, holds: bool, found: impl FnOnce() -> String) -> Outcome {
        if holds {
            return Ok(());
        }
        Err(Nonconformance::Wrong {
            check: self.name,
            found: found(),
        })
    }

    fn refuses<T: std::fmt::Debug>(&self, result: Result<T, VmError>) -> Outcome {
        let terminal = result.as_ref().is_err_and(|error| !error.is_transient());
        self.that(terminal, || format!("not refused: {result:?}"))
    }

    async fn facts(&self) -> Result<VmFacts, Nonconformance> {
        let seen = self.ok(self.vm.observe().await)?;
        seen.ok_or(Nonconformance::Wrong {
            check: self.name,
            found: "the VM does not exist".into(),
        })
    }

    async fn take(&self, name: &str, mode: PointMode) -> Result<PointTaken, Nonconformance> {
        let request = PointRequest {
            name: name.to_owned(),
            mode,
        };
        self.ok(self.vm.take_point(&request).await)
    }

    async fn point(&self, name: &str) -> Result<Option<Point>, Nonconformance> {
        let facts = self.facts().await?;
        Ok(facts.points.into_iter().find(|point| point.name == name))
    }
}

/// Runs the whole suite. `vm` must not exist, must be made from an image and may boot anything.
///
/// # Errors
/// The first check that does not hold.
pub async fn run(vm: &dyn TwinVm) -> Outcome {
    a_vm_that_was_never_made_is_nothing_and_can_be_deleted(vm).await?;
    making_a_vm_twice_makes_one(vm).await?;
    a_claimed_epoch_is_seen_and_restarts_nothing(vm).await?;
    a_point_is_taken_once_per_name(vm).await?;
    points_form_a_chain_and_leave_the_vm_running(vm).await?;
    names_that_could_leave_the_pool_are_refused(vm).await?;
    a_revert_to_memory_runs_with_the_given_epoch(vm).await?;
    the_point_that_a_revert_left_behind_is_there_and_can_be_gone_back_to(vm).await?;
    a_point_with_a_dead_branch_is_refused_until_the_branch_is_gone(vm).await?;
    a_revert_to_a_disk_point_runs(vm).await?;
    a_revert_to_a_point_that_is_not_there_is_refused(vm).await?;
    every_point_of_the_chain_can_be_deleted_while_the_vm_runs(vm).await?;
    after_many_reverts_points_can_still_be_deleted(vm).await?;
    a_deleted_vm_is_gone_and_can_be_made_again(vm).await
}

async fn a_vm_that_was_never_made_is_nothing_and_can_be_deleted(vm: &dyn TwinVm) -> Outcome {
    let name = "a VM that was never made is nothing and can be deleted";
    let check = Check { vm, name };
    check.ok(vm.delete().await)?;
    let seen = check.ok(vm.observe().await)?;
    check.that(seen.is_none(), || format!("{seen:?}"))
}

async fn making_a_vm_twice_makes_one(vm: &dyn TwinVm) -> Outcome {
    let name = "making a VM twice makes one";
    let check = Check { vm, name };
    let first = check.ok(vm.ensure().await)?;
    check.that(first.running, || "it does not run".into())?;
    check.that(first.points.is_empty() && first.epoch == 0, || {
        format!("{first:?}")
    })?;
    check.that(first.memory_bytes > 0 && first.free_bytes > 0, || {
        format!("{first:?}")
    })?;
    let second = check.ok(vm.ensure().await)?;
    check.that(first.incarnation == second.incarnation, || {
        "it was started again".into()
    })
}

async fn a_claimed_epoch_is_seen_and_restarts_nothing(vm: &dyn TwinVm) -> Outcome {
    let name = "a claimed epoch is seen and restarts nothing";
    let check = Check { vm, name };
    let before = check.facts().await?;
    for epoch in [1, 2] {
        check.ok(vm.claim(epoch).await)?;
        let facts = check.facts().await?;
        check.that(facts.epoch == epoch, || format!("epoch {}", facts.epoch))?;
    }
    let after = check.facts().await?;
    check.that(before.incarnation == after.incarnation, || {
        "another incarnation".into()
    })
}

async fn a_point_is_taken_once_per_name(vm: &dyn TwinVm) -> Outcome {
    let name = "a point is taken once per name";
    let check = Check { vm, name };
    let first = check.take("one", PointMode::Disk).await?;
    check.that(!first.existed && first.mode == TakenMode::Disk, || {
        format!("{first:?}")
    })?;
    // The mode asked for does not matter when the point is there.
    let second = check.take("one", PointMode::Full).await?;
    let adopted = second.existed && second.mode == TakenMode::Disk && second.milliseconds == 0;
    check.that(adopted, || format!("{second:?}"))?;
    let facts = check.facts().await?;
    check.that(facts.points.len() == 1, || format!("{:?}", facts.points))
}

async fn points_form_a_chain_and_leave_the_vm_running(vm: &dyn TwinVm) -> Outcome {
    let name = "points form a chain and leave the VM running";
    let check = Check { vm, name };
    let before = check.facts().await?;
    let taken = check.take("two", PointMode::Full).await?;
    check.that(taken.mode == TakenMode::Full && taken.size_bytes > 0, || {
        format!("{taken:?}")
    })?;
    let taken = check.take("three", PointMode::Auto).await?;
    check.that(taken.mode == TakenMode::Full, || format!("{taken:?}"))?;
    let facts = check.facts().await?;
    let seen: Vec<_> = facts
        .points
        .iter()
        .map(|point| {
            (
                point.name.as_str(),
                point.parent.as_deref(),
                point.current,
                point.mode,
            )
        })
        .collect();
    let expected = [
        ("one", None, false, TakenMode::Disk),
        ("two", Some("one"), false, TakenMode::Full),
        ("three", Some("two"), true, TakenMode::Full),
    ];
    check.that(seen == expected, || format!("{seen:?}"))?;
    let same = facts.running && facts.incarnation == before.incarnation;
    check.that(same, || "the VM was stopped or started again".into())
}

async fn names_that_could_leave_the_pool_are_refused(vm: &dyn TwinVm) -> Outcome {
    let name = "names that could leave the pool are refused";
    let check = Check { vm, name };
    for bad in ["", "../x", "a/b", "a\0b", "A", "<x>"] {
        let request = PointRequest {
            name: bad.to_owned(),
            mode: PointMode::Disk,
        };
        check.refuses(vm.take_point(&request).await)?;
        check.refuses(vm.delete_point(bad).await)?;
        check.refuses(vm.revert(bad, 1).await)?;
    }
    Ok(())
}

async fn a_revert_to_memory_runs_with_the_given_epoch(vm: &dyn TwinVm) -> Outcome {
    let name = "a revert to memory runs with the given epoch";
    let check = Check { vm, name };
    check.ok(vm.claim(7).await)?;
    let before = check.facts().await?;
    check.ok(vm.revert("two", 8).await)?;
    let after = check.facts().await?;
    check.that(after.running, || "it does not run".into())?;
    check.that(after.epoch == 8, || format!("epoch {}", after.epoch))?;
    check.that(before.incarnation != after.incarnation, || {
        "the same incarnation".into()
    })?;
    let current: Vec<_> = after.points.iter().filter(|point| point.current).collect();
    let on_two = current.len() == 1 && current.iter().all(|point| point.name == "two");
    check.that(on_two, || format!("current: {current:?}"))?;
    check.that(after.points.len() == 3, || format!("{:?}", after.points))
}

/// A restore that is resumed after its revert asks again for the point of the present that it left.
async fn the_point_that_a_revert_left_behind_is_there_and_can_be_gone_back_to(vm: &dyn TwinVm) -> Outcome {
    let name = "the point that a revert left behind is there and can be gone back to";
    let check = Check { vm, name };
    let taken = check.take("three", PointMode::Auto).await?;
    let found = taken.existed && taken.mode == TakenMode::Full;
    check.that(found, || format!("{taken:?}"))?;
    for point in ["three", "two"] {
        check.ok(vm.revert(point, 8).await)?;
    }
    let facts = check.facts().await?;
    check.that(facts.running && facts.points.len() == 3, || format!("{facts:?}"))
}

async fn a_point_with_a_dead_branch_is_refused_until_the_branch_is_gone(vm: &dyn TwinVm) -> Outcome {
    let name = "a point with a dead branch is refused until the branch is gone";
    let check = Check { vm, name };
    check.take("four", PointMode::Disk).await?;
    // one ◀ two ◀ {three (dead), four ◀ present}
    check.refuses(vm.delete_point("two").await)?;
    // Without it "two" would be the current point again, with an overlay on record that "three" is built on.
    check.refuses(vm.delete_point("four").await)?;
    check.ok(vm.delete_point("three").await)?;
    check.ok(vm.delete_point("two").await)?;
    let facts = check.facts().await?;
    let names: Vec<_> = facts.points.iter().map(|point| point.name.as_str()).collect();
    check.that(names == ["one", "four"], || format!("{names:?}"))?;
    let parent = check.point("four").await?.and_then(|point| point.parent);
    check.that(parent.as_deref() == Some("one"), || format!("parent {parent:?}"))?;
    check.that(facts.running, || "it does not run".into())
}

async fn a_revert_to_a_disk_point_runs(vm: &dyn TwinVm) -> Outcome {
    let name = "a revert to a disk point runs";
    let check = Check { vm, name };
    for (point, epoch) in [("four", 9), ("one", 10)] {
        let before = check.facts().await?;
        check.ok(vm.revert(point, epoch).await)?;
        let after = check.facts().await?;
        check.that(after.running && after.epoch == epoch, || format!("{after:?}"))?;
        check.that(before.incarnation != after.incarnation, || {
            "the same incarnation".into()
        })?;
    }
    // "four" is a dead branch now.
    check.ok(vm.delete_point("four").await)
}

async fn a_revert_to_a_point_that_is_not_there_is_refused(vm: &dyn TwinVm) -> Outcome {
    let name = "a revert to a point that is not there is refused";
    let check = Check { vm, name };
    let before = check.facts().await?;
    check.refuses(vm.revert("never-taken", 11).await)?;
    // Others use the pool's disk too.
    let after = VmFacts {
        free_bytes: before.free_bytes,
        ..check.facts().await?
    };
    check.that(before == after, || format!("{before:?} became {after:?}"))
}

async fn every_point_of_the_chain_can_be_deleted_while_the_vm_runs(vm: &dyn TwinVm) -> Outcome {
    let name = "every point of the chain can be deleted while the VM runs";
    let check = Check { vm, name };
    check.take("five", PointMode::Full).await?;
    check.take("six", PointMode::Disk).await?;
    let before = check.facts().await?;
    // The middle, the root, the current one; twice each, since missing is success.
    for point in ["five", "one", "six"] {
        check.ok(vm.delete_point(point).await)?;
        check.ok(vm.delete_point(point).await)?;
    }
    let after = check.facts().await?;
    check.that(after.points.is_empty(), || format!("{:?}", after.points))?;
    let same = after.running && before.incarnation == after.incarnation;
    check.that(same, || "the VM was stopped or started again".into())?;
    check.take("seven", PointMode::Disk).await.map(|_| ())
}

async fn after_many_reverts_points_can_still_be_deleted(vm: &dyn TwinVm) -> Outcome {
    let name = "after many reverts points can still be deleted";
    let check = Check { vm, name };
    for (epoch, point) in (20..).zip(["m1", "m2", "m3", "m4"]) {
        check.take(point, PointMode::Disk).await?;
        check.ok(vm.revert(point, epoch).await)?;
    }
    check.take("m5", PointMode::Disk).await?;
    check.ok(vm.revert("m5", 30).await)?;
    check.ok(vm.revert("m4", 31).await)?;
    // "m5" is a dead branch now: what it was built on waits for it, what was taken since does not.
    for point in ["m6", "m7"] {
        check.take(point, PointMode::Disk).await?;
    }
    check.ok(vm.delete_point("m6").await)?;
    check.refuses(vm.delete_point("m1").await)?;
    for point in ["m5", "m1", "m2", "m3", "m4", "m7"] {
        check.ok(vm.delete_point(point).await)?;
    }
    let facts = check.facts().await?;
    check.that(facts.running, || "it does not run".into())
}

async fn a_deleted_vm_is_gone_and_can_be_made_again(vm: &dyn TwinVm) -> Outcome {
    let name = "a deleted VM is gone and can be made again";
    let check = Check { vm, name };
    for _ in 0..2 {
        check.ok(vm.delete().await)?;
        let seen = check.ok(vm.observe().await)?;
        check.that(seen.is_none(), || format!("{seen:?}"))?;
        let missing = vm.claim(12).await;
        check.that(missing.is_err(), || "a VM that is gone was claimed".into())?;
        let made = check.ok(vm.ensure().await)?;
        let new = made.running && made.points.is_empty() && made.epoch == 0;
        check.that(new, || format!("{made:?}"))?;
    }
    check.ok(vm.delete().await)?;
    check.ok(vm.delete().await)
}
