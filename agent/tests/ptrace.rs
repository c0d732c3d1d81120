//! The agent and its helper, through the pipe between them.

use std::path::Path;

use safetytwin_agent::collect::processes::helper::Helper;

const PROGRAM: &str = env!("CARGO_BIN_EXE_twin-agent-ptrace");

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

#[test]
fn the_helper_tells_of_a_process_what_the_kernel_does() {
    let mut helper = Helper::start(Path::new(PROGRAM), Path::new("/proc")).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let links = helper.links(own_pid());
    let bytes = |path: std::path::PathBuf| Ok(path.into_os_string().into_encoded_bytes());
    assert_eq!(links.executable, bytes(std::env::current_exe().unwrap()));
    assert_eq!(links.directory, bytes(std::env::current_dir().unwrap()));
    assert!(!links.elsewhere);
    let sockets = String::from_utf8(links.sockets.unwrap()).unwrap();
    let inode = {
        use std::os::fd::AsRawFd;
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let text = link.to_str().unwrap().to_owned();
        text.trim_start_matches("socket:[")
            .trim_end_matches(']')
            .to_owned()
    };
    assert!(
        sockets.split(' ').any(|other| other == inode),
        "{inode} is not in {sockets}"
    );
    let alone = String::from_utf8(helper.sockets(own_pid()).unwrap()).unwrap();
    assert!(alone.split(' ').any(|other| other == inode));
}

#[test]
fn of_a_process_that_is_gone_the_helper_says_so_and_goes_on() {
    let mut helper = Helper::start(Path::new(PROGRAM), Path::new("/proc")).unwrap();
    let gone = helper.links(i32::MAX);
    assert_eq!(gone.executable, Err("entity not found".to_owned()));
    assert!(gone.sockets.is_err() && !gone.elsewhere);
    assert!(helper.links(own_pid()).executable.is_ok());
}

#[test]
fn a_helper_that_ended_is_said_to_have_and_nobody_answers_in_its_place() {
    let mut helper = Helper::start(Path::new("/bin/true"), Path::new("/proc")).unwrap();
    for _ in 0..2 {
        let ended = helper.links(own_pid()).executable;
        assert_eq!(ended, Err("the helper process ended".to_owned()));
        assert!(helper.has_ended());
    }
    assert_eq!(helper.pid(), None);
}

#[test]
fn the_end_of_a_helper_is_noticed_though_nothing_is_asked() {
    let mut helper = Helper::start(Path::new(PROGRAM), Path::new("/proc")).unwrap();
    assert!(!helper.has_ended() && helper.links(own_pid()).executable.is_ok());
    let pid = rustix::process::Pid::from_raw(helper.pid().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let begin = std::time::Instant::now();
    while !helper.has_ended() {
        assert!(
            begin.elapsed() < std::time::Duration::from_secs(30),
            "it was killed"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn the_program_says_what_it_is_for_and_takes_nothing_but_a_procfs() {
    let run = |arguments: &[&str]| {
        std::process::Command::new(PROGRAM)
            .args(arguments)
            .output()
            .unwrap()
    };
    let help = run(&["--help"]);
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("example:"));
    for wrong in [&[][..], &["/proc", "/sys"]] {
        assert_eq!(run(wrong).status.code(), Some(2));
    }
}
