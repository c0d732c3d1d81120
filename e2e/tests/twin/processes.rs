//! What the agent has published of independent processes, against what ps, ss, dpkg and the links in /proc say of the
//! same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use safetytwin_crds::item::ProcessItem;
use safetytwin_crds::item::observed::ObservedProcess;
use safetytwin_crds::section::SectionName;

use crate::Sentence;
use crate::dump::{Dump, LIMIT, agree};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[(
    "the_agent_says_of_independent_processes_what_ps_ss_and_dpkg_say",
    the_agent_says_what_ps_says,
)];

/// One that listens and has odd arguments, one of another user under another name, one whose executable is gone: no more
/// than may leave a section without a question.
const START: &str = r#"set -e
start() { setsid --fork "$@" < /dev/null > /dev/null 2>&1; }
cd /srv
start perl -MIO::Socket::INET -e 'my @s = map { IO::Socket::INET->new(Listen => 1, LocalAddr => $_, ReuseAddr => 1) or die } @ARGV[0, 1]; sleep 765432' 127.0.0.1:47701 0.0.0.0:47702 'a  b' '' '$(touch /run/pwned)' 'ü'
cd /tmp
start setpriv --reuid=nobody --regid=nogroup --clear-groups bash -c 'exec -a other-name sleep 765433'
cp /usr/bin/sleep /tmp/gone
start /tmp/gone 765434
until pgrep -x gone > /dev/null; do sleep 0.1; done
rm /tmp/gone
"#;
const STOP: &str = "pkill -f '[s]leep 765432|[o]ther-name 765433|[/]tmp/gone 765434'";
const STARTED: [&str; 3] = ["47702", "765433", "765434"];

/// What the host's tools say of a process: user, group, parent, name, executable, directory, package, arguments.
const DESCRIBE: &str = r#"
for p in PIDS; do
  exe=$(readlink /proc/$p/exe)
  package=$(dpkg -S "$exe" 2> /dev/null || dpkg -S "${exe#/usr}" 2> /dev/null) || true
  set -- $(ps -o euser:40=,egroup:40=,ppid= -p $p)
  printf '%s\t' $p "$1" "$2" "$3" "$(cat /proc/$p/comm)" "$exe" "$(readlink /proc/$p/cwd)" "${package%%:*}"
  tr '\0' '\t' < /proc/$p/cmdline
  printf '\n'
done"#;
/// All processes: pid, parent, terminal, state, seconds since the start, unit.
const ALL: &str = "ps -eo pid=,ppid=,tty=,stat=,etimes=,unit:100=";
/// The main processes of all services.
const MAIN: &str = "systemctl show --property=MainPID --value '*.service'";
/// Services in whose group people and jobs leave behind what is their own.
const HOSTING: [&str; 5] = ["ssh", "cron", "atd", "getty@", "serial-getty@"];
/// Old enough to be published, in seconds.
const OLD: u64 = 60;
const LISTENS: &str = "ss --no-header --tcp --udp --listening --numeric --processes";

fn the_agent_says_what_ps_says(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.run(START)?;
    let mut compared = 0;
    let agreed = agree("the processes as ps has them", LIMIT, || {
        let Some(dump) = Dump::published(world)? else {
            return Ok(vec!["a section was written meanwhile".to_owned()]);
        };
        let items: Vec<ProcessItem> = dump.items(SectionName::Processes)?;
        let observed = dump.observed()?;
        let argv: Vec<String> = items.iter().map(line).collect();
        let missing = STARTED
            .iter()
            .filter(|word| !argv.iter().any(|line| line.contains(*word)));
        let mut differences: Vec<String> = missing.map(|word| format!("{word} is not published")).collect();
        if differences.is_empty() {
            compared = items.len();
            differences = differ(world, &items, &observed.processes)?;
            differences.extend(missing_or_more(world, &observed.processes)?);
        }
        Ok(differences)
    });
    host.run(STOP)?;
    agreed?;
    ensure!(compared >= STARTED.len(), "{compared}");
    println!("{compared} processes: no difference");
    Ok(())
}

