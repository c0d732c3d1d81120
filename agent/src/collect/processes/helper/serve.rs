//! The helper's end: what it is asked, and what it looks at.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::line::{Answer, field, malformed};

/// Answers requests until standard input ends. One request per line: `all PID` asks where `exe` and `cwd` lead, whether
/// that `exe` is no file of the host and which sockets are open, `sockets PID` the last only.
pub fn serve(proc: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answers = answers(proc, &line?);
        let fields: Vec<String> = answers.into_iter().map(|answer| field(&answer)).collect();
        out.write_all((fields.join("\t") + "\n").as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// What a request is answered with, one answer for each question.
pub fn answers(proc: &Path, request: &str) -> Vec<Answer> {
    let Some((what, pid)) = request.split_once(' ') else {
        return vec![malformed()];
    };
    let Ok(pid) = pid.parse::<i32>() else {
        return vec![malformed()];
    };
    let dir = proc.join(pid.to_string());
    let told = |answer: std::io::Result<Vec<u8>>| answer.map_err(|error| error.kind().to_string());
    match what {
        "all" => vec![
            told(link(&dir.join("exe"))),
            told(link(&dir.join("cwd"))),
            told(elsewhere(proc, &dir)),
            told(sockets(&dir)),
        ],
        "sockets" => vec![told(sockets(&dir))],
        _ => vec![malformed()],
    }
}

/// Target of a link, any bytes.
pub fn link(path: &Path) -> std::io::Result<Vec<u8>> {
    let target = rustix::fs::readlink(path, Vec::new())?;
    Ok(target.into_bytes())
}

/// "1" when what a process runs is not what PID 1 finds under that path: it has mounts of its own.
pub fn elsewhere(proc: &Path, dir: &Path) -> std::io::Result<Vec<u8>> {
    let host = proc.join("1");
    if link(&dir.join("ns/mnt"))? == link(&host.join("ns/mnt"))? {
        return Ok(b"0".to_vec());
    }
    let path = PathBuf::from(OsString::from_vec(link(&dir.join("exe"))?));
    let relative = path.strip_prefix("/").unwrap_or(&path);
    let running = rustix::fs::stat(dir.join("exe"))?;
    let found = rustix::fs::stat(host.join("root").join(relative));
    let same = found.is_ok_and(|f| (f.st_dev, f.st_ino) == (running.st_dev, running.st_ino));
    Ok(if same { b"0" } else { b"1" }.to_vec())
}

/// Inodes of the sockets that a process has open, separated by spaces.
pub fn sockets(dir: &Path) -> std::io::Result<Vec<u8>> {
    let mut inodes = Vec::new();
    for entry in std::fs::read_dir(dir.join("fd"))? {
        let Ok(target) = link(&entry?.path()) else {
            continue;
        };
        let inode = target
            .strip_prefix(b"socket:[")
            .and_then(|t| t.strip_suffix(b"]"));
        if let Some(inode) = inode {
            inodes.extend_from_slice(inode);
            inodes.push(b' ');
        }
    }
    Ok(inodes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_helper_answers_four_questions_and_no_other() {
        let proc = Path::new("/proc");
        let me = std::process::id();
        let all = answers(proc, &format!("all {me}"));
        let path = |path: std::io::Result<PathBuf>| Ok(path.unwrap().into_os_string().into_encoded_bytes());
        assert_eq!(all[0], path(std::env::current_exe()));
        assert_eq!(all[1], path(std::env::current_dir()));
        assert!(all[3].is_ok() && all.len() == 4);
        assert_eq!(answers(proc, &format!("sockets {me}")).len(), 1);
        for request in [
            format!("environ {me}"),
            format!("mem {me}"),
            format!("../{me}/exe {me}"),
            "all ../self".into(),
            "all".into(),
            String::new(),
        ] {
            assert_eq!(answers(proc, &request), [malformed()], "{request}");
        }
    }

    #[test]
    fn what_runs_in_other_mounts_is_the_hosts_only_if_it_is_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for process in ["1", "5", "6", "7"] {
            std::fs::create_dir_all(at(process).join("ns")).unwrap();
            let namespace = if process < "6" { "mnt:[1]" } else { "mnt:[2]" };
            symlink(namespace, at(process).join("ns/mnt")).unwrap();
        }
        for file in ["tool", "other"] {
            std::fs::write(at(file), file).unwrap();
        }
        symlink("/", at("1/root")).unwrap();
        for process in ["5", "6"] {
            symlink(at("tool"), at(process).join("exe")).unwrap();
        }
        let asked = |process: &str| answers(dir.path(), &format!("all {process}")).swap_remove(2);
        assert_eq!((asked("5"), asked("6")), (Ok(b"0".to_vec()), Ok(b"0".to_vec())));
        // PID 1 finds another file there, or none.
        std::fs::create_dir_all(at("root")).unwrap();
        std::fs::remove_file(at("1/root")).unwrap();
        symlink(at("root"), at("1/root")).unwrap();
        assert_eq!((asked("5"), asked("6")), (Ok(b"0".to_vec()), Ok(b"1".to_vec())));
        assert!(asked("7").is_err(), "it is gone");
    }
}
