//! Secrets of the host stay on the host: five thousand, in every format of the corpus, planted in all that the agent
//! publishes, and looked for in all that comes after, to the last byte of the disks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::section::decompress;
use safetytwin_e2e::command::output;
use safetytwin_e2e::lab::host::quote;
use safetytwin_e2e::product::{agent, twin};
use safetytwin_e2e::wait;
use serde_json::Value;

use crate::Sentence;
use crate::agreeing::approve_removal;
use crate::dump::Dump;
use crate::following::start_on_host;
use crate::planter::Planter;
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "no_secret_of_the_host_is_found_beyond_it",
    no_secret_of_the_host_is_found_beyond_it,
)];

const SEED: u64 = 0x5afe_0002;
/// Services that do not run, each with the whole corpus.
const UNITS: usize = 24;
/// Drop-ins of the one that runs, each with the whole corpus.
const DROP_INS: usize = 9;
/// Containers, each with the whole corpus in its labels; few enough that they may leave a section without a question.
const CONTAINERS: usize = 3;
/// What may hold something of a host.
const KINDS: &str = "hoststates,hostsections,twinclasses,digitaltwins,twinsnapshots,twinrestores,twinrevisions,events,\
                     configmaps";
/// Where the controller answers, and on the host the agent.
const CONTROLLER_METRICS: u16 = 8080;
const AGENT_METRICS: u16 = 9101;
const UNIT_FILES: &str = "/etc/systemd/system";
/// What is no secret, and is in the twin.
const TOLD: &str = "told to the twin 5afe0002";
/// Files of what is searched for.
const SECRETS: &str = "secrets";
const MARK: &str = "mark";
/// A frame of zstd in base64 begins so: its magic number.
const FRAME: &[u8] = b"KLUv/";

fn no_secret_of_the_host_is_found_beyond_it(world: &World) -> Result<()> {
    let host = world.lab.host();
    let mut planter = Planter::new(SEED);
    let planted = plant_on_host(world, &mut planter);
    let outcome = planted.and_then(|()| none_is_found(world, &planter));
    host.run(&format!(
        "docker rm -f $(docker ps -aq --filter name=holder-); pkill -f '[s]leep 876000'; \
         systemctl disable --now --quiet holder.service; systemctl stop 'holder@*'; \
         rm -rf {UNIT_FILES}/holder* {UNIT_FILES}/planted-*; systemctl daemon-reload"
    ))?;
    outcome?;
    approve_removal(world, "holder.service")?;
    twin::wait_settled(&world.lab).map(|_| ())
}

fn none_is_found(world: &World, planter: &Planter) -> Result<()> {
    ensure!(planter.planted.len() >= 5_000, "{}", planter.planted.len());
    twin::wait_unit(&world.lab, "holder.service", "active")?;
    // Published: each kind of item is there, with its placeholders, and what the services use.
    let (unit, container) = (planted_unit(UNITS - 1), format!("\"holder-{}\"", CONTAINERS - 1));
    wait::until_true("all items in the sections", Duration::from_secs(240), || {
        let text = objects(world)?;
        let usage = "\"name\":\"holder.service\",\"tasksCurrent\"";
        let there = [usage, &container, &unit, "sleep 876000"];
        Ok(there.iter().all(|item| text.contains(item)) && text.contains("<redacted:"))
    })?;
    twin::wait_settled(&world.lab)?;
    let found = Found::new(world, planter)?;
    in_texts(world, &found, &unit)?;
    on_disks(world, &found)?;
    println!(
        "{} secrets in {} formats, {} forms: 0 found",
        planter.planted.len(),
        planter.formats.len(),
        found.forms
    );
    Ok(())
}

fn in_texts(world: &World, found: &Found, unit: &str) -> Result<()> {
    let host = world.lab.host();
    found.none_in("the objects", &objects(world)?)?;
    found.none_in("the controller's log", &controller_log(world)?)?;
    let journal = format!("journalctl --no-pager --output=cat --unit {}", agent::UNIT);
    found.none_in("the agent's log", &host.run(&journal)?)?;
    found.none_in("the agent's list", &Dump::text(world, "--level full")?)?;
    let controllers = output(
        world
            .lab
            .command("bash")
            .args(["-c", &metrics(CONTROLLER_METRICS)]),
    )?;
    let agents = host.run(&format!("bash -c {}", quote(&metrics(AGENT_METRICS))))?;
    for (whose, metrics) in [
        ("the controller's metrics", controllers),
        ("the agent's metrics", agents),
    ] {
        ensure!(metrics.contains("# TYPE "), "{whose}: {metrics}");
        found.none_in(whose, &metrics)?;
    }
    let database = unpacked(&world.lab.path("etcd"))?;
    ensure!(
        database.contains(unit),
        "what was published is not in the database"
    );
    found.none_in("the database", &database)
}

/// A line of bash that asks for metrics.
fn metrics(port: u16) -> String {
    format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3")
}

