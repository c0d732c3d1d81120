//! Real processes that would mislead a reader of `/proc`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use safetytwin_crds::item::ProcessItem;

use super::events::News;
use super::rows::Rows;
use super::*;
use crate::collect::Content;
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
        Self::of(&path, Path::new("/"), dir)
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

    /// What `program` runs, which may be no path that another process could open.
    fn of(program: &Path, directory: &Path, dir: tempfile::TempDir) -> Self {
        let child = loop {
            // A fork of another test may still have the file open for writing.
            match Command::new(program).arg("600").current_dir(directory).spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                child => break child.unwrap(),
            }
        };
        let path = program.to_path_buf();
        Self {
            child,
            path,
            _dir: dir,
        }
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

#[test]
fn what_runs_from_memory_alone_is_no_file_of_the_host() {
    use std::os::fd::AsRawFd;

    let memory = rustix::fs::memfd_create("worker", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let path = |fd: i32| PathBuf::from(format!("/proc/self/fd/{fd}"));
    std::fs::copy("/bin/sleep", path(memory.as_raw_fd())).unwrap();
    // What is open for writing cannot be run.
    let program = std::fs::File::open(path(memory.as_raw_fd())).unwrap();
    drop(memory);
    let dir = tempfile::tempdir().unwrap();
    let item = Running::of(&path(program.as_raw_fd()), Path::new("/"), dir).item();
    assert_eq!(item.executable.unwrap().lossy(), "/memfd:worker (deleted)");
    assert!(item.executable_gone);
}

#[test]
fn a_directory_that_is_deeper_than_a_path_can_say_is_unknown_and_the_reason_is_told() {
    use std::os::fd::AsRawFd;

    use rustix::fs::{Mode, OFlags, mkdirat, openat};

    let dir = tempfile::tempdir().unwrap();
    let name = "d".repeat(250);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut deep = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
    // PATH_MAX is 4096.
    for _ in 0..20 {
        mkdirat(&deep, &name, Mode::RWXU).unwrap();
        deep = openat(&deep, &name, flags, Mode::empty()).unwrap();
    }
    let below = PathBuf::from(format!("/proc/self/fd/{}", deep.as_raw_fd()));
    let item = Running::of(Path::new("/bin/sleep"), &below, dir).item();
    assert_eq!(item.working_directory, None);
    let [why] = &item.unknown[..] else {
        panic!("{:?}", item.unknown);
    };
    assert!(why.starts_with("workingDirectory: "), "{why}");
}

#[test]
fn the_longest_path_that_there_is_is_kept_whole() {
    let longest = format!("/{}", "d/".repeat(2046));
    let mut fake = tests::planted::Fake::of(&["/bin/a"]);
    (fake.executable, fake.directory) = (longest.clone(), longest.clone());
    let collected = tests::planted::collected(&[fake], &crate::redact::Redactor::default());
    let Content::Processes(items) = &*collected.content else {
        panic!("{collected:?}");
    };
    let kept = |text: &Option<safetytwin_crds::item::Text>| text.as_ref().unwrap().lossy();
    assert_eq!(kept(&items[0].executable), longest);
    assert_eq!(kept(&items[0].working_directory), longest);
}

#[test]
fn a_hundred_thousand_arguments_are_cut_and_the_item_says_so() {
    let fake = tests::planted::Fake::of(&vec!["a"; 100_000]);
    let collected = tests::planted::collected(&[fake], &crate::redact::Redactor::default());
    let Content::Processes(items) = &*collected.content else {
        panic!("{collected:?}");
    };
    assert!(items[0].truncated);
    assert_eq!(items[0].argv.len(), files::ARGV_LIMIT as usize / 2);
}
