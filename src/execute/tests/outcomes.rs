//! What single operations leave behind.

use super::*;
use crate::guest::fake::{ChannelLoss, StartFailure};
use safetytwin_crds::item::{Reason, RunClass};

#[tokio::test(start_paused = true)]
async fn one_items_failure_is_that_items_and_the_others_go_on() {
    let world = World::new().await;
    world.guest.fail_start("bad.service", StartFailure::Job);
    world.guest.fail_start("worse.service", StartFailure::Process);
    world.apply(1, 1, &first()).await.unwrap();
    let report = world.apply(2, 1, &second()).await.unwrap();
    let failed: Vec<_> = report
        .manifest
        .items
        .iter()
        .filter_map(|i| Some((i.unit.as_str(), i.failure.as_ref()?.reason)))
        .collect();
    assert_eq!(
        failed,
        [
            ("bad.service", Reason::FailedToStart),
            ("worse.service", Reason::FailedToStart)
        ]
    );
    assert!(report.taken_back.is_none());
    let active = world.guest.active_units();
    assert!(active.contains("new.service") && active.contains("edit.service"));
    assert!(!active.contains("gone.service") && !active.contains("off.service"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_channel_takes_the_twin_back_and_sets_the_changed_items_aside() {
    for loss in [ChannelLoss::New, ChannelLoss::All] {
        let world = World::new().await;
        world.apply(1, 1, &first()).await.unwrap();
        let before = world.guest.active_units();
        world.guest.cut_channel_while_active("fw.service", loss);
        let mut units: Vec<_> = ["edit", "fw", "gone", "keep", "masked", "off"]
            .map(|stem| service(&format!("{stem}.service")))
            .into();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        let report = world.apply(2, 1, &content(units, &[])).await.unwrap();
        assert!(report.taken_back.is_some(), "{loss:?}");
        assert_eq!(world.guest.active_units(), before, "{loss:?}");
        let fw = report.manifest.item(&ItemId::unit("fw.service")).unwrap();
        assert_eq!(fw.failure.as_ref().unwrap().reason, Reason::FailedToApply);
        assert_eq!(world.guest.lock_holder(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_was_enabled_before_it_cut_the_channel_is_out_of_the_way_also_after_a_reboot() {
    for mode in [PointMode::Full, PointMode::Disk] {
        let mut world = World::new().await;
        world.mode = mode;
        world.apply(1, 1, &first()).await.unwrap();
        let before = world.guest.active_units();
        let with_firewall = |run| {
            let mut units: Vec<_> = ["edit", "fw", "gone", "keep", "masked", "off"]
                .map(|stem| service(&format!("{stem}.service")))
                .into();
            units[1].run = run;
            content(units, &[])
        };
        // On the host it is written and enabled a moment before it is started.
        world.apply(2, 1, &with_firewall(RunClass::Down)).await.unwrap();
        assert_eq!(world.guest.enabled_and_masked("fw.service"), (true, false));
        world
            .guest
            .cut_channel_while_active("fw.service", ChannelLoss::All);
        let report = world.apply(3, 1, &with_firewall(RunClass::Up)).await.unwrap();
        assert!(report.taken_back.is_some(), "{mode:?}");
        assert_eq!(world.guest.active_units(), before, "{mode:?}");
        let fw = report.manifest.item(&ItemId::unit("fw.service")).unwrap();
        assert_eq!(fw.failure.as_ref().unwrap().reason, Reason::FailedToApply);
        assert_eq!(
            world.guest.enabled_and_masked("fw.service"),
            (false, false),
            "{mode:?}"
        );
        world.guest.reboot();
        let report = world.apply(4, 1, &with_firewall(RunClass::Up)).await.unwrap();
        assert!(report.taken_back.is_none() && world.guest.active_units().contains("keep.service"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_cuts_the_twin_off_goes_back_to_the_point_before_the_change() {
    let mut world = World::new().await;
    world.guest.fail_start("fw.service", StartFailure::Job);
    world.apply(1, 1, &first()).await.unwrap();
    let before = world.guest.active_units();
    let with_firewall = content(
        ["edit", "fw", "gone", "keep", "masked", "off"]
            .map(|stem| service(&format!("{stem}.service")))
            .into(),
        &[],
    );
    world.apply(2, 1, &with_firewall).await.unwrap();
    world.guest.heal_starts();
    world
        .guest
        .cut_channel_while_active("fw.service", ChannelLoss::All);
    world.now += jiff::SignedDuration::from_secs(61);
    let report = world.apply(3, 1, &with_firewall).await.unwrap();
    assert_eq!(report.taken_back.unwrap().point, point(2).name);
    assert_eq!(world.guest.active_units(), before);
    assert_eq!(world.effects().points, 2, "the retry took none");
}
