//! What every implementation of [`GuestDoor`] and [`Guest`] must do; run on the fake and on a real
//! guest.
//!
//! The suite leaves the guest as it found it, up to new accounts, and uses units named
//! `st-conformance-*`. It needs `/usr/bin/sleep` and systemd in the guest.

use std::collections::BTreeSet;
use std::sync::Arc;

use safetytwin_crds::item::unit::Account;
use safetytwin_crds::manifest::{FORMAT, Manifest};
use safetytwin_crds::names::UnitName;
use safetytwin_crds::revision::DesiredFile;

use super::{Guest, GuestAddress, GuestDoor, GuestError, JobKind, OperationRecord};
use crate::facts::{Accounts, Active, JobOutcome, Load, PreflightQuery, UnitFacts};

/// Runs the whole suite.
pub async fn run(door: &dyn GuestDoor, address: &GuestAddress) {
    let guest = door.connect(address).await.unwrap();
    clean(&*guest).await;
    one_connection_serves_all_callers(door, address, &guest).await;
    records_are_kept_and_replaced(&*guest).await;
    the_higher_epoch_holds_the_lock(&*guest).await;
    a_new_unit_starts_without_a_reload(&*guest).await;
    a_changed_unit_runs_its_new_file_after_a_reload_only(&*guest).await;
    jobs_fail_one_by_one(&*guest).await;
    enablement_and_masks_are_set_and_taken_back(&*guest).await;
    drop_ins_come_and_go_with_their_directory(&*guest).await;
    a_preflight_answers_what_exists(&*guest).await;
    accounts_get_the_ids_of_the_host(&*guest).await;
    paths_that_are_not_ours_are_refused(&*guest).await;
    hanging_up_ends_the_connection(door, address, &guest).await;
    clean(&*door.connect(address).await.unwrap()).await;
}

fn unit(name: &str) -> UnitName {
    format!("st-conformance-{name}").parse().unwrap()
}

fn path(name: &str) -> String {
    format!("/etc/systemd/system/st-conformance-{name}")
}

fn file(name: &str, content: &str) -> DesiredFile {
    DesiredFile {
        path: path(name),
        content: content.into(),
    }
}

fn sleeper(seconds: u32) -> String {
    format!(
        "[Unit]\nDescription=conformance {seconds}\n[Service]\nType=exec\nExecStart=/usr/bin/sleep {seconds}\n[Install]\nWantedBy=multi-user.target\n"
    )
}

async fn facts(guest: &dyn Guest, name: &UnitName) -> UnitFacts {
    let mut facts = guest.units(std::slice::from_ref(name)).await.unwrap();
    assert_eq!(facts.len(), 1);
    facts.remove(0)
}

