//! How long a change waits before it is looked at, by a clock that stands still while something is done.

use safetytwin_crds::item::RunClass;
use tokio::time::{Instant, pause, resume, sleep};

use super::*;
use crate::collect::units::BURST;
use crate::collect::units::arrivals::QUIET;

/// Waits for news, which has arrived, and looks; how long it waited.
async fn waited(host: &mut Host) -> (Duration, Collected) {
    arrive().await;
    pause();
    let begin = Instant::now();
    host.units.changed().await;
    let waited = begin.elapsed();
    // Answers come by a socket, which knows no such clock.
    resume();
    (waited, host.look(Scope::Changes).await.unwrap())
}

/// Lets signals come through the socket.
async fn arrive() {
    sleep(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn an_edit_is_published_while_the_service_manager_is_busy_and_is_one_change() {
    let mut host = Host::looked_at().await;
    host.write(&format!("{ETC}/web.service"), &unit("web, edited"));
    host.systemd.begin_reload().await;
    let (time, edited) = waited(&mut host).await;
    assert!(time < 2 * BURST, "{time:?}");
    let content = |at: &Collected| {
        item(at, "web.service")
            .unwrap()
            .fragment
            .unwrap()
            .content
            .unwrap()
    };
    assert!(content(&edited).contains("edited"));
    assert_eq!(host.systemd.asked(), [""; 0], "it would not answer");
    host.systemd.end_reload().await;
    let (time, reloaded) = waited(&mut host).await;
    assert!(time < 2 * BURST, "{time:?}");
    assert_eq!(reloaded.content, edited.content, "no second change");
}

#[tokio::test]
async fn what_signals_say_during_a_reload_waits_for_its_end() {
    let mut host = Host::looked_at().await;
    host.systemd.begin_reload().await;
    host.systemd.signal_removed("web.service").await;
    arrive().await;
    pause();
    let early = timeout(Duration::from_secs(15), host.units.changed()).await;
    assert!(early.is_err(), "a daemon-reload seen half-way is no news");
    resume();
    host.systemd.end_reload().await;
    let (_, after) = waited(&mut host).await;
    assert_eq!(item(&after, "web.service").unwrap().run, RunClass::Up);
}

#[tokio::test]
async fn a_reload_of_which_the_end_is_never_heard_blocks_nothing_for_long() {
    let mut host = Host::looked_at().await;
    host.systemd.begin_reload().await;
    host.systemd.signal_states("web.service", "failed", 0).await;
    let (time, failed) = waited(&mut host).await;
    assert!(time < Duration::from_secs(21), "{time:?}");
    assert_eq!(item(&failed, "web.service").unwrap().run, RunClass::Failed);
}

#[tokio::test]
async fn a_new_unit_that_does_not_start_waits_for_a_quiet_moment_and_holds_up_no_other() {
    let mut host = Host::looked_at().await;
    let begin = Instant::now();
    host.write(&format!("{ETC}/new.service"), &unit("new"));
    host.write(&format!("{ETC}/web.service"), &unit("web, edited"));
    let (time, first) = waited(&mut host).await;
    assert!(time < 2 * BURST, "{time:?}");
    assert_eq!(item(&first, "new.service"), None);
    let content = item(&first, "web.service").unwrap().fragment.unwrap().content;
    assert!(content.unwrap().contains("edited"));
    let (_, second) = waited(&mut host).await;
    assert_eq!(item(&second, "new.service").unwrap().run, RunClass::Down);
    assert!(begin.elapsed() >= QUIET);
}

#[tokio::test]
async fn write_enable_and_start_within_the_window_are_one_look() {
    let mut host = Host::looked_at().await;
    host.write(&format!("{ETC}/new.service"), &unit("new"));
    host.link(
        &format!("{ETC}/multi-user.target.wants/new.service"),
        "../new.service",
    );
    host.systemd.signal_states("new.service", "active", 40).await;
    let (time, installed) = waited(&mut host).await;
    assert!(time < 2 * BURST, "{time:?}");
    let new = item(&installed, "new.service").unwrap();
    assert_eq!((new.run, new.enablement.as_str()), (RunClass::Up, "enabled"));
}
