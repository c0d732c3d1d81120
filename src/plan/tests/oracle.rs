//! systemd's own parser as the judge of what is rendered: `systemd-analyze verify` in a root of
//! stubs. Nothing runs there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use safetytwin_crds::item::Text;
use safetytwin_crds::item::container::{HealthCheck, Mount, PortMapping};
use safetytwin_crds::revision::DesiredFile;

use super::*;

/// Makes `path` below `root`.
fn put(root: &Path, path: &str, content: &str, mode: u32) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What systemd says to these files; panics when it refuses one.
fn verify(files: &[DesiredFile], executables: &[&str]) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    for target in ["basic", "sysinit", "shutdown", "multi-user"] {
        let path = format!("/usr/lib/systemd/system/{target}.target");
        put(root.path(), &path, "[Unit]\nDescription=stub\n", 0o644);
    }
    put(
        root.path(),
        "/usr/lib/systemd/system/docker.service",
        "[Service]\nExecStart=/usr/bin/docker\n",
        0o644,
    );
    for executable in executables
        .iter()
        .chain(&["/usr/bin/docker", "/usr/bin/podman", "/usr/bin/worker"])
    {
        put(root.path(), executable, "#!/bin/false\n", 0o755);
    }
    for file in files {
        put(root.path(), &file.path, &file.content, 0o644);
    }
    let units = files.iter().filter(|f| !f.path.ends_with(".conf"));
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--generators=no", "--recursive-errors=no"])
        .arg(format!("--root={}", root.path().display()))
        .args(units.map(|f| f.path.rsplit('/').next().unwrap()))
        .env("SYSTEMD_LOG_LEVEL", "debug")
        .output()
        .unwrap_or_else(|e| panic!("systemd-analyze is needed ({e}): apt-get install systemd"));
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{text}");
    for complaint in [
        "Unknown key",
        "Unknown section",
        "Invalid ",
        "Failed to parse",
        "ignoring",
        "not executable",
    ] {
        let line = text
            .lines()
            .find(|l| l.contains(complaint) && !l.starts_with("Failed to read $container"));
        assert_eq!(line, None);
    }
    said
}

fn files_of(items: &HostItems) -> Vec<DesiredFile> {
    let content = desired(items, &spec());
    assert_eq!(content.excluded, []);
    let all = content.items.iter().flat_map(|item| {
        let fallback = item.fallback.iter().flat_map(|f| f.files.clone());
        item.files.clone().into_iter().chain(fallback)
    });
    all.collect()
}

fn health_check() -> HealthCheck {
    HealthCheck {
        test: ["CMD", "curl", "http://x/?a=%n&b='$c'"].map(Text::from).into(),
        interval_ms: 5000,
        ..HealthCheck::default()
    }
}

#[test]
fn systemd_accepts_every_kind_of_unit_that_is_rendered() {
    let mut web = container("web");
    web.command = Some(vec![
        Text::from("sh"),
        Text::from("-c"),
        Text::from("echo $HOME %n \"x\"; \\\n"),
    ]);
    web.entrypoint = Some(vec![Text::from("/entry point")]);
    web.user = "1000:1000".into();
    web.working_directory = "/srv/a b".into();
    web.memory_bytes = 64 << 20;
    web.cpu_milli = 1500;
    web.cap_add = vec!["CAP_NET_ADMIN".into()];
    web.health_check = Some(health_check());
    web.labels = [("a.b".to_owned(), "50% of $x".to_owned())].into();
    web.networks = [
        ("front".to_owned(), vec!["www".to_owned()]),
        ("back".to_owned(), vec![]),
    ]
    .into();
    web.network_mode = "front".into();
    web.ports = vec![PortMapping {
        container_port: 80,
        protocol: "tcp".into(),
        host_ip: "0.0.0.0".into(),
        host_port: 8080,
        ..PortMapping::default()
    }];
    web.mounts = vec![Mount {
        target: "/data".into(),
        kind: "volume".into(),
        source: "data".into(),
        read_only: true,
        ..Mount::default()
    }];
    let mut worker = process(1, &["worker: [main]", "", "--x=%h $HOME"]);
    worker.working_directory = Some(Text::from("/usr/bin"));
    worker.user.id = Some(33);
    worker.user.name = "www-data".into();
    let mut local = service("app.service");
    local.drop_ins = vec![file(
        "/etc/systemd/system/app.service.d/a.conf",
        "[Service]\nNice=5\nLimitNOFILE=1024\n",
    )];
    let mut items = host(vec![local]);
    items.containers = Some(section(vec![web]));
    items.processes = Some(section(vec![worker]));
    let files = files_of(&items);
    assert_eq!(
        files.len(),
        5,
        "fragment, drop-in, process, container with docker and with podman"
    );
    let said = String::from_utf8_lossy(&verify(&files, &["/usr/bin/app"])).into_owned();
    assert!(
        said.contains("Nice: 5") && said.contains("User: www-data"),
        "{said}"
    );
}

