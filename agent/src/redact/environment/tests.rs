use super::super::Redactor;
use super::*;

fn unit(line: &str) -> String {
    Redactor::default().unit(line).text
}

fn keeps(assignment: &str) -> bool {
    let line = format!("Environment=\"{assignment}\"\n");
    unit(&line) == line
}

#[test]
fn what_services_are_told_every_day_is_kept() {
    for assignment in [
        "EMPTY=",
        "VERBOSE=1",
        "DEBUG=true",
        "SETTING=off",
        "SETTING=8080",
        "SETTING=0.75",
        "SETTING=512M",
        "SETTING=30s",
        "SETTING=/var/lib/app/data-1.2",
        "SETTING=/opt/a/bin:/usr/bin",
        "SETTING=%h/.config/app",
        "SETTING=127.0.0.1:8080",
        "SETTING=[::1]:53",
        "SETTING=0.0.0.0",
        "SETTING=*:80",
        "SETTING=db.example.org",
        "SETTING=db:5432",
        "SETTING=a.example.org:9092,b.example.org:9092",
        "SETTING=http://127.0.0.1:11434",
        "SETTING=https://api.example.org/v1/models",
        "SETTING=unix:///run/app.sock",
        "SETTING=10.0.0.0",
        "LOG_LEVEL=verbose",
        "APP_ENV=blue",
        "DB_HOST=postgres",
        "AWS_REGION=eu-central-1",
        "MODEL=Qwen/Qwen2.5-7B-Instruct",
        "PATH=/nix/store/3a8vk2xq0bsd7h1m9z5c4f6g-coreutils-9.5/bin:/bin",
        "LC_TIME=de_DE.UTF-8",
        "TZ=Europe/Warsaw",
        "KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml --v=2",
        "LIBVIRTD_ARGS=--timeout 120",
        "JAVA_OPTS=-Xms512m -Xmx2g -Dlog.level=info",
        "JAVA_OPTS=-server -ea -XX:+UseG1GC -XX:-OmitStackTraceInFastThrow -XX:MaxGCPauseMillis=200",
        "INSTANCE=%i",
        "OPTIONS=-l 127.0.0.1 -p 11211 -U 0",
    ] {
        assert!(
            keeps(assignment),
            "{assignment}: {}",
            unit(&format!("Environment=\"{assignment}\""))
        );
    }
}

#[test]
fn a_value_of_which_nothing_is_known_stays_on_the_host() {
    for assignment in [
        "GREETING=hunter2",
        "FOO=correct horse battery staple",
        "FOO=S3cr3t!",
        "FOO=b7c2a1d4e5f60718",
        "FOO=123e4567-e89b-12d3-a456-426614174000",
        "FOO=12345678901234567890",
        "DB_PASSWORD=1",
        "DB_HOST=QxT7bV2kPq9LmX4w",
        "SETTING=https://user:pw@example.org/",
        "SETTING=https://example.org/hook?key=1",
        "SETTING=https://hooks.example.org/services/T00000000/B00000000/x7Yw2",
        "SETTING=https://example.org/b7c2a1d4e5f60718",
        "SETTING=/srv/b7c2a1d4e5f60718/x",
        "OPTIONS=--token abc",
        "OPTIONS=--password=1",
        "OPTIONS=--greeting hunter2",
        "OPTIONS=-pHunter2 --port 1",
        "JAVA_OPTS=-Dstore=hunter2",
        "JAVA_OPTS=-XX:OnError=hunter2",
        "JAVA_OPTS=-XX:+hunter2",
        "JAVA_OPTS=-XX:+Hunter_2",
        "JAVA_OPTS=-serverhunter2",
        "x=q",
        "PATH=/usr/bin GREETING=hunter2",
        "API_USER=admin:hunter2",
        "OPTS=--user admin:hunter2",
        "DB_USER=scott/tiger@orcl",
        "DB_USER=scott/tiger",
        "REDIS_HOST=:hunter2@redis:6379",
        "A=x\u{a0}hunter2",
    ] {
        assert!(!keeps(assignment), "{assignment}");
    }
}

