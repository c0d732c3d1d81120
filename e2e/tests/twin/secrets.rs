//! Secrets of the host stay on the host: planted in all that the agent publishes, looked for in all that comes after.

use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use safetytwin_crds::section::decompress;
use safetytwin_e2e::lab::host::quote;
use safetytwin_e2e::product::{agent, twin};
use safetytwin_e2e::wait;
use serde_json::Value;

use crate::Sentence;
use crate::following::start_on_host;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "no_secret_of_the_host_is_found_beyond_it",
    no_secret_of_the_host_is_found_beyond_it,
)];

/// Secrets of one kind in one place.
const EACH: u64 = 12;
/// What may hold something of a host.
const KINDS: &str = "hoststates,hostsections,twinclasses,digitaltwins,twinsnapshots,twinrestores,twinrevisions,events,\
                     configmaps";

/// A password that only its name gives away.
fn password(number: u64) -> String {
    let digest = blake3::hash(format!("password {number}").as_bytes()).to_hex();
    format!("pw{}Zq", digest.chars().take(16).collect::<String>())
}

/// A token that is known by its shape.
fn token(number: u64) -> String {
    let digest = blake3::hash(format!("token {number}").as_bytes()).to_hex();
    format!("ghp_A1b{}Zq9", digest.chars().take(30).collect::<String>())
}

struct Planted {
    /// All of them.
    secrets: Vec<String>,
    /// Number of the last.
    next: u64,
}

impl Planted {
    fn password(&mut self) -> String {
        self.next += 1;
        self.secrets.push(password(self.next));
        password(self.next)
    }

    fn token(&mut self) -> String {
        self.next += 1;
        self.secrets.push(token(self.next));
        token(self.next)
    }

    /// A unit file with passwords in its environment, its comments and its command line.
    fn unit(&mut self) -> String {
        let mut text = String::from("[Service]\n");
        for number in 0..EACH / 3 {
            text += &format!(
                "# password={}\nEnvironment=DB{number}_PASSWORD={}\n",
                self.password(),
                self.password()
            );
        }
        let (flag, assigned, note) = (self.password(), self.password(), self.token());
        text += &format!("SetCredential=key:{}\n", self.password());
        text + &format!(
            "ExecStart=/bin/sh -c 'exec sleep infinity' x --password {flag} --token={assigned} {note}\n\
                 [Install]\nWantedBy=multi-user.target\n"
        )
    }

    fn drop_in(&mut self) -> String {
        let lines = (0..EACH).map(|n| format!("Environment=API{n}_TOKEN={}\n", self.password()));
        format!("[Service]\n{}", lines.collect::<String>())
    }

    /// Words of `docker run` behind the options.
    fn container(&mut self) -> String {
        let mut options = String::new();
        for number in 0..EACH / 2 {
            options += &format!(
                " --label app{number}.password={} -e DB{number}_PASSWORD={}",
                self.password(),
                self.password()
            );
        }
        let check = format!("wget -q -O- http://web:{}@127.0.0.1/", self.password());
        format!(
            "{options} --label {}=x --health-cmd {} localhost/busybox:1 sh -c 'sleep 100000; :' x --password {}",
            quote(&format!("note-{}", self.token())),
            quote(&check),
            self.password()
        )
    }

    /// Arguments of a process.
    fn process(&mut self) -> String {
        let flags = (0..EACH).map(|n| format!(" --secret{n}-key {}", self.password()));
        let flags = flags.collect::<String>();
        format!(
            "{flags} {} postgres://web:{}@db/app",
            self.token(),
            self.password()
        )
    }

    /// Each secret as it is, and in base64, hex and percent encoding.
    fn traces(&self) -> Vec<String> {
        let hex = |secret: &str| secret.bytes().map(|b| format!("{b:02x}")).collect::<String>();
        let percent = |secret: &str| secret.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let base64 = |secret: &str| STANDARD.encode(secret).trim_end_matches('=').to_owned();
        let forms = |s: &String| [s.clone(), base64(s), hex(s), percent(s)];
        self.secrets.iter().flat_map(forms).collect()
    }
}

