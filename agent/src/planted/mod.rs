//! Secrets planted in every source that the agent publishes, in every format; none may be found in
//! what it would publish. And the other way round: ordinary units and command lines stay as they are.

mod formats;
mod ordinary;
mod secrets;

use safetytwin_crds::section::{Encoding, SectionName, SectionState};
use serde_json::{Value, json};

use self::formats::{COMMANDS, TEXTS};
use self::secrets::Secrets;
use crate::assemble::Assembler;
use crate::collect::board::Board;
use crate::collect::containers::tests::inspected::of_docker;
use crate::collect::processes::tests::planted as processes;
use crate::collect::units::tests::planted as units;
use crate::collect::{Collected, Content};

const ROUNDS: u64 = 7;
const SEED: u64 = 0x5afe_0001;

/// A format with secrets in it.
struct Planted {
    format: &'static str,
    text: String,
    secrets: Vec<String>,
}

fn plant(secrets: &mut Secrets, format: &'static str) -> Planted {
    let mut planted = Planted {
        format,
        text: String::new(),
        secrets: Vec::new(),
    };
    let mut rest = format;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        planted.text.push_str(before);
        let close = from.find('}').unwrap_or(0);
        let (kind, form) = from[1..close.max(1)]
            .split_once(':')
            .unwrap_or((&from[1..close.max(1)], ""));
        if ["pw", "sym", "hex", "b64", "pem", "uuid", "jwt", "tok"].contains(&kind) {
            let secret = secrets.make(kind);
            planted.text.push_str(&match form {
                "base64" => secrets::base64(&secret),
                "hex" => secrets::hex(&secret),
                "percent" => secrets::percent(&secret),
                "url" => secrets::url(&secret),
                _ => secret.clone(),
            });
            planted.secrets.push(secret);
            rest = &from[close + 1..];
        } else {
            planted.text.push('{');
            rest = &from[1..];
        }
    }
    planted.text.push_str(rest);
    planted
}

/// What one planting is published as.
#[derive(Default)]
struct Sources {
    units: Vec<(String, String)>,
    containers: Vec<Value>,
    processes: Vec<processes::Fake>,
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// A unit file of a service, and no drop-in.
fn service(body: String) -> (String, String) {
    ("[Service]\n".to_owned() + &body, String::new())
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
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
            sources
                .units
                .push(("[Service]\nExecStart=/bin/a\n".into(), drop_in));
        }
        4 => sources
            .containers
            .push(json!({"Config": {"Cmd": argv, "Healthcheck": {"Test": ["CMD-SHELL", argv.join(" ")]}}})),
        5 => sources.containers.push(
            json!({"Config": {"Entrypoint": argv, "Labels": {"command": argv.join(" ")},
            "Healthcheck": {"Test": check}}, "Path": argv[0], "Args": argv}),
        ),
        _ => sources.processes.push(processes::Fake::of(&argv)),
    }
    sources
}
const COMMAND_PLACES: usize = 7;

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
        2 => sources.units.push((
            "[Service]\n".into(),
            format!("{}[Service]\nNice=1\n", commented(&text)),
        )),
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
        _ => sources
            .processes
            .push(processes::Fake::of(&["/bin/a", "-c", &text])),
    }
    sources
}
const TEXT_PLACES: usize = 7;

/// A token where only paths and names are.
fn path(planted: &Planted) -> Sources {
    let dir = format!("/srv/{}", planted.text);
    let mut fake = processes::Fake::of(&["/bin/a"]);
    fake.executable = format!("{dir}/bin/a");
    fake.directory = dir.clone();
    let named = processes::Fake::of(&[&format!("{dir}/a")]);
    Sources {
        units: vec![(
            format!("[Service]\nWorkingDirectory={dir}\nExecStart={dir}/a\n"),
            String::new(),
        )],
        containers: vec![
            json!({"Config": {"Image": format!("web:{}@r.example/web:1", planted.text), "WorkingDir": dir,
            "Labels": {planted.text.clone(): "x"}}, "HostConfig": {"Tmpfs": {dir.clone(): ""}, "SecurityOpt": [format!("apparmor={}", planted.text)],
            "LogConfig": {"Type": "json-file", "Config": {"tag": planted.text}}, "Sysctls": {"net.x": planted.text}}, "Mounts": [{"Type": "bind", "Source": dir, "Destination": "/x", "RW": true}]}),
        ],
        processes: vec![fake, named],
    }
}

/// The published bytes, whole.
fn published(sources: Sources) -> String {
    let board = Board::default();
    let containers: Vec<_> = sources
        .containers
        .iter()
        .enumerate()
        .map(|(number, details)| {
            let mut details = details.clone();
            details["Name"] = json!(format!("/c{number}"));
            of_docker(&details.to_string(), "{}")
        })
        .collect();
    let units = Content::Units {
        items: units::items(&sources.units),
        services: 0,
        failed: 0,
    };
    let whole = |content| Ok(Collected::whole(content));
    board.post("units", Some(SectionName::Units), whole(units));
    board.post(
        "containers",
        Some(SectionName::Containers),
        whole(Content::Containers(containers)),
    );
    board.post(
        "processes",
        Some(SectionName::Processes),
        Ok(processes::collected(&sources.processes)),
    );
    let state = Assembler::default().assemble(&board.reports(), "t");
    let mut bytes = serde_json::to_string(&state.counts).unwrap();
    for (section, items) in [
        (0, sources.units.len()),
        (1, sources.containers.len()),
        (2, sources.processes.len()),
    ] {
        let section = &state.sections[section];
        assert_eq!(
            (section.state, section.items as usize >= items),
            (SectionState::Complete, true)
        );
    }
    for section in &state.sections {
        for part in &section.parts {
            bytes.push_str(&part.data(Encoding::Json).unwrap());
        }
        bytes.push_str(section.message.as_deref().unwrap_or_default());
    }
    bytes
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
    for _ in 0..ROUNDS {
        for format in COMMANDS {
            for place in 0..COMMAND_PLACES {
                let planted = plant(&mut secrets, format);
                count += planted.secrets.len();
                let bytes = published(command(&planted, place));
                leaks(&planted, &format!("command place {place}"), &bytes, &mut found);
            }
        }
        for format in TEXTS {
            for place in 0..TEXT_PLACES {
                let planted = plant(&mut secrets, format);
                count += planted.secrets.len();
                let bytes = published(setting(&planted, place));
                leaks(&planted, &format!("text place {place}"), &bytes, &mut found);
            }
        }
        for _ in 0..30 {
            let planted = plant(&mut secrets, "{tok}");
            // A slash in it would end a directory's name.
            if planted.text.contains(['/', '+', ':']) {
                continue;
            }
            count += 1;
            leaks(&planted, "path", &published(path(&planted)), &mut found);
        }
    }
    println!(
        "{count} secrets in {} formats, {} found",
        COMMANDS.len() + TEXTS.len() + 1,
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