fn on_disks(world: &World, found: &Found) -> Result<()> {
    twin::guest(&world.lab, twin::NAME)?.run(&["/usr/bin/sync"])?;
    world.lab.host().run("sync")?;
    let twins = world.lab.path("libvirt/lib/images/twins");
    for place in [&world.lab.path("etcd"), &twins] {
        found.none_below(place)?;
    }
    // The search sees what is written in the twin, and finds secrets where they are.
    ensure!(
        !found.search(MARK, &twins)?.is_empty(),
        "the twin's disk is not searched"
    );
    let theirs = found.search(SECRETS, &world.lab.path("libvirt/lib/node/disk.qcow2"))?;
    let count = theirs.lines().count();
    ensure!(count > 1_000, "the host's own disk: {count} found");
    Ok(())
}

fn planted_unit(number: usize) -> String {
    format!("planted-{number}.service")
}

/// Plants in everything that the agent reads.
fn plant_on_host(world: &World, planter: &mut Planter) -> Result<()> {
    let host = world.lab.host();
    host.run("systemctl start docker && docker load -q -i /usr/share/lab/busybox.tar")?;
    for number in 0..CONTAINERS {
        let words = planter.container();
        host.run(&format!(
            "docker rm -f holder-{number} 2> /dev/null; docker create --name holder-{number}{words}"
        ))?;
    }
    for format in [
        "mysql|-uroot|-p{sym}|--api-key|{hex}|db",
        "curl|-H|Authorization: Bearer {jwt}|-u|me:{sym}|https://oauth2:{pw}@h/x?access_token={pw}",
        "app|Server=db;Password={pw};Port=1|--secret-key={b64}|{tok}|PASSWORD={pw}",
    ] {
        host.run(&planter.process(format))?;
    }
    for number in 0..UNITS {
        host.write(&format!("{UNIT_FILES}/{}", planted_unit(number)), planter.unit())?;
    }
    for number in 0..DROP_INS {
        let path = format!("{UNIT_FILES}/holder.service.d/1{number}-secrets.conf");
        host.write(&path, planter.drop_in())?;
    }
    host.write(
        &format!("{UNIT_FILES}/holder@.service"),
        "[Service]\nExecStart=/bin/sleep infinity\n",
    )?;
    let instance = format!("holder@{}.service", planter.token());
    host.run(&format!(
        "systemctl daemon-reload && systemctl start {}",
        quote(&instance)
    ))?;
    let command = planter.plant("x --password {pw} --token={pw} {tok}");
    let unit = format!(
        "[Unit]\nDescription={TOLD}\n[Service]\nExecStart=/bin/sh -c 'exec sleep infinity' {command}\n[Install]\nWantedBy=multi-user.target\n"
    );
    start_on_host(world, "holder.service", &unit)
}

/// Looks for what was planted.
struct Found {
    dir: tempfile::TempDir,
    forms: usize,
}

impl Found {
    fn new(world: &World, planter: &Planter) -> Result<Self> {
        // Beside the lab's folders that are searched.
        let dir = tempfile::tempdir_in(world.lab.path(""))?;
        let patterns = planter.patterns();
        std::fs::write(dir.path().join(SECRETS), &patterns)?;
        std::fs::write(dir.path().join(MARK), TOLD)?;
        Ok(Self {
            dir,
            forms: patterns.lines().count(),
        })
    }

    fn none_in(&self, place: &str, text: &str) -> Result<()> {
        ensure!(!text.is_empty(), "{place} cannot be read");
        let file = self.dir.path().join("text");
        std::fs::write(&file, text)?;
        self.none_below(&file).with_context(|| place.to_owned())
    }

    fn none_below(&self, path: &Path) -> Result<()> {
        let found = self.search(SECRETS, path)?;
        let first: Vec<&str> = found.lines().take(10).collect();
        ensure!(
            first.is_empty(),
            "{} found, such as {first:?}",
            found.lines().count()
        );
        Ok(())
    }

    /// What is found in a file, or in all files of a folder, a line each.
    fn search(&self, what: &str, path: &Path) -> Result<String> {
        let mut grep = std::process::Command::new("grep");
        grep.env("LC_ALL", "C")
            .args(["--recursive", "--text", "--only-matching", "--fixed-strings"]);
        let patterns = self.dir.path().join(what);
        let output = grep.arg("--file").arg(patterns).arg("--").arg(path).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code().is_some_and(|code| code < 2),
            "{}: {errors}",
            path.display()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// All that is compressed in etcd's files, of every revision that they still hold.
fn unpacked(etcd: &Path) -> Result<String> {
    let mut texts = Vec::new();
    for folder in ["member/snap", "member/wal"] {
        for entry in std::fs::read_dir(etcd.join(folder))? {
            let bytes = std::fs::read(entry?.path())?;
            texts.extend(frames(&bytes));
        }
    }
    ensure!(texts.len() > 10, "{} frames in the database", texts.len());
    Ok(String::from_utf8_lossy(&texts.concat()).into_owned())
}

fn frames(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    memchr::memmem::find_iter(bytes, FRAME).filter_map(move |start| {
        let rest = bytes.get(start..)?;
        let len = rest.iter().take_while(|byte| is_base64(byte)).count();
        decompress(std::str::from_utf8(rest.get(..len)?).ok()?).ok()
    })
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