fn no_secret_of_the_host_is_found_beyond_it(world: &World) -> Result<()> {
    let host = world.lab.host();
    let mut planted = Planted {
        secrets: Vec::new(),
        next: 0,
    };
    host.write(
        "/etc/systemd/system/holder.service.d/10-secrets.conf",
        planted.drop_in(),
    )?;
    let instance = format!("holder@{}.service", planted.token());
    host.write(
        "/etc/systemd/system/holder@.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    )?;
    host.run("systemctl start docker && docker load -q -i /usr/share/lab/busybox.tar")?;
    host.run(&format!(
        "docker rm -f holder 2> /dev/null; docker run -d --name holder{}",
        planted.container()
    ))?;
    let line = format!(
        "cd /srv && setsid --fork sh -c 'sleep 876000; :' x{} < /dev/null > /dev/null 2>&1",
        planted.process()
    );
    host.run(&line)?;
    host.run(&format!("systemctl daemon-reload && systemctl start {instance}"))?;
    start_on_host(world, "holder.service", &planted.unit())?;
    ensure!(planted.secrets.len() >= 50, "{}", planted.secrets.len());

    twin::wait_unit(&world.lab, "holder.service", "active")?;
    // Published: each kind of item is there, with its placeholders, and what the services use.
    wait::until_true("all items in the sections", Duration::from_secs(180), || {
        let text = objects(world)?;
        let usage = "\"name\":\"holder.service\",\"tasksCurrent\"";
        let there = [usage, "\"name\":\"holder\"", "sleep 876000"];
        Ok(there.iter().all(|item| text.contains(item)) && text.contains("<redacted:"))
    })?;
    twin::wait_settled(&world.lab)?;

    let traces = planted.traces();
    none_in("the objects", &objects(world)?, &traces)?;
    none_in("the controller's log", &controller_log(world)?, &traces)?;
    let journal = format!("journalctl --no-pager --output=cat --unit {}", agent::UNIT);
    none_in("the agent's log", &host.run(&journal)?, &traces)?;
    none_on_disk(world, &traces)?;
    println!(
        "{} secrets in {} forms: 0 found",
        planted.secrets.len(),
        traces.len()
    );

    host.run(&format!(
        "docker rm -f holder; pkill -f '[s]leep 876000'; systemctl stop holder.service {instance}; \
         rm -r /etc/systemd/system/holder*; systemctl daemon-reload"
    ))?;
    Ok(())
}

fn none_in(place: &str, text: &str, traces: &[String]) -> Result<()> {
    ensure!(!text.is_empty(), "{place} cannot be read");
    let found: Vec<&String> = traces
        .iter()
        .filter(|trace| text.contains(trace.as_str()))
        .collect();
    ensure!(found.is_empty(), "found in {place}: {found:?}");
    Ok(())
}

/// All objects as the API server has them, and what is compressed in them.
fn objects(world: &World) -> Result<String> {
    let mut text = world
        .lab
        .kubectl(["get", KINDS, "--all-namespaces", "--output=json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let mut unpacked = Vec::new();
    unpack(&list, &mut unpacked);
    ensure!(!unpacked.is_empty(), "no object has compressed content");
    text.extend(unpacked);
    Ok(text)
}

fn unpack(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() > 16 => {
            let unpacked = decompress(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            out.extend(unpacked.ok());
        }
        Value::Array(list) => list.iter().for_each(|value| unpack(value, out)),
        Value::Object(members) => members.values().for_each(|value| unpack(value, out)),
        _ => {}
    }
}

/// What the controller wrote, of all its starts.
fn controller_log(world: &World) -> Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(world.lab.path("logs"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.starts_with("controller") {
            text += &String::from_utf8_lossy(&std::fs::read(&path)?);
        }
    }
    Ok(text)
}

/// Looks through the twin's files; what images brought along is not the product's.
fn none_on_disk(world: &World, traces: &[String]) -> Result<()> {
    let guest = twin::guest(&world.lab, twin::NAME)?;
    // The guest agent logs what it runs: no pattern matches its own text.
    let patterns: Vec<String> = traces
        .iter()
        .filter_map(|trace| trace.split_at_checked(1))
        .map(|(first, rest)| format!("[{first}]{rest}"))
        .collect();
    for place in ["/etc", "/root", "/var"] {
        let mut words = vec![
            "/usr/bin/env",
            "LC_ALL=C",
            "grep",
            "-rl",
            "--exclude-dir=overlay2",
        ];
        for pattern in &patterns {
            words.extend(["-e", pattern]);
        }
        words.push(place);
        let output = guest.try_run(&words)?;
        ensure!(
            output.stdout.is_empty(),
            "found on the twin's disk: {}",
            output.stdout
        );
        ensure!(
            output.code.is_some_and(|code| code < 2),
            "{place}: {}",
            output.stderr
        );
    }
    Ok(())
}