fn line(item: &ProcessItem) -> String {
    let words: Vec<String> = item.argv.iter().map(|word| word.lossy()).collect();
    words.join("\t")
}

/// What ps has on its own and is not published, and the other way round.
fn missing_or_more(world: &World, observed: &[ObservedProcess]) -> Result<Vec<String>> {
    let (all, main) = (world.lab.host().run(ALL)?, world.lab.host().run(MAIN)?);
    let main: BTreeSet<&str> = main.split_whitespace().collect();
    let ours: BTreeSet<String> = observed.iter().map(|process| process.pid.to_string()).collect();
    let differs = |row: &&str| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let [pid, parent, terminal, state, age, unit] = fields[..] else {
            return true;
        };
        let free = match unit.strip_suffix(".service") {
            Some(service) => HOSTING.iter().any(|host| service.starts_with(host)) && !main.contains(pid),
            None => !unit.starts_with("docker-") && !unit.starts_with("libpod-"),
        };
        let own = free && (parent, terminal) == ("1", "?") && !state.starts_with('Z');
        let old = age.parse().is_ok_and(|age: u64| age >= OLD);
        ours.contains(pid) != own && (old || !own)
    };
    let differing = all.lines().filter(differs);
    Ok(differing
        .map(|row| format!("only one of ps and the agent has {row}"))
        .collect())
}

fn differ(world: &World, items: &[ProcessItem], observed: &[ObservedProcess]) -> Result<Vec<String>> {
    let host = world.lab.host();
    let pids: Vec<String> = observed.iter().map(|process| process.pid.to_string()).collect();
    let described = host.run(&DESCRIBE.replace("PIDS", &pids.join(" ")))?;
    let described: BTreeMap<&str, &str> = described
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let listens = listens(&host.run(LISTENS)?);
    let mut differences = Vec::new();
    for item in items {
        let Some(process) = observed.iter().find(|process| process.key == item.key) else {
            differences.push(format!("{} is not observed", line(item)));
            continue;
        };
        let theirs = described
            .get(&*process.pid.to_string())
            .copied()
            .unwrap_or_default();
        let ours = ours(item, process);
        // What is redacted differs on purpose.
        if item.redactions == 0 && ours != theirs.trim_end_matches('\t') {
            differences.push(format!("{ours:?}, ps says {theirs:?}"));
        }
        let theirs = listens.get(&process.pid).cloned().unwrap_or_default();
        let ours: BTreeSet<String> = item.listens.iter().cloned().collect();
        if ours != theirs {
            differences.push(format!("{} listens on {ours:?}, ss says {theirs:?}", line(item)));
        }
    }
    Ok(differences)
}

/// As [`DESCRIBE`] writes it, without the pid.
fn ours(item: &ProcessItem, process: &ObservedProcess) -> String {
    let path = |path: &Option<safetytwin_crds::item::Text>| {
        path.as_ref().map(|path| path.lossy()).unwrap_or_default()
    };
    let fields = [
        item.user.name.clone(),
        item.group.name.clone(),
        process.parent_pid.to_string(),
        item.comm.lossy(),
        path(&item.executable),
        path(&item.working_directory),
        process.package.clone().unwrap_or_default(),
        line(item),
    ];
    fields.join("\t").trim_end_matches('\t').to_owned()
}

/// Sockets by process, as items have them.
fn listens(ss: &str) -> BTreeMap<i32, BTreeSet<String>> {
    let mut found: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    for line in ss.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(protocol), Some(address)) = (words.first(), words.get(4)) else {
            continue;
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let host = host.split('%').next().unwrap_or(host).replace('*', "[::]");
        for users in line.split("pid=").skip(1) {
            let pid: String = users.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(pid) = pid.parse() {
                found
                    .entry(pid)
                    .or_default()
                    .insert(format!("{protocol}:{host}:{port}"));
            }
        }
    }
    found
}