#[test]
fn quotes_continuations_and_other_words_keep_their_bytes() {
    for (before, after) in [
        ("Environment=A=x B=1\n", "Environment=A=<redacted> B=1\n"),
        (
            "Environment=\"A=x y\" 'B=z'\t C=1",
            "Environment=\"A=<redacted>\" 'B=<redacted>'\t C=1",
        ),
        ("Environment=A=\"x y\" B=1", "Environment=A=<redacted> B=1"),
        ("Environment=A=\"8080\"", "Environment=A=\"8080\""),
        (
            "Environment=A=x \\\n  B=w \\\n# C=z\n  D=1\n",
            "Environment=A=<redacted> \\\n  B=<redacted> \\\n# C=z\n  D=1\n",
        ),
        (
            "Environment=\"A=x \\\n y\" B=1\n",
            "Environment=\"A=<redacted>\" B=1\n",
        ),
        (
            "Environment=\"A=x\nUser=foo\n",
            "Environment=A=<redacted>\nUser=foo\n",
        ),
        ("Environment=\"A=x\"y B=1\n", "Environment=A=<redacted> B=1\n"),
        ("Environment=\"A\"=\"x\"\n", "Environment=<redacted>=<redacted>\n"),
        (
            "Environment=A = x\n",
            "Environment=<redacted> <redacted>= <redacted>\n",
        ),
        (
            "#ExecStart=/bin/a \\\n# --b\nEnvironment=A=x\n",
            "#ExecStart=/bin/a \\\n# --b\nEnvironment=A=<redacted>\n",
        ),
        (
            "ExecStart=/bin/a \\\\\nEnvironment=A=x\n",
            "ExecStart=/bin/a \\\\\nEnvironment=A=<redacted>\n",
        ),
        ("Nice=1\rEnvironment=A=x\r", "Nice=1\rEnvironment=A=<redacted>\r"),
        ("Environment \\\n =A=x\n", "Environment \\\n =A=<redacted>\n"),
        ("\\\nEnvironment=A=x\n", "\\\nEnvironment=A=<redacted>\n"),
        ("Environment=A=x\\ y B=1", "Environment=A=<redacted> B=1"),
        ("Environment=\r\n", "Environment=\r\n"),
        ("UnsetEnvironment=A B=x", "UnsetEnvironment=A B=<redacted>"),
        (
            "Environment={\"password\": \"x\"}",
            "Environment=<redacted> <redacted>",
        ),
        ("Environment=A-B=1", "Environment=<redacted>=1"),
        (
            "Environment=A=x \\\n  # B=1\n C=1",
            "Environment=A=<redacted> \\\n  # B=1\n C=1",
        ),
        (
            "Environment=A=1 \\\n; password=x\n B=2",
            "Environment=A=1 \\\n; password=<redacted>\n B=2",
        ),
        ("PassEnvironment=A B", "PassEnvironment=A B"),
    ] {
        assert_eq!(unit(before), after, "{before}");
        assert_eq!(unit(after), after, "again");
    }
}

#[test]
fn what_the_administrator_allows_is_kept_unless_it_has_the_shape_of_a_secret() {
    let allowed = Allowed::new(&["GREETING".into(), "APP_*".into()]);
    let redactor = Redactor::default().allowing(allowed);
    let line = "Environment=GREETING=hunter2 APP_NAME=Zażółć GREETINGS=x";
    assert_eq!(
        redactor.unit(line).text,
        "Environment=GREETING=hunter2 APP_NAME=Zażółć GREETINGS=<redacted>"
    );
    assert_eq!(
        redactor.unit("Environment=APP_PASSWORD=hunter2").text,
        "Environment=APP_PASSWORD=<redacted>"
    );
    let token = "Environment=GREETING=ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    assert_eq!(redactor.unit(token).text, "Environment=GREETING=<redacted>");
}

#[test]
fn a_value_that_changes_is_seen_to() {
    let redactor = Redactor::keyed("0123456789abcdef0123456789abcdef".parse().unwrap());
    let of = |value: &str| redactor.unit(&format!("Environment=GREETING={value}")).text;
    assert_ne!(of("one"), of("two"));
    assert_eq!(of("one"), of("\"one\""));
}
