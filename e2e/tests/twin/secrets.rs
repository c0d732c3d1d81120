//! Secrets of the host stay on the host: five thousand, in every format of the corpus, planted in all that the agent
//! publishes, and looked for in all that comes after, to the last byte of the disks.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::section::decompress;
use safetytwin_e2e::lab::host::quote;
use safetytwin_e2e::product::{agent, twin};
use safetytwin_e2e::wait;
use serde_json::Value;

use self::corpus::formats::{COMMANDS, TEXTS};
use self::corpus::secrets::{Secrets, traces};
use self::corpus::{commented, plant, quoted};
use crate::Sentence;
use crate::agreeing::approve_removal;
use crate::dump::Dump;
use crate::following::start_on_host;
use crate::world::World;

/// The corpus of the agent's own test.
#[path = "../../../agent/src/planted/corpus/mod.rs"]
#[allow(dead_code, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]
mod corpus;

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
/// A frame of zstd in base64 begins so: its magic number.
const FRAME: &[u8] = b"KLUv/";

/// Plants, and remembers what.
struct Planter {
    source: Secrets,
    planted: BTreeSet<String>,
    formats: BTreeSet<&'static str>,
}

impl Planter {
    fn plant(&mut self, format: &'static str) -> String {
        let planted = plant(&mut self.source, format);
        self.planted.extend(planted.secrets);
        self.formats.insert(format);
        planted.text
    }

    fn texts(&mut self) -> Vec<String> {
        TEXTS
            .iter()
            .map(|format| self.plant(format).replace("\\n", "\n"))
            .collect()
    }

    fn commands(&mut self) -> Vec<Vec<String>> {
        let words = |line: String| line.split('|').map(str::to_owned).collect();
        COMMANDS.iter().map(|format| words(self.plant(format))).collect()
    }

    /// A service with all commands, and all texts as comments.
    fn unit(&mut self) -> String {
        let mut text = "[Service]\nType=oneshot\n".to_owned();
        for words in self.commands() {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            text += &format!("ExecStart=-{}\n", words.join(" "));
        }
        text + &commented(&self.texts().join("\n"))
    }

    /// A drop-in with all commands as comments, and all texts as settings.
    fn drop_in(&mut self) -> String {
        let commands = self
            .commands()
            .iter()
            .map(|words| words.join(" "))
            .collect::<Vec<_>>();
        let mut text = commented(&commands.join("\n")) + "[Service]\n";
        for (number, setting) in self.texts().iter().enumerate() {
            text += &match setting.split_once('=').filter(|(name, _)| is_variable(name)) {
                Some(_) => format!("Environment={}\n", quoted(setting)),
                None => format!("Environment={}\n", quoted(&format!("SETTING{number}={setting}"))),
            };
        }
        text + &format!("SetCredential=key:{}\n", self.plant("{pw}"))
    }

    /// Words of `docker create` behind the name.
    fn container(&mut self) -> String {
        let commands = self.commands().into_iter().map(|words| words.join(" "));
        let labels: Vec<String> = commands.chain(self.texts()).collect();
        let mut words = String::new();
        for (number, label) in labels.iter().enumerate() {
            words += &format!(" --label {}", quote(&format!("app.{number}={label}")));
        }
        words += &format!(" -e {}", quote(&self.plant("DB_PASSWORD={sym}")));
        words += &format!(
            " --label {}=x",
            quote(&format!("note-{}", token(&mut self.source, &mut self.planted)))
        );
        words += &format!(
            " --health-cmd {}",
            quote(&self.plant("wget -q -O- http://web:{sym:url}@h:8080/health"))
        );
        let program = self.plant("x|--password|{pw}|--token={jwt}|postgres://web:{sym:url}@db/app|{tok}");
        let program: Vec<String> = program.split('|').map(quote).collect();
        format!(
            "{words} localhost/busybox:1 sh -c 'sleep 100000; :' {}",
            program.join(" ")
        )
    }

    /// A process that runs under the name of the first word, with the others as its arguments.
    fn process(&mut self, format: &'static str) -> String {
        let words = self.plant(format);
        let (name, rest) = words.split_once('|').unwrap_or((&words, ""));
        let rest: Vec<String> = rest.split('|').map(quote).collect();
        let program = format!("exec -a {name} /bin/sh -c 'sleep 876000; :' {}", rest.join(" "));
        format!(
            "cd /srv && setsid --fork bash -c {} < /dev/null > /dev/null 2>&1",
            quote(&program)
        )
    }