async fn job(guest: &dyn Guest, kind: JobKind, name: &UnitName) -> Option<String> {
    let outcomes = guest.run_jobs(&[(kind, name.clone())]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes[0].failure.clone()
}

fn all_done(outcomes: &[JobOutcome]) {
    assert!(outcomes.iter().all(|o| o.failure.is_none()), "{outcomes:?}");
}

const NAMES: [&str; 6] = [
    "a.service",
    "b.service",
    "bad.service",
    "m.service",
    "ghost.service",
    "d.service",
];

async fn clean(guest: &dyn Guest) {
    let units: Vec<UnitName> = NAMES.iter().map(|n| unit(n)).collect();
    let stops: Vec<_> = units.iter().map(|u| (JobKind::Stop, u.clone())).collect();
    guest.run_jobs(&stops).await.unwrap();
    guest.disable(&units).await.unwrap();
    guest.unmask(&units).await.unwrap();
    let mut files: Vec<String> = NAMES.iter().map(|n| path(n)).collect();
    files.push(path("d.service.d/50-safetytwin.conf"));
    guest.remove_files(&files).await.unwrap();
    guest.reset_failed(&units).await.unwrap();
    guest.reload().await.unwrap();
}

async fn one_connection_serves_all_callers(
    door: &dyn GuestDoor,
    address: &GuestAddress,
    guest: &Arc<dyn Guest>,
) {
    let again = door.connect(address).await.unwrap();
    assert!(Arc::ptr_eq(guest, &again), "a second connection was made");
    door.prove(address).await.unwrap();
    let boot = guest.boot_id().await.unwrap();
    assert_eq!(boot.len(), 36, "{boot:?}");
    assert_eq!(again.boot_id().await.unwrap(), boot);
}

async fn records_are_kept_and_replaced(guest: &dyn Guest) {
    let before = guest.manifest().await.unwrap();
    for operation in [1, 2] {
        let manifest = Manifest {
            format: FORMAT,
            epoch: 1,
            operation,
            own_units: vec!["ssh.service".into()],
            ..Manifest::default()
        };
        guest.write_manifest(&manifest).await.unwrap();
        assert_eq!(guest.manifest().await.unwrap(), Some(manifest));
    }
    if let Some(before) = before {
        guest.write_manifest(&before).await.unwrap();
    }
    let record = OperationRecord {
        number: 7,
        epoch: 1,
        reload_owed: true,
        ..OperationRecord::default()
    };
    guest.write_operation(Some(&record)).await.unwrap();
    assert_eq!(guest.operation().await.unwrap(), Some(record));
    guest.write_operation(None).await.unwrap();
    guest.write_operation(None).await.unwrap();
    assert_eq!(guest.operation().await.unwrap(), None);
}

async fn the_higher_epoch_holds_the_lock(guest: &dyn Guest) {
    guest.unlock(i64::MAX - 1).await.unwrap();
    guest.lock(10, 1).await.unwrap();
    guest.lock(10, 1).await.unwrap();
    let lower = guest.lock(9, 2).await;
    assert!(matches!(lower, Err(GuestError::Fenced { holder: 10, ours: 9 })));
    guest.lock(11, 3).await.unwrap();
    let stale = Manifest {
        format: FORMAT,
        epoch: 10,
        ..Manifest::default()
    };
    let fenced = guest.write_manifest(&stale).await;
    assert!(matches!(fenced, Err(GuestError::Fenced { holder: 11, .. })));
    assert!(matches!(guest.unlock(10).await, Err(GuestError::Fenced { .. })));
    guest.unlock(11).await.unwrap();
    guest.unlock(11).await.unwrap();
    guest.lock(1, 4).await.unwrap();
    guest.unlock(1).await.unwrap();
}

async fn a_new_unit_starts_without_a_reload(guest: &dyn Guest) {
    let (a, b) = (unit("a.service"), unit("b.service"));
    let missing = facts(guest, &a).await;
    assert_eq!((missing.load, missing.file_state.as_str()), (Load::NotLoaded, ""));
    let files = [
        file("a.service", &sleeper(1001)),
        file("b.service", &sleeper(1002)),
    ];
    let before = guest.traffic();
    assert_eq!(guest.write_files(&files).await.unwrap(), 2);
    assert_eq!(
        guest.write_files(&files).await.unwrap(),
        0,
        "equal bytes were written"
    );
    let read = guest.read_file(&path("a.service")).await.unwrap().unwrap();
    assert_eq!(read, sleeper(1001).into_bytes());
    assert_eq!(facts(guest, &a).await.load, Load::NotLoaded, "asking loaded it");
    let jobs = [(JobKind::Start, a.clone()), (JobKind::Start, b.clone())];
    let outcomes = guest.run_jobs(&jobs).await.unwrap();
    all_done(&outcomes);
    assert_eq!((&outcomes[0].unit, &outcomes[1].unit), (&a, &b));
    let both = guest.units(&[b.clone(), a.clone()]).await.unwrap();
    assert_eq!((&both[0].name, &both[1].name), (&b, &a));
    for facts in &both {
        assert_eq!(
            (facts.load, facts.active),
            (Load::Loaded, Active::Active),
            "{facts:?}"
        );
        assert_eq!(
            (facts.sub.as_str(), facts.result.as_str()),
            ("running", "success")
        );
        assert!(facts.main_pid > 0 && facts.invocation.len() == 32, "{facts:?}");
    }
    let after = guest.traffic();
    assert_eq!(after.files_written - before.files_written, 2);
    assert_eq!(after.jobs - before.jobs, 2);
    assert_eq!(after.reloads, before.reloads);
}

async fn a_changed_unit_runs_its_new_file_after_a_reload_only(guest: &dyn Guest) {
    let (a, b) = (unit("a.service"), unit("b.service"));
    let (old_a, old_b) = (facts(guest, &a).await, facts(guest, &b).await);
    guest
        .write_files(&[file("a.service", &sleeper(1003))])
        .await
        .unwrap();
    guest.reload().await.unwrap();
    assert_eq!(
        facts(guest, &a).await.main_pid,
        old_a.main_pid,
        "a reload restarts nothing"
    );
    assert_eq!(job(guest, JobKind::Restart, &a).await, None);
    let new_a = facts(guest, &a).await;
    assert_ne!(new_a.invocation, old_a.invocation);
    assert_ne!(new_a.main_pid, old_a.main_pid);
    assert_eq!(facts(guest, &b).await, old_b, "an untouched unit changed");
    assert_eq!(job(guest, JobKind::Start, &b).await, None);
    assert_eq!(
        facts(guest, &b).await,
        old_b,
        "starting what runs is to do nothing"
    );
}

async fn jobs_fail_one_by_one(guest: &dyn Guest) {
    let broken = "[Service]\nType=exec\nExecStart=/nonexistent/safetytwin\n";
    guest.write_files(&[file("bad.service", broken)]).await.unwrap();
    let jobs = [
        (JobKind::Start, unit("bad.service")),
        (JobKind::Start, unit("ghost.service")),
        (JobKind::Stop, unit("ghost.service")),
        (JobKind::Restart, unit("b.service")),
    ];
    let outcomes = guest.run_jobs(&jobs).await.unwrap();
    let failed: Vec<bool> = outcomes.iter().map(|o| o.failure.is_some()).collect();
    assert_eq!(failed, [true, true, false, false], "{outcomes:?}");
    let bad = facts(guest, &unit("bad.service")).await;
    assert_eq!(
        (bad.active, bad.result.as_str()),
        (Active::Failed, "exit-code"),
        "{bad:?}"
    );
    guest.reset_failed(&[unit("bad.service")]).await.unwrap();
    assert_eq!(facts(guest, &unit("bad.service")).await.active, Active::Inactive);
}

async fn enablement_and_masks_are_set_and_taken_back(guest: &dyn Guest) {
    let (a, m, ghost) = (unit("a.service"), unit("m.service"), unit("ghost.service"));
    let enabled = guest.enable(&[a.clone(), ghost]).await.unwrap();
    assert!(
        enabled[0].failure.is_none() && enabled[1].failure.is_some(),
        "{enabled:?}"
    );
    assert_eq!(facts(guest, &a).await.file_state, "enabled");
    all_done(&guest.disable(std::slice::from_ref(&a)).await.unwrap());
    assert_eq!(facts(guest, &a).await.file_state, "disabled");
    let occupied = guest.mask(&[a, m.clone()]).await.unwrap();
    assert!(
        occupied[0].failure.is_some() && occupied[1].failure.is_none(),
        "{occupied:?}"
    );
    assert_eq!(facts(guest, &m).await.file_state, "masked");
    assert!(job(guest, JobKind::Start, &m).await.is_some());
    all_done(&guest.unmask(std::slice::from_ref(&m)).await.unwrap());
    assert_eq!(facts(guest, &m).await.file_state, "");
}

async fn drop_ins_come_and_go_with_their_directory(guest: &dyn Guest) {
    let drop_in = file(
        "d.service.d/50-safetytwin.conf",
        "[Unit]\nDescription=with drop-in\n",
    );
    let files = [file("d.service", &sleeper(1004)), drop_in.clone()];
    assert_eq!(guest.write_files(&files).await.unwrap(), 2);
    assert!(guest.read_file(&drop_in.path).await.unwrap().is_some());
    for _ in 0..2 {
        guest
            .remove_files(&[drop_in.path.clone(), path("d.service")])
            .await
            .unwrap();
        assert_eq!(guest.read_file(&drop_in.path).await.unwrap(), None);
    }
}

async fn a_preflight_answers_what_exists(guest: &dyn Guest) {
    let set = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|n| (*n).to_owned()).collect() };
    let query = PreflightQuery {
        executables: set(&[
            "/usr/bin/sleep",
            "/nonexistent",
            "/etc",
            "relative",
            "/usr/bin/../bin/x\0y",
        ]),
        directories: set(&["/tmp", "/nonexistent", "/usr/bin/sleep"]),
        users: set(&["root", "nobody-here"]),
        groups: set(&["root", "nobody-here"]),
        unit_files: set(&["ssh.service", "st-conformance-ghost.service", "../../passwd"]),
        images: vec![],
    };
    let found = guest.preflight(&query).await.unwrap();
    assert_eq!(found.executables, set(&["/usr/bin/sleep"]));
    assert_eq!(found.directories, set(&["/tmp"]));
    assert_eq!(found.users, [("root".to_owned(), 0)].into());
    assert_eq!(found.groups, [("root".to_owned(), 0)].into());
    assert_eq!(found.unit_files, set(&["ssh.service"]));
    let own = guest.own_units().await.unwrap();
    assert!(own.iter().any(|u| u == "ssh.service"), "{own:?}");
    assert!(own.is_sorted());
}

