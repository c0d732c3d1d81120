//! Secrets planted in every source that the agent publishes, in every format; none may be found in
//! what it would publish. And the other way round: ordinary units and command lines stay as they are.

mod changes;
mod corpus;
mod ordinary;
mod sinks;

use serde_json::{Value, json};

use self::corpus::formats::{COMMANDS, TEXTS};
use self::corpus::secrets::{self, Secrets};
use self::corpus::{Planted, commented, plant, quoted};
use self::sinks::published;
use crate::collect::processes::tests::planted as processes;
use crate::collect::units::tests::planted as units;

const ROUNDS: u64 = 5;
const SEED: u64 = 0x5afe_0001;

/// What one planting is published as.
#[derive(Default)]
struct Sources {
    units: Vec<units::Fake>,
    containers: Vec<Value>,
    processes: Vec<processes::Fake>,
    /// Gaps of a look, and errors of one that failed.
    messages: Vec<String>,
}

impl Sources {
    fn add(&mut self, other: Self) {
        self.units.extend(other.units);
        self.containers.extend(other.containers);
        self.processes.extend(other.processes);
        self.messages.extend(other.messages);
    }
}

/// A unit file of a service, and no drop-in.
fn service(body: String) -> units::Fake {
    units::Fake {
        main: "[Service]\n".to_owned() + &body,
        ..units::Fake::default()
    }
}

/// A command line in everything that has command lines; `place` picks which.
fn command(planted: &Planted, place: usize) -> Sources {
    let argv: Vec<&str> = planted.text.split('|').collect();
    let words: Vec<String> = argv.iter().map(|a| quoted(a)).collect();
    let mut check = vec!["CMD"];
    check.extend(argv.iter().map(|word| &**word));
    let mut sources = Sources::default();
    match place {
        0 => sources
            .units
            .push(service(format!("ExecStart={}\n", words.join(" ")))),
        1 => sources
            .units
            .push(service(format!("ExecStart={}\n", words.join(" \\\n  ")))),
        2 => sources
            .units
            .push(service(format!("# was: {}\nUser=web\n", argv.join(" ")))),
        3 => {
            let drop_in = format!("[Service]\nExecStartPre=-{}\n", words.join(" \\\n# why\n  "));
            sources.units.push(units::Fake {
                drop_in,
                ..service("ExecStart=/bin/a\n".into())
            });
        }
        4 => sources
            .containers
            .push(json!({"Config": {"Cmd": argv, "Healthcheck": {"Test": ["CMD-SHELL", argv.join(" ")]}}})),
        5 => sources.containers.push(
            json!({"Config": {"Entrypoint": argv, "Labels": {"command": argv.join(" ")},
            "Healthcheck": {"Test": check}}, "Path": argv[0], "Args": argv}),
        ),
        6 => sources.processes.push(processes::Fake::of(&argv)),
        _ => sources.messages.push(format!("failed to run {}", argv.join(" "))),
    }
    sources
}
const COMMAND_PLACES: usize = 8;

/// A text in everything that has settings, comments or paths; `place` picks which.
fn setting(planted: &Planted, place: usize) -> Sources {
    let text = planted.text.replace("\\n", "\n");
    let assignment = match text.split_once('=') {
        Some((name, _))
            if name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b"_346".contains(&b)) =>
        {
            text.clone()
        }
        _ => format!("SETTING={text}"),
    };
    let mut sources = Sources::default();
    match place {
        0 => sources
            .units
            .push(service(format!("Environment=A=b {}\n", quoted(&assignment)))),
        1 => sources
            .units
            .push(service(format!("{}ExecStart=/bin/a\n", commented(&text)))),
        2 => sources.units.push(units::Fake {
            drop_in: format!("{}[Service]\nNice=1\n", commented(&text)),
            ..service(String::new())
        }),
        3 => {
            let body = format!("SetCredential=key:{}\n", text.replace('\n', "\\n"));
            sources.units.push(service(body));
        }
        4 => sources
            .containers
            .push(json!({"Config": {"Labels": {"setting": text}, "Env": [assignment]}})),
        5 => sources.containers.push(
            json!({"HostConfig": {"LogConfig": {"Type": "gelf", "Config": {"env": text}}},
            "Config": {"Cmd": ["/bin/a", "--setting", text], "Env": [assignment]}}),
        ),
        6 => sources
            .processes
            .push(processes::Fake::of(&["/bin/a", "-c", &text])),
        7 => {
            let body = format!(
                "MemoryMax={assignment}\nUser={}\nType={}\n",
                text,
                quoted(&assignment)
            );
            sources
                .units
                .push(service(body.replace(&text, &text.replace('\n', " "))));
        }
        _ => sources.messages.push(text),
    }
    sources
}
const TEXT_PLACES: usize = 9;

