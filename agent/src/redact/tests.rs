use safetytwin_crds::item::Text;
use safetytwin_crds::names::UnitName;
use safetytwin_crds::redaction::PLAIN;

use super::*;

/// Of a host without a machine id.
fn plain() -> Redactor {
    Redactor::default()
}

fn keyed(id: &str) -> Redactor {
    Redactor::keyed(id.parse().unwrap())
}

const ONE: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

#[test]
fn a_placeholder_changes_with_its_secret_and_with_the_host_and_with_nothing_else() {
    let shown = |id: &str, secret: &str| keyed(id).text(&format!("x --token {secret} -v")).text;
    let first = shown(ONE, "hunter2");
    assert!(
        first.starts_with("x --token <redacted:") && first.ends_with("> -v"),
        "{first}"
    );
    assert_eq!(first, shown(ONE, "hunter2"));
    assert_ne!(first, shown(ONE, "hunter3"));
    assert_ne!(first, shown(OTHER, "hunter2"));
}

#[test]
fn the_machine_id_is_nowhere_not_even_in_a_path() {
    let redactor = keyed(ONE);
    for text in [format!("/var/log/journal/{ONE}/system.journal"), ONE.to_owned()] {
        assert!(!redactor.text(&text).text.contains(ONE));
    }
    assert!(
        !redactor
            .name(&format!("journal@{ONE}.service"))
            .text
            .contains(ONE)
    );
    assert_eq!(redactor.text(OTHER).count, 0);
}

#[test]
fn a_name_that_holds_a_token_is_another_valid_name_and_the_same_each_time() {
    let token = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    for redactor in [plain(), keyed(ONE)] {
        for name in [
            format!("backup@{token}.service"),
            format!("{token}.service"),
            format!("a.{token}.timer"),
        ] {
            let unit: UnitName = name.parse().unwrap();
            let other = redactor.unit_name(&unit);
            assert!(!other.as_str().contains("16C7e42F"), "{other}");
            assert_eq!(
                (other.unit_type(), other.template()),
                (unit.unit_type(), unit.template())
            );
            assert_eq!(
                (&redactor.unit_name(&unit), redactor.unit_name(&other)),
                (&other, other.clone())
            );
        }
        for name in [
            "getty@tty1.service",
            "systemd-fsck@dev-disk-by\\x2duuid-9C1E\\x2d0F2B.service",
            "web-1.2.3",
            "",
        ] {
            assert_eq!(
                redactor.name(name),
                Redacted {
                    text: name.into(),
                    count: 0
                }
            );
        }
    }
}

#[test]
fn secrets_of_many_shapes_are_replaced_and_the_rest_keeps_its_bytes() {
    for (before, after, count) in [
        ("PORT=8080 LANG=C", "PORT=8080 LANG=C", 0),
        (
            "PGPASSWORD=s3cr3t psql -h db",
            "PGPASSWORD=<redacted> psql -h db",
            1,
        ),
        ("PGPASSWORD='a b' psql", "PGPASSWORD='<redacted>' psql", 1),
        ("x --password hunter2 -v", "x --password <redacted> -v", 1),
        ("x --password -v", "x --password -v", 0),
        ("--token=abc,def", "--token=<redacted>", 1),
        ("ssh://git@h/r", "ssh://git@h/r", 0),
        ("http://h/x ?token=$TOKEN", "http://h/x ?token=$TOKEN", 0),
        (
            "Authorization: Bearer abc.def",
            "Authorization: Bearer <redacted>",
            1,
        ),
        ("curl -H 'X-Api-Key: a b'", "curl -H 'X-Api-Key: <redacted>'", 1),
        (
            r#"{"password": "a", "port": 1}"#,
            r#"{"password": "<redacted>", "port": 1}"#,
            1,
        ),
        (
            "Server=db;Password=x;Port=1",
            "Server=db;Password=<redacted>;Port=1",
            1,
        ),
        ("postgres://u:p@h:5432/db", "postgres://<redacted>@h:5432/db", 1),
        ("https://h/x?a=1&token=t", "https://h/x?<redacted>", 1),
        ("https://h/x?a=1", "https://h/x?a=1", 0),
        (
            "--authorization-mode=Node,RBAC",
            "--authorization-mode=Node,RBAC",
            0,
        ),
        ("--password-file=/run/p", "--password-file=/run/p", 0),
        ("a AKIAIOSFODNN7EXAMPLE b", "a <redacted> b", 1),
        ("token=${TOKEN}", "token=${TOKEN}", 0),
        ("\u{e9}password=\u{e9}\u{e9} x", "\u{e9}password=<redacted> x", 1),
    ] {
        let redacted = plain().text(before);
        assert_eq!(
            (redacted.text.as_str(), redacted.count),
            (after, count),
            "{before}"
        );
    }
}

#[test]
fn a_private_key_goes_to_its_end_or_to_that_of_the_text() {
    let open = "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nx\n";
    assert_eq!(plain().text(open).text, "a\n<redacted>");
    let closed = "a -----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY----- b";
    assert_eq!(plain().text(closed).text, "a <redacted> b");
}