async fn accounts_get_the_ids_of_the_host(guest: &dyn Guest) {
    let account = |name: &str, id, primary_group| Account {
        name: name.into(),
        id: Some(id),
        primary_group,
    };
    let wanted = Accounts {
        users: vec![
            account("st-conf", 47_001, Some(47_002)),
            account("evil name", 47_003, None),
        ],
        groups: vec![account("st-confg", 47_002, None)],
    };
    for _ in 0..2 {
        guest.make_accounts(&wanted).await.unwrap();
    }
    let query = PreflightQuery {
        users: ["st-conf".to_owned()].into(),
        groups: ["st-confg".to_owned()].into(),
        ..PreflightQuery::default()
    };
    let found = guest.preflight(&query).await.unwrap();
    assert_eq!(found.users, [("st-conf".to_owned(), 47_001)].into());
    assert_eq!(found.groups, [("st-confg".to_owned(), 47_002)].into());
}

async fn paths_that_are_not_ours_are_refused(guest: &dyn Guest) {
    let files = [
        file("b.service", "never written"),
        DesiredFile {
            path: "/etc/safetytwin-evil".into(),
            content: String::new(),
        },
    ];
    assert!(guest.write_files(&files).await.is_err());
    assert!(guest.remove_files(&["/etc/passwd".into()]).await.is_err());
    assert!(guest.read_file("/etc/passwd").await.is_err());
    let b = guest.read_file(&path("b.service")).await.unwrap().unwrap();
    assert_eq!(b, sleeper(1002).into_bytes(), "one bad path stops all writes");
}

async fn hanging_up_ends_the_connection(
    door: &dyn GuestDoor,
    address: &GuestAddress,
    guest: &Arc<dyn Guest>,
) {
    door.hang_up().await;
    let dead = guest.boot_id().await;
    assert!(matches!(dead, Err(GuestError::Lost { .. })), "{dead:?}");
    let new = door.connect(address).await.unwrap();
    assert!(!Arc::ptr_eq(guest, &new));
    assert_eq!(
        facts(&*new, &unit("b.service")).await.active,
        Active::Active,
        "units outlive a connection"
    );
}
