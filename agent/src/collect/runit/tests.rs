//! Planted trees of services. The real runsv is compared with on the lab's node
//! (`e2e/tests/twin/runit.rs`).

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::timeout;

use super::*;
use crate::assemble::Assembler;
use crate::collect::board::Board;

/// A host with runit's directory.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/service")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("etc/service").join(name)
    }

    fn collector(&self) -> Runit {
        let proc = self.0.path().join("proc");
        Runit::of(HostRoot::new(self.0.path(), proc, "/sys"), Redactor::default())
    }

    fn service(&self, name: &str, run: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.join("supervise")).unwrap();
        std::fs::write(path.join("run"), run).unwrap();
        std::fs::set_permissions(path.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn status(&self, name: &str, pid: u32, want: u8, state: u8) {
        let mut bytes = [0u8; 20];
        bytes[12..16].copy_from_slice(&pid.to_le_bytes());
        (bytes[17], bytes[19]) = (want, state);
        std::fs::write(self.path(name).join("supervise/status"), bytes).unwrap();
    }

    fn process(&self, pid: u32, ppid: u32, comm: &str) {
        let dir = self.0.path().join("proc").join(pid.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let rest = "0 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        std::fs::write(dir.join("stat"), format!("{pid} ({comm}) S {ppid} 0 {rest}")).unwrap();
        std::fs::write(dir.join("comm"), format!("{comm}\n")).unwrap();
    }
}

async fn look(runit: &mut Runit) -> (Vec<Arc<UnitItem>>, Vec<String>) {
    let collected = runit.collect(Scope::Audit).await.unwrap();
    let Content::Units { items, .. } = &*collected.content else {
        panic!("no units");
    };
    (items.clone(), collected.gaps)
}

#[tokio::test]
async fn a_service_that_no_runsv_took_up_yet_is_down_also_where_its_state_is_a_link() {
    let host = Host::new();
    let path = host.service("ssh", "#!/bin/sh\nexec /usr/sbin/sshd -D\n");
    std::fs::remove_dir(path.join("supervise")).unwrap();
    symlink("/run/runit/supervise/ssh", path.join("supervise")).unwrap();
    let (items, gaps) = look(&mut host.collector()).await;
    assert_eq!((items[0].run, gaps), (RunClass::Down, Vec::<String>::new()));
}

#[tokio::test]
async fn a_service_is_up_only_while_a_runsv_sees_to_it() {
    let host = Host::new();
    host.service("web", "#!/bin/sh\nexec /usr/bin/web\n");
    let mut runit = host.collector();
    let mut run = async || look(&mut runit).await.0[0].run;
    assert_eq!(run().await, RunClass::Down, "nobody took it up");
    host.status("web", 50, b'u', 1);
    assert_eq!(
        run().await,
        RunClass::Down,
        "its runsv is gone, the status stayed"
    );
    host.process(50, 40, "web");
    host.process(40, 30, "runsv");
    assert_eq!(run().await, RunClass::Up);
    host.process(50, 1, "other");
    assert_eq!(run().await, RunClass::Down, "another process has its pid");
    host.status("web", 0, b'u', 0);
    assert_eq!(run().await, RunClass::Up, "between two runs");
    host.status("web", 0, b'd', 0);
    assert_eq!(run().await, RunClass::Down);
}

#[tokio::test]
async fn an_end_that_nobody_tells_is_looked_for_where_something_is_up() {
    let host = Host::new();
    host.service("web", "#!/bin/sh\nexec /usr/bin/web\n");
    let mut runit = host.collector();
    look(&mut runit).await;
    assert_eq!(runit.audit_interval(), NOTHING_UP);
    host.status("web", 0, b'u', 0);
    look(&mut runit).await;
    assert_eq!(runit.audit_interval(), SCAN);
    host.status("web", 0, b'd', 0);
    look(&mut runit).await;
    assert_eq!(runit.audit_interval(), NOTHING_UP);
}

#[tokio::test]
async fn a_state_that_a_runsv_writes_and_a_new_service_are_told() {
    let host = Host::new();
    host.service("web", "#!/bin/sh\nexec /usr/bin/web\n");
    let mut runit = host.collector();
    look(&mut runit).await;
    let told = async |runit: &mut Runit| timeout(Duration::from_secs(5), runit.changed()).await.is_ok();
    // As runsv does it (runsv.c: update_status).
    host.status("web", 50, b'u', 1);
    let supervise = host.path("web").join("supervise");
    std::fs::rename(supervise.join("status"), supervise.join("status.new")).unwrap();
    runit.watch.as_ref().unwrap().read();
    std::fs::rename(supervise.join("status.new"), supervise.join("status")).unwrap();
    assert!(told(&mut runit).await, "a state");
    host.service("new", "#!/bin/sh\nexec /usr/bin/new\n");
    assert!(told(&mut runit).await, "a service");
    assert_eq!(look(&mut runit).await.0.len(), 2);
    std::fs::write(host.path("new/down"), "").unwrap();
    assert!(told(&mut runit).await, "a file of a service that was new");
    std::fs::write(supervise.join("status.new"), "").unwrap();
    let quiet = timeout(Duration::from_millis(300), runit.changed()).await;
    assert!(quiet.is_err(), "half a state says nothing");
}

#[tokio::test]
async fn a_service_becomes_a_unit_that_runs_its_script_and_needs_its_program() {
    let host = Host::new();
    let path = host.service(
        "web",
        "#!/bin/sh\nexport KEY=S3cr3tS3cr3t\nexec chpst -u web /usr/bin/web\n",
    );
    std::fs::write(path.join("down"), "").unwrap();
    std::fs::write(path.join("finish"), "").unwrap();
    let mut runit = host.collector();
    let (items, gaps) = look(&mut runit).await;
    assert_eq!(gaps, Vec::<String>::new());
    let item = &items[0];
    assert_eq!(
        (item.name.as_str(), item.enablement.as_str()),
        ("runit-web.service", "disabled")
    );
    let service = item.service.clone().unwrap();
    assert_eq!(service.executables, ["/etc/service/web/run", "/usr/bin/web"]);
    let fragment = item.fragment.clone().unwrap();
    let text = fragment.content.clone().unwrap();
    assert!(
        text.contains("ExecStart=/etc/service/web/run\nExecStopPost=-/etc/service/web/finish\n"),
        "{text}"
    );
    assert!(!serde_json::to_string(item).unwrap().contains("S3cr3t"));
    std::fs::write(path.join("run"), "#!/bin/sh\nexec chpst -u other /usr/bin/web\n").unwrap();
    let edited = look(&mut runit).await.0[0].fragment.clone().unwrap();
    assert_ne!(
        edited.digest, fragment.digest,
        "an edit of the script is a change"
    );
}

#[tokio::test]
async fn a_hostile_tree_is_read_without_blocking_and_refused_by_name() {
    let host = Host::new();
    host.service("good", "exec good");
    host.service(".hidden", "exec hidden");
    host.service("a b", "exec x");
    host.service("$(reboot)", "exec x");
    host.service("new\nline", "exec x");
    for (name, status) in [("short", &[0u8; 18][..]), ("long", &[b'x'; 4096])] {
        std::fs::write(host.service(name, "exec x").join("supervise/status"), status).unwrap();
    }
    let fifo = host.path("fifo");
    std::fs::create_dir_all(&fifo).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo.join("run"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    std::fs::write(host.path("file"), "").unwrap();
    symlink("/etc/service/file", host.path("link-to-file")).unwrap();
    symlink("loop", host.path("loop")).unwrap();
    symlink("/nowhere", host.path("dangling")).unwrap();
    symlink(
        "/run/runit/supervise.far",
        host.service("far", "exec far").join("elsewhere"),
    )
    .unwrap();
    host.process(40, 30, "runsv");
    let far = host.path("far");
    std::fs::remove_dir(far.join("supervise")).unwrap();
    std::fs::rename(far.join("elsewhere"), far.join("supervise")).unwrap();
    let (items, gaps) = look(&mut host.collector()).await;
    let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["runit-good.service"]);
    for name in [
        "a b",
        "$(reboot)",
        "new\\nline",
        "short",
        "long",
        "fifo",
        "loop",
        "far",
    ] {
        assert!(
            gaps.iter()
                .any(|gap| gap.starts_with(&format!("runit: {name}: "))),
            "{name}: {gaps:?}"
        );
    }
    assert_eq!(gaps.len(), 8, "{gaps:?}");
}

#[tokio::test]
async fn ten_thousand_services_are_bounded_and_the_list_is_not_called_whole() {
    let host = Host::new();
    for n in 0..1100 {
        std::fs::create_dir(host.path(&format!("s{n}"))).unwrap();
        std::fs::write(host.path(&format!("s{n}/run")), "").unwrap();
    }
    let (items, gaps) = look(&mut host.collector()).await;
    assert_eq!((items.len(), gaps.len()), (SERVICES, 1));
}

/// What the head says of units when `runit` and a systemd that answers as `units` says are asked.
async fn section(runit: &mut Runit, units: Result<Collected, CollectError>) -> (Option<i32>, String, i32) {
    let board = Board::default();
    let result = runit.collect(Scope::Audit).await;
    board.post(runit.name(), runit.section(), result);
    board.post("units", Some(SectionName::Units), units);
    let state = Assembler::default().assemble(&board.reports(), "t");
    let units = &state.sections[0];
    (state.counts.services, format!("{:?}", units.state), units.items)
}

fn none(services: i32) -> Result<Collected, CollectError> {
    Ok(Collected::whole(Content::Units {
        items: vec![],
        services,
        failed: 0,
    }))
}

#[tokio::test]
async fn a_host_without_runit_is_as_if_there_were_no_such_collector() {
    let dir = tempfile::tempdir().unwrap();
    let mut runit = Runit::of(
        HostRoot::new(dir.path(), dir.path(), dir.path()),
        Redactor::default(),
    );
    assert_eq!(
        section(&mut runit, none(7)).await,
        (Some(7), "Complete".into(), 0)
    );
    let gone = || Err(CollectError::Unavailable("no bus".into()));
    assert_eq!(section(&mut runit, gone()).await, (None, "Unavailable".into(), 0));
    assert_eq!(runit.audit_interval(), WITHOUT_RUNIT);
}

#[tokio::test]
async fn services_of_two_managers_are_one_section_and_those_that_run_are_counted_together() {
    let host = Host::new();
    host.service("web", "exec web");
    let mut runit = host.collector();
    assert_eq!(
        section(&mut runit, none(7)).await,
        (Some(7), "Complete".into(), 1),
        "it is down"
    );
    host.status("web", 50, b'u', 1);
    host.process(50, 40, "web");
    host.process(40, 30, "runsv");
    assert_eq!(
        section(&mut runit, none(7)).await,
        (Some(8), "Complete".into(), 1)
    );
    let gone = Err(CollectError::Unavailable("no bus".into()));
    assert_eq!(section(&mut runit, gone).await.1, "Partial");
    std::fs::remove_dir_all(host.path("")).unwrap();
    assert_eq!(
        section(&mut runit, none(7)).await,
        (Some(7), "Complete".into(), 0)
    );
}

#[test]
fn runit_is_process_1_or_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = HostRoot::new(dir.path(), dir.path(), dir.path());
    assert!(!is_init(&root));
    std::fs::create_dir(dir.path().join("1")).unwrap();
    for (comm, expected) in [("systemd\n", false), ("runit\n", true)] {
        std::fs::write(Path::new(dir.path()).join("1/comm"), comm).unwrap();
        assert_eq!(is_init(&root), expected);
    }
}
