//! Services: written, edited, removed, left alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_e2e::product::twin;
use safetytwin_e2e::wait;

use crate::Sentence;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "a_unit_written_on_the_host_runs_in_the_twin",
        a_unit_written_on_the_host_runs_in_the_twin,
    ),
    (
        "each_change_has_its_snapshot_first",
        each_change_has_its_snapshot_first,
    ),
    (
        "an_edited_unit_is_changed_and_nothing_else_restarts",
        an_edited_unit_is_changed_and_nothing_else_restarts,
    ),
    (
        "the_same_change_made_twice_has_two_snapshots",
        the_same_change_made_twice_has_two_snapshots,
    ),
    (
        "a_service_that_cannot_start_in_the_twin_is_named_and_the_others_go_on",
        a_service_that_cannot_start_is_named,
    ),
    (
        "a_removed_unit_leaves_the_twin_after_a_second_observation",
        a_removed_unit_leaves_the_twin,
    ),
    (
        "an_administrator_who_logs_in_edits_and_logs_out_causes_nothing",
        an_administrator_causes_nothing,
    ),
    ("an_idle_host_causes_nothing", an_idle_host_causes_nothing),
    (
        "a_controller_restarted_between_beats_does_nothing",
        a_controller_restarted_between_beats_does_nothing,
    ),
];