    /// All that may not be found, a line each.
    fn patterns(&self) -> String {
        let all: BTreeSet<String> = self.planted.iter().flat_map(|secret| traces(secret)).collect();
        all.into_iter().map(|trace| trace + "\n").collect()
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// A token that may stand in a name.
fn token(source: &mut Secrets, planted: &mut BTreeSet<String>) -> String {
    let is_name = |token: &String| token.starts_with("gh") || token.starts_with("glsa_");
    let token = std::iter::repeat_with(|| source.make("tok"))
        .find(is_name)
        .unwrap_or_default();
    planted.insert(token.clone());
    token
}

fn no_secret_of_the_host_is_found_beyond_it(world: &World) -> Result<()> {
    let host = world.lab.host();
    let mut planter = Planter {
        source: Secrets::new(SEED),
        planted: BTreeSet::new(),
        formats: BTreeSet::new(),
    };
    let instance = plant_on_host(world, &mut planter)?;
    ensure!(planter.planted.len() >= 5_000, "{}", planter.planted.len());

    twin::wait_unit(&world.lab, "holder.service", "active")?;
    // Published: each kind of item is there, with its placeholders, and what the services use.
    wait::until_true("all items in the sections", Duration::from_secs(240), || {
        let text = objects(world)?;
        let usage = "\"name\":\"holder.service\",\"tasksCurrent\"";
        let last = format!("\"holder-{}\"", CONTAINERS - 1);
        let there = [usage, &last, "planted-23.service", "sleep 876000"];
        Ok(there.iter().all(|item| text.contains(item)) && text.contains("<redacted:"))
    })?;
    twin::wait_settled(&world.lab)?;

    let found = Found::new(world, &planter)?;
    found.none_in("the objects", &objects(world)?)?;
    found.none_in("the controller's log", &controller_log(world)?)?;
    let journal = format!("journalctl --no-pager --output=cat --unit {}", agent::UNIT);
    found.none_in("the agent's log", &host.run(&journal)?)?;
    found.none_in("the agent's list", &Dump::text(world, "--level full")?)?;
    let database = unpacked(&world.lab.path("etcd"))?;
    ensure!(
        database.contains("planted-23.service"),
        "what was published is not in the database"
    );
    found.none_in("the database", &database)?;
    twin::guest(&world.lab, twin::NAME)?.run(&["/usr/bin/sync"])?;
    let places = ["etcd", "libvirt/lib/images/twins", "libvirt/lib/qemu"].map(|place| world.lab.path(place));
    for place in places.iter().filter(|place| place.exists()) {
        found.none_below(place)?;
    }
    // The search finds them where they are.
    host.run("sync")?;
    let theirs = found.search(&world.lab.path("libvirt/lib/node/disk.qcow2"))?;
    ensure!(
        theirs.lines().count() > 1_000,
        "the host's own disk: {} found",
        theirs.lines().count()
    );
    println!(
        "{} secrets in {} formats, {} forms: 0 found",
        planter.planted.len(),
        planter.formats.len(),
        found.forms
    );

    host.run(&format!(
        "docker rm -f holder-0 holder-1 holder-2; pkill -f '[s]leep 876000'; systemctl stop holder.service {}; \
         rm -r /etc/systemd/system/holder* /etc/systemd/system/planted-*; systemctl daemon-reload",
        quote(&instance)
    ))?;
    approve_removal(world, "holder.service")?;
    twin::wait_settled(&world.lab).map(|_| ())
}

/// Plants in everything that the agent reads; answers the instance with a token in its name.
fn plant_on_host(world: &World, planter: &mut Planter) -> Result<String> {
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
        host.write(
            &format!("/etc/systemd/system/planted-{number}.service"),
            planter.unit(),
        )?;
    }
    for number in 0..DROP_INS {
        let path = format!("/etc/systemd/system/holder.service.d/1{number}-secrets.conf");
        host.write(&path, planter.drop_in())?;
    }
    host.write(
        "/etc/systemd/system/holder@.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    )?;
    let instance = format!(
        "holder@{}.service",
        token(&mut planter.source, &mut planter.planted)
    );
    host.run(&format!(
        "systemctl daemon-reload && systemctl start {}",
        quote(&instance)
    ))?;
    let command = planter.plant("x --password {pw} --token={pw} {tok}");
    let unit = format!(
        "[Service]\nExecStart=/bin/sh -c 'exec sleep infinity' {command}\n[Install]\nWantedBy=multi-user.target\n"
    );
    start_on_host(world, "holder.service", &unit)?;
    Ok(instance)
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
        std::fs::write(dir.path().join("patterns"), &patterns)?;
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
        let found = self.search(path)?;
        let first: Vec<&str> = found.lines().take(10).collect();
        ensure!(
            first.is_empty(),
            "{} found, such as {first:?}",
            found.lines().count()
        );
        Ok(())
    }

    /// What is found in a file, or in all files of a folder, a line each.
    fn search(&self, path: &Path) -> Result<String> {
        let mut grep = std::process::Command::new("grep");
        grep.env("LC_ALL", "C")
            .args(["--recursive", "--text", "--only-matching", "--fixed-strings"]);
        let patterns = self.dir.path().join("patterns");
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