#[test]
fn redacting_twice_changes_nothing_more() {
    for sample in ["--token=abc x", "PGPASSWORD='a b' psql", "postgres://u:p@h/db"] {
        let once = plain().text(sample).text;
        assert_eq!(plain().text(&once).text, once, "{sample}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_scanned_to_its_end(sample in ".{0,200}") {
        let redacted = plain().text(&sample);
        proptest::prop_assert!(redacted.count > 0 || redacted.text == sample);
    }
}

fn run(line: &[&str]) -> (Vec<String>, u32) {
    let arguments: Vec<Vec<u8>> = line.iter().map(|a| a.as_bytes().to_vec()).collect();
    let (texts, count) = plain().argv(&arguments);
    (texts.iter().map(Text::lossy).collect(), count)
}

#[test]
fn passwords_in_command_lines_are_replaced() {
    for (line, place) in [
        (vec!["/usr/bin/mysql", "-pS3cr3t", "db"], 1),
        (vec!["x", "--password", "S3cr3t"], 2),
        (vec!["x", "-token", "S3cr3t"], 2),
        (vec!["x", "--token=S3cr3t"], 1),
        (vec!["curl", "-u", "me:S3cr3t", "https://h"], 2),
        (vec!["curl", "-H", "Authorization: Bearer S3cr3t"], 2),
        (vec!["sh", "-c", "PGPASSWORD=S3cr3t psql"], 2),
        (vec!["redis-cli", "-a", "S3cr3t"], 2),
    ] {
        let (out, count) = run(&line);
        assert_eq!(count, 1, "{line:?}");
        assert!(
            out[place].contains(PLAIN) && !out.concat().contains("S3cr3t"),
            "{out:?}"
        );
    }
}

#[test]
fn ordinary_arguments_keep_their_exact_bytes() {
    let arguments: Vec<Vec<u8>> = vec![
        b"python3".to_vec(),
        b"-m".to_vec(),
        b"http.server".to_vec(),
        b"a\nExecStartPre=/bin/evil".to_vec(),
        b"b\rc".to_vec(),
        vec![0xff, 0xfe],
        Vec::new(),
        b"-p".to_vec(),
    ];
    let (texts, count) = plain().argv(&arguments);
    let kept: Vec<Vec<u8>> = texts.into_iter().map(|t| t.0).collect();
    assert_eq!((kept, count), (arguments, 0));
}

#[test]
fn secrets_in_unit_text_are_replaced_and_services_keep_what_they_need() {
    let before = "\
[Service]
# password=old
Environment=PORT=8080 DB_PASSWORD=x \"API_KEY=a b\" PATH=/bin
Environment=TOKEN=abc\\
 LANG=C
EnvironmentFile=/etc/default/x
LoadCredential=cert:/etc/cert
SetCredential=key:very secret
ExecStart=/bin/x --token abc --password \\
  hunter2 %i $HOME
Description=Password agent
";
    let after = "\
[Service]
# password=<redacted>
Environment=PORT=8080 DB_PASSWORD=<redacted> \"API_KEY=<redacted>\" PATH=/bin
Environment=TOKEN=<redacted>\\
 LANG=C
EnvironmentFile=/etc/default/x
LoadCredential=cert:/etc/cert
SetCredential=key:<redacted>
ExecStart=/bin/x --token <redacted> --password \\
  <redacted> %i $HOME
Description=Password agent
";
    assert_eq!(
        plain().unit(before),
        Redacted {
            text: after.into(),
            count: 7
        }
    );
}

#[test]
fn text_without_secrets_keeps_every_byte() {
    for source in ["", "[Unit]", "a=b\r\n\n;c\\", "x\\\ny\\\n"] {
        assert_eq!(plain().unit(source).text, source);
    }
}

/// The longest text that is read of one argument or unit file.
const LONGEST: usize = 64 * 1024;

/// A text of that length.
fn long(length: usize, [start, again, end]: [&str; 3]) -> String {
    let times = (length - start.len() - end.len()) / again.len();
    format!("{start}{}{end}", again.repeat(times))
}

/// Texts that any user may give to a process, each of which looks at every place as if something began there.
const TIRING: [[&str; 3]; 19] = [
    ["/", "d/", ""],
    ["", "d-", ""],
    ["", "a:", ""],
    ["", "a://", ""],
    ["", "$1", "x"],
    ["", "$a", " "],
    ["", "'token=", ""],
    ["", "token=x,", ""],
    ["token=", "}", "a"],
    ["token=", "&", "a"],
    ["token=", ",a", "="],
    ["token=\\\"", "\\", "x"],
    ["", "ghp_", "x"],
    ["eyJ", "a/", ".x.y"],
    ["token ", "\\", "x"],
    ["", "mysql -p'", ""],
    ["", "@", "x"],
    ["", "-----BEGIN ", ""],
    ["", "eyJ.", "x"],
];
/// Each part of these leads into the next.
const DEEP: [[&str; 3]; 6] = [
    ["", "\\\n#\n", "x"],
    ["token=", "\"Bearer\" ", "x"],
    ["token=\"", ",\"", "x"],
    ["--password \"", "\" \"", "x"],
    ["Bearer ", "Bearer ", "1"],
    ["a://x?", "a://x?", "token=1"],
];

/// Reads a text on a thread with as much stack as that of a collector has, and says what CPU time that took.
fn time_of(text: String) -> std::time::Duration {
    let stack = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let read = stack.spawn(move || {
        for read in [Redactor::text, Redactor::unit] {
            let once = read(&keyed(ONE), &text);
            assert_eq!(read(&keyed(ONE), &once.text).text, once.text);
        }
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        std::time::Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    });
    read.unwrap().join().unwrap()
}

#[test]
fn a_text_takes_no_longer_than_its_parts() {
    for text in TIRING.into_iter().chain(DEEP) {
        let (part, whole) = (
            time_of(long(LONGEST / 64, text)),
            time_of(long(LONGEST / 4, text)),
        );
        let most = part * 64 + std::time::Duration::from_millis(200);
        assert!(
            whole < most,
            "{text:?}: {part:?}, sixteen times as long {whole:?}"
        );
    }
}

#[test]
fn a_text_of_the_greatest_length_fits_on_the_stack_of_a_collector() {
    for text in DEEP {
        time_of(long(LONGEST, text));
    }
}