/// A service of the host that counts seconds, as an administrator would write it.
pub fn counter(description: &str) -> String {
    format!(
        "[Unit]\nDescription={description}\n\n[Service]\nExecStart=/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

/// Writes a unit on the host and starts it.
pub fn start_on_host(world: &World, unit: &str, text: &str) -> Result<()> {
    world
        .lab
        .host()
        .write(&format!("/etc/systemd/system/{unit}"), text)?;
    world.lab.host().run(&format!(
        "systemctl daemon-reload && systemctl enable --quiet {unit} && systemctl restart {unit}"
    ))?;
    Ok(())
}

fn a_unit_written_on_the_host_runs_in_the_twin(world: &World) -> Result<()> {
    start_on_host(world, "first.service", &counter("the first"))?;
    twin::wait_unit(&world.lab, "first.service", "active")?;
    ensure!(twin::property(&world.lab, "first.service", "Description")? == "the first");
    // The agent may publish the file before the host's next command enables it. Asked of the files: the property
    // UnitFileState of a loaded unit is from before an enablement until the next daemon-reload.
    wait::until_true("first.service to be enabled", Duration::from_secs(60), || {
        let question = ["/usr/bin/systemctl", "is-enabled", "first.service"];
        Ok(twin::guest(&world.lab, twin::NAME)?
            .try_run(&question)?
            .stdout
            .trim()
            == "enabled")
    })
}

fn each_change_has_its_snapshot_first(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let before = (twin::points(&world.lab)?.len(), twin::operations(&world.lab)?);
    start_on_host(world, "second.service", &counter("the second"))?;
    twin::wait_unit(&world.lab, "second.service", "active")?;
    twin::wait_settled(&world.lab)?;
    let after = twin::points(&world.lab)?;
    // A slow host may be seen between the writing of a unit and its start: those are two changes then.
    let operations = twin::operations(&world.lab)? - before.1;
    ensure!(operations >= 1, "nothing was done");
    let taken = i64::try_from(after.len() - before.0)?;
    ensure!(
        taken == operations,
        "{operations} operations, {taken} points: {after:?}"
    );
    let taken = twin::object(
        &world.lab,
        "twinsnapshot",
        after.last().map_or("", String::as_str),
    )?;
    let (ready, _, _) = twin::condition(&taken, "Ready");
    ensure!(ready == "True", "{taken:#}");
    let told = taken
        .pointer("/status/takenBefore")
        .and_then(|v| v.as_str())
        .unwrap_or_default();
    ensure!(told.contains("service"), "taken before {told:?}");
    Ok(())
}

fn an_edited_unit_is_changed_and_nothing_else_restarts(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let pid = twin::property(&world.lab, "second.service", "MainPID")?;
    let invocation = twin::property(&world.lab, "second.service", "InvocationID")?;
    start_on_host(world, "first.service", &counter("the first, edited"))?;
    wait::until_true("the edited description", Duration::from_secs(120), || {
        Ok(twin::property(&world.lab, "first.service", "Description")? == "the first, edited")
    })?;
    twin::wait_settled(&world.lab)?;
    ensure!(
        twin::property(&world.lab, "second.service", "MainPID")? == pid,
        "second.service was restarted"
    );
    ensure!(twin::property(&world.lab, "second.service", "InvocationID")? == invocation);
    Ok(())
}

fn the_same_change_made_twice_has_two_snapshots(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let before = twin::operations(&world.lab)?;
    for description in ["once", "again", "once", "again"] {
        start_on_host(world, "first.service", &counter(description))?;
        wait::until_true(description, Duration::from_secs(120), || {
            Ok(twin::property(&world.lab, "first.service", "Description")? == description)
        })?;
        twin::wait_settled(&world.lab)?;
    }
    let done = twin::operations(&world.lab)? - before;
    ensure!(done == 4, "four changes made {done} operations");
    Ok(())
}

fn a_service_that_cannot_start_is_named(world: &World) -> Result<()> {
    world
        .lab
        .host()
        .run("cp /bin/sleep /usr/local/bin/only-on-the-host")?;
    let text = counter("host only").replace("/bin/sleep", "/usr/local/bin/only-on-the-host");
    start_on_host(world, "hostonly.service", &text)?;
    start_on_host(world, "third.service", &counter("the third"))?;
    twin::wait_unit(&world.lab, "third.service", "active")?;
    wait::until("the item's reason", Duration::from_secs(60), || {
        let twin = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
        twin::expect_not_replicated(&twin, "unit/hostonly.service", "MissingExecutable")
            .map(wait::Look::Ready)
    })?;
    start_on_host(world, "later.service", &counter("later"))?;
    twin::wait_unit(&world.lab, "later.service", "active")?;
    Ok(())
}

fn a_removed_unit_leaves_the_twin(world: &World) -> Result<()> {
    let line = "systemctl disable --now --quiet later.service; rm /etc/systemd/system/later.service; systemctl daemon-reload; systemctl reset-failed";
    world.lab.host().run(line)?;
    wait::until_true(
        "later.service to leave the twin",
        Duration::from_secs(120),
        || Ok(twin::property(&world.lab, "later.service", "ActiveState")? != "active"),
    )?;
    wait::until_true("its file to leave the twin", Duration::from_secs(60), || {
        let file = ["/usr/bin/test", "-e", "/etc/systemd/system/later.service"];
        Ok(!twin::guest(&world.lab, twin::NAME)?.try_run(&file)?.success())
    })?;
    twin::wait_settled(&world.lab)?;
    ensure!(twin::property(&world.lab, "third.service", "ActiveState")? == "active");
    Ok(())
}

/// Fails if the twin makes an operation or the controller touches the guest while `work` runs and three beats after.
fn nothing_happens(world: &World, work: impl FnOnce() -> Result<()>) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let operations = twin::operations(&world.lab)?;
    let version = |kind| -> Result<serde_json::Value> {
        let object = twin::object(&world.lab, kind, twin::NAME)?;
        Ok(object
            .pointer("/metadata/resourceVersion")
            .cloned()
            .unwrap_or_default())
    };
    let before = version("digitaltwin")?;
    work()?;
    std::thread::sleep(Duration::from_secs(30));
    ensure!(
        twin::operations(&world.lab)? == operations,
        "an operation was made"
    );
    ensure!(version("digitaltwin")? == before, "the twin's object was written");
    Ok(())
}

fn an_administrator_causes_nothing(world: &World) -> Result<()> {
    nothing_happens(world, || {
        // A login of its own, with a terminal and an editor's worth of processes.
        let mut login = world.lab.host().ssh();
        login.args(["-o", "ControlPath=none", "-tt", "10.77.0.10", "--"]);
        login.arg("vi() { cat > /root/notes; }; echo edited | vi; sleep 5; exit");
        safetytwin_e2e::command::output(&mut login)?;
        Ok(())
    })
}

fn an_idle_host_causes_nothing(world: &World) -> Result<()> {
    nothing_happens(world, || {
        std::thread::sleep(Duration::from_secs(90));
        Ok(())
    })
}

fn a_controller_restarted_between_beats_does_nothing(world: &World) -> Result<()> {
    twin::wait_settled(&world.lab)?;
    let operations = twin::operations(&world.lab)?;
    world.crash_controller()?;
    world.start_controller()?;
    std::thread::sleep(Duration::from_secs(30));
    ensure!(
        twin::operations(&world.lab)? == operations,
        "the restart made an operation"
    );
    Ok(())
}