/// A token where only paths are.
fn path(planted: &Planted) -> Sources {
    let dir = format!("/srv/{}", planted.text);
    let mut fake = processes::Fake::of(&["/bin/a"]);
    fake.executable = format!("{dir}/bin/a");
    fake.directory = dir.clone();
    let named = processes::Fake::of(&[&format!("{dir}/a")]);
    let model = processes::Fake::of(&["llama-server", "-m", &format!("{dir}/m.gguf"), "--port", "8080"]);
    Sources {
        units: vec![service(format!("WorkingDirectory={dir}\nExecStart={dir}/a\n"))],
        containers: vec![
            json!({"Config": {"Image": format!("web:{}@r.example/web:1", planted.text), "WorkingDir": dir,
            "Labels": {planted.text.clone(): "x"}}, "HostConfig": {"Tmpfs": {dir.clone(): ""}, "SecurityOpt": [format!("apparmor={}", planted.text)],
            "LogConfig": {"Type": "json-file", "Config": {"tag": planted.text}}, "Sysctls": {"net.x": planted.text}}, "Mounts": [{"Type": "bind", "Source": dir, "Destination": "/x", "RW": true}]}),
        ],
        processes: vec![fake, named, model],
        messages: vec![format!("failed to open {dir}/a: no such file")],
    }
}

/// A token where only names are.
fn name(planted: &Planted) -> Sources {
    let token = &planted.text;
    let other = format!("[Unit]\nAfter=backup@{token}.service {token}.socket\n");
    let mut sources = Sources {
        units: vec![
            units::Fake {
                name: format!("backup@{token}.service"),
                drop_in: other,
                ..service("ExecStart=/bin/a\n".into())
            },
            units::Fake {
                name: format!("{token}.service"),
                ..service("ExecStart=/bin/a\n".into())
            },
        ],
        messages: vec![
            format!("unit {token}.service is refused"),
            format!("docker: {token}: gone"),
        ],
        ..Sources::default()
    };
    if !token.contains(':') {
        let networks = json!({token.clone(): {"Aliases": [token]}});
        sources.containers = vec![
            json!({"Name": format!("/{token}"), "Config": {}, "NetworkSettings": {"Networks": networks},
            "HostConfig": {"NetworkMode": format!("container:{token}")},
            "Mounts": [{"Type": "volume", "Name": token, "Destination": "/x", "RW": true}]}),
            json!({"Config": {}, "HostConfig": {"NetworkMode": token}}),
        ];
    }
    sources
}

/// What is found of the planted secrets, for people.
fn leaks(planted: &Planted, place: &str, bytes: &str, leaks: &mut Vec<String>) {
    for secret in &planted.secrets {
        if let Some(trace) = secrets::traces(secret)
            .iter()
            .find(|trace| bytes.contains(trace.as_str()))
        {
            let at = bytes.find(trace.as_str()).unwrap_or(0);
            let near: String = bytes.chars().skip(at.saturating_sub(60)).take(200).collect();
            leaks.push(format!("{} in {place}: {trace} in …{near}…", planted.format));
        }
    }
}

#[test]
fn no_secret_of_five_thousand_is_found_in_what_is_published() {
    let mut secrets = Secrets::new(SEED);
    let (mut count, mut found) = (0, Vec::new());
    let mut look = |all: Vec<(String, Planted, Sources)>| {
        let (mut sources, mut planted) = (Sources::default(), Vec::new());
        for (place, secret, at) in all {
            count += secret.secrets.len();
            sources.add(at);
            planted.push((place, secret));
        }
        let bytes = published(sources);
        for (place, secret) in planted {
            leaks(&secret, &place, &bytes, &mut found);
        }
    };
    for _ in 0..ROUNDS {
        for format in COMMANDS {
            let one = |place| {
                let planted = plant(&mut secrets, format);
                let sources = command(&planted, place);
                (format!("command place {place}"), planted, sources)
            };
            look((0..COMMAND_PLACES).map(one).collect());
        }
        for format in TEXTS {
            let one = |place| {
                let planted = plant(&mut secrets, format);
                let sources = setting(&planted, place);
                (format!("text place {place}"), planted, sources)
            };
            look((0..TEXT_PLACES).map(one).collect());
        }
        for _ in 0..30 {
            let planted = plant(&mut secrets, "{tok}");
            // A slash in it would end a directory's name.
            if !planted.text.contains(['/', '+', ':']) {
                let mut sources = path(&planted);
                sources.add(name(&planted));
                look(vec![("path or name".into(), planted, sources)]);
            }
        }
    }
    println!(
        "{count} secrets in {} formats, {} found",
        COMMANDS.len() + TEXTS.len() + 2,
        found.len()
    );
    assert!(count >= 5_000, "{count}");
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_search_finds_a_secret_in_each_of_its_forms() {
    let secret = Secrets::new(1).make("sym");
    for form in [
        secret.clone(),
        secrets::hex(&secret),
        secrets::percent(&secret),
        secrets::base64(&secret),
    ] {
        let planted = Planted {
            format: "",
            text: String::new(),
            secrets: vec![secret.clone()],
        };
        let mut found = Vec::new();
        leaks(&planted, "here", &format!("x {form} y"), &mut found);
        assert_eq!(found.len(), 1, "{form}");
    }
}