/// Words as systemd prints them (`quote_command_line`): plain, or in double quotes with C escapes.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut at = 0;
    while at < line.len() {
        let byte = line[at];
        at += 1;
        match byte {
            b'"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b' ' if !quoted => words.extend(word.take()),
            b'\\' => {
                let (byte, used) = unescaped(&line[at..]);
                word.get_or_insert_default().push(byte);
                at += used;
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// The byte behind a backslash, and how many bytes its escape has.
fn unescaped(rest: &[u8]) -> (u8, usize) {
    let number =
        |digits: &[u8], radix| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), radix).unwrap();
    match rest[0] {
        b'a' => (7, 1),
        b'b' => (8, 1),
        b'f' => (12, 1),
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'v' => (11, 1),
        b'x' => (number(&rest[1..3], 16), 3),
        b'0'..=b'3' => (number(&rest[..3], 8), 3),
        byte => (byte, 1),
    }
}

/// Each argument with `$` doubled: systemd undoes that only when it executes.
fn doubled(argv: &[Vec<u8>]) -> Vec<Vec<u8>> {
    argv.iter()
        .map(|a| {
            a.iter()
                .flat_map(|b| vec![*b; if *b == b'$' { 2 } else { 1 }])
                .collect()
        })
        .collect()
}

fn argument() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(vec![
        "$HOME",
        "${x}",
        "%n",
        "%%",
        ";",
        " ; ",
        "\\",
        "\"",
        "'",
        "\n",
        "\r",
        "\t",
        "\nExecStartPre=/bin/evil",
        "-",
        "@",
        "\\x41",
        "\u{85}",
        "\u{202e}",
        " ",
    ]);
    let piece = prop_oneof![
        nasty.prop_map(|s| s.as_bytes().to_vec()),
        "[ -~]{0,6}".prop_map(String::into_bytes),
        "\\PC{0,4}".prop_map(String::into_bytes),
        prop::collection::vec(1u8..=255, 0..4),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn systemd_reads_back_every_argument_that_a_process_had(
        all in prop::collection::vec(prop::collection::vec(argument(), 1..5), 20)
    ) {
        let mut items = host(Vec::new());
        let processes = all.iter().enumerate().map(|(n, argv)| {
            let mut item = process(n as u64, &[]);
            item.argv = argv.iter().cloned().map(Text).collect();
            item
        });
        items.processes = Some(section(processes.collect()));
        let said = verify(&files_of(&items), &[]);
        let mut found = std::collections::BTreeMap::new();
        let mut unit = None;
        for line in said.split(|b| *b == b'\n') {
            let text = String::from_utf8_lossy(line);
            if let Some(name) = text.trim().strip_prefix("-> Unit twin-process-worker-") {
                unit = u64::from_str_radix(&name[..16], 16).ok();
            } else if let Some(at) = text.find("Command Line: ").filter(|at| text[..*at].trim().is_empty()) {
                found.insert(unit.unwrap() as usize, words(&line[at + "Command Line: ".len()..]));
            }
        }
        for (n, argv) in all.iter().enumerate() {
            prop_assert_eq!(found.get(&n), Some(&doubled(argv)));
        }
    }
}

#[test]
fn executables_with_odd_names_are_run_by_exactly_that_name_or_refused() {
    let named = |path: &str| {
        let mut item = process(1, &["x"]);
        item.executable = Some(Text::from(path));
        let mut items = host(Vec::new());
        items.processes = Some(section(vec![item]));
        items
    };
    let odd = "/opt/a b$c%d;{é}*[x]/-run me";
    verify(&files_of(&named(odd)), &[odd]);
    for refused in ["/a\"b", "/a'b", "/a\\b", "/a\nb", "a", "/a/../b", "/a//b", "/a "] {
        let content = desired(&named(refused), &spec());
        assert_eq!(content.excluded[0].reason, Reason::InvalidItem, "{refused:?}");
    }
}
