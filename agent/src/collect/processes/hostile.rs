//! Real processes that would mislead a reader of `/proc`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use safetytwin_crds::item::ProcessItem;

use super::events::News;
use super::rows::Rows;
use super::*;
use crate::collect::accounts::Accounts;

/// A copy of sleep that runs, under any name; ended when dropped.
struct Running {
    child: Child,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn named(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::copy("/bin/sleep", &path).unwrap();
        let child = loop {
            // A fork of another test may still have the file open for writing.
            match Command::new(&path).arg("600").spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                child => break child.unwrap(),
            }
        };
        Self {
            child,
            path,
            _dir: dir,
        }
    }

    fn stat(&self) -> Stat {
        let pid = i32::try_from(self.child.id()).unwrap();
        let look = || {
            let (proc, news) = (Path::new("/proc"), News::default());
            let all = Rows::default()
                .read(proc, Instant::now(), &news, |_| false)
                .unwrap();
            all.into_iter().find(|stat| stat.pid == pid).unwrap()
        };
        // Until it sleeps it is still being loaded: it has nothing resident yet.
        let asleep = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            Some(look()).filter(|stat| stat.state == b'S')
        });
        asleep.unwrap()
    }

    fn item(&self) -> ProcessItem {
        let mut scanner = tests::scanner();
        let candidate = scanner.candidate(&self.stat(), &Accounts::default(), Instant::now());
        ProcessItem::clone(&candidate.unwrap().1.item)
    }
}

#[test]
fn a_name_that_looks_like_the_rest_of_the_line_is_only_a_name() {
    let own = i32::try_from(std::process::id()).unwrap();
    for name in [") R 1", "a\nb (x) S 1 1", "((()", " ", "\u{1b}[2J"] {
        let running = Running::named(name);
        let stat = running.stat();
        let kept: Vec<u8> = name.bytes().take(15).collect();
        assert_eq!((stat.comm.as_bytes(), stat.ppid), (&*kept, own), "{name:?}");
        assert!(stat.start > 0 && stat.resident > 0 && !stat.kernel, "{name:?}");
    }
}

#[test]
fn an_executable_that_was_deleted_or_replaced_is_gone_and_one_that_is_there_is_not() {
    let running = Running::named("worker");
    let executable = running.item().executable.unwrap();
    assert_eq!(executable.lossy(), running.path.display().to_string());
    assert!(!running.item().executable_gone);
    let newer = running.path.with_file_name("newer");
    std::fs::write(&newer, "#!/bin/sh\n").unwrap();
    std::fs::rename(&newer, &running.path).unwrap();
    assert!(running.item().executable_gone);
}

#[test]
fn a_process_that_ends_while_it_is_read_is_no_item_and_no_error() {
    let mut running = Running::named("brief");
    let stat = running.stat();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let mut scanner = tests::scanner();
    let candidate = scanner.candidate(&stat, &Accounts::default(), Instant::now());
    assert!(candidate.is_none());
}
