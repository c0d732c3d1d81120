//! What the agent publishes of the host's units, against what systemctl says there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use safetytwin_crds::item::UnitItem;
use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::section::{SectionName, SectionState};
use safetytwin_e2e::product::{TWINS, twin};
use safetytwin_e2e::wait::{self, Look};

use crate::Sentence;
use crate::dump::{Dump, LIMIT, agree};
use crate::following::counter;
use crate::world::World;
use crate::{lists, properties};

pub const SENTENCES: &[Sentence] = &[(
    "the_agent_says_of_every_unit_what_systemctl_says",
    the_agent_says_what_systemctl_says,
)];

const FILES: &str = "systemctl list-unit-files --no-legend --plain --full --no-pager";
/// Times in seconds since 1970.
const SHOW: &str = "systemctl show '*' --all --no-pager --timestamp=unix";
const MANAGER: &str = "systemctl show --all --no-pager";
const TIMERS: &str = "systemctl list-timers --all --no-legend --full --no-pager";
const SOCKETS: &str = "systemctl list-sockets --all --no-legend --full --no-pager";

/// Units in states that a plain node does not have.
const MAKE: &str = "set -e
systemctl enable --quiet --no-reload agree-enabled.service
systemctl enable --quiet --no-reload --runtime agree-runtime.service
systemctl mask --quiet --no-reload agree-masked.service
systemctl mask --quiet --no-reload --runtime agree-masked-runtime.service
systemctl link --quiet --no-reload /opt/agree-linked.service
ln -s agree-enabled.service /etc/systemd/system/agree-alias.service
systemctl daemon-reload
systemctl start agree-enabled.service agree-watch.path agree-watch.socket agree-watch.timer
systemctl start agree-failed.service || true";
/// What starts a unit, and the limits of one, in all forms that a file has for them.
const STARTERS: [(&str, &str); 3] = [
    (
        "watch.path",
        "[Path]\nPathExists=/run/agree-never\nDirectoryNotEmpty=/run/agree-none\nUnit=agree-disabled.service\n",
    ),
    (
        "watch.socket",
        "[Socket]\nListenStream=/run/agree.sock\nListenDatagram=47615\nService=agree-disabled.service\n",
    ),
    (
        "watch.timer",
        "[Timer]\nOnCalendar=yearly\nOnBootSec=200d\nRandomizedDelaySec=2s\nUnit=agree-disabled.service\n",
    ),
];
const LIMITS: &str = "[Service]\nTasksMax=50\nMemoryMax=1G\nMemoryLow=1M\nCPUQuota=150%\nCPUWeight=50\nIOWeight=20\n\
LimitNOFILE=1024:4096\nLimitCORE=0\nNice=5\nCPUSchedulingPolicy=batch\nCPUSchedulingResetOnFork=yes\nCPUAffinity=1\n\
NUMAPolicy=local\nIOSchedulingClass=idle\nIOSchedulingPriority=6\nOOMScoreAdjust=100\nAllowedCPUs=0-1\nDeviceAllow=/dev/null rw\n\
RuntimeMaxSec=3d\nEnvironment=A=1 \"B=x y\"\nEnvironmentFile=-/etc/agree-none\nPassEnvironment=LANG\n\
[Unit]\nOnFailure=agree-disabled.service\nAfter=agree-runtime.service\nAfter=\nAfter=agree-failed.service\n";

const CLEAN: &str =
    "systemctl stop agree-enabled.service agree-watch.path agree-watch.socket agree-watch.timer
systemctl reset-failed agree-failed.service
rm -rf /etc/systemd/system/agree-* /run/systemd/system/agree-* /opt/agree-linked.service
rm -f /etc/systemd/system/multi-user.target.wants/agree-* /run/systemd/system/multi-user.target.wants/agree-*
systemctl daemon-reload";

fn the_agent_says_what_systemctl_says(world: &World) -> Result<()> {
    let host = world.lab.host();
    for name in ["enabled", "disabled", "runtime", "masked-runtime"] {
        host.write(&path(name), counter(name))?;
    }
    host.write(
        "/usr/local/lib/systemd/system/agree-masked.service",
        counter("masked"),
    )?;
    host.write("/opt/agree-linked.service", counter("linked"))?;
    let failing = counter("failing").replace("/bin/sleep infinity", "/bin/false");
    host.write(&path("failed"), failing)?;
    host.write(
        "/etc/systemd/system/agree-enabled.service.d/10-limit.conf",
        LIMITS,
    )?;
    host.write(
        "/etc/systemd/system/agree-disabled.service.d/10-limit.conf",
        LIMITS,
    )?;
    host.write(
        "/etc/systemd/system-preset/10-agree.preset",
        "disable agree-d*\nenable agree-*\n",
    )?;
    for (name, text) in STARTERS {
        host.write(&format!("/etc/systemd/system/agree-{name}"), text)?;
    }
    host.run(MAKE)?;
    let agreed = agree("the agent to agree with systemctl", LIMIT, || differences(world));
    host.run(CLEAN)?;
    host.run(
        "rm -f /usr/local/lib/systemd/system/agree-masked.service /etc/systemd/system-preset/10-agree.preset",
    )?;
    agreed?;
    approve_removal(world, "agree-enabled.service")?;
    twin::wait_settled(&world.lab).map(|_| ())
}

/// Waits until a unit has left the twin. Says yes, as an administrator does, if so many leave with it that the twin asks.
pub fn approve_removal(world: &World, unit: &str) -> Result<()> {
    wait::until(
        "what was made to leave the twin",
        Duration::from_secs(180),
        || {
            let asking = twin::object(&world.lab, "digitaltwin", twin::NAME)?;
            let (_, reason, message) = twin::condition(&asking, "Ready");
            if let Some((_, digest)) = message.split_once("approve-removal=") {
                let approval = format!("safetytwin.com/approve-removal={digest}");
                let annotate = ["annotate", "--overwrite", "digitaltwin", twin::NAME, "-n", TWINS];
                world
                    .lab
                    .kubectl(annotate.into_iter().chain([approval.as_str()]))?;
            }
            let state = twin::property(&world.lab, unit, "LoadState")?;
            Ok(match state.as_str() {
                "not-found" => Look::Ready(()),
                _ => Look::NotYet(format!("{reason}: {message}")),
            })
        },
    )
}

fn path(name: &str) -> String {
    format!("/etc/systemd/system/agree-{name}.service")
}

/// What the agent sees and what systemctl sees at one time.
fn differences(world: &World) -> Result<Vec<String>> {
    let host = world.lab.host();
    let show = format!("{SHOW} --property={}", properties::names().join(","));
    let before = host.run(&show)?;
    let (items, observed) = published(&Dump::look(world, "")?)?;
    let (files, after) = (host.run(FILES)?, host.run(&show)?);
    let mut differences = enablement(&items, &files);
    let (timers, sockets) = (host.run(TIMERS)?, host.run(SOCKETS)?);
    differences.extend(lists::differing(&items, &timers, &sockets));
    let manager = lines(&host.run(MANAGER)?);
    // What moves while it is looked at says nothing.
    let before = shown(&before);
    for (name, unit) in shown(&after) {
        if before.get(&name) == Some(&unit) {
            differences.extend(state(
                &name,
                &unit,
                &manager,
                items.get(&name),
                observed.get(&name),
            ));
        }
    }
    Ok(differences)
}

pub type Items = BTreeMap<String, UnitItem>;
type ObservedUnits = BTreeMap<String, ObservedUnit>;
/// Properties of a unit by name.
pub type Shown = BTreeMap<String, String>;

/// The units that are published.
fn published(dump: &Dump) -> Result<(Items, ObservedUnits)> {
    let units = dump.head.spec.section(SectionName::Units);
    let state = units.map(|units| units.state);
    ensure!(state == Some(SectionState::Complete), "units are {units:?}");
    let items: Vec<UnitItem> = dump.items(SectionName::Units)?;
    let observed = dump.observed()?.units.into_iter();
    Ok((
        items
            .into_iter()
            .map(|unit| (unit.name.to_string(), unit))
            .collect(),
        observed.map(|unit| (unit.name.clone(), unit)).collect(),
    ))
}

/// Enablement of every unit file that is a unit of its own.
fn enablement(items: &Items, files: &str) -> Vec<String> {
    let rows = files.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    // A scope is of processes that somebody else started: those are items of their own.
    let own = |name: &str| !name.contains("@.") && !name.ends_with(".scope");
    let units = rows.filter(|(name, state)| own(name) && *state != "alias");
    let differing = units.filter_map(|(name, state)| match items.get(name) {
        None => Some(format!("{name} is {state} and not published")),
        Some(item) if item.enablement != state => {
            Some(format!("{name} is {state}, published {}", item.enablement))
        }
        Some(_) => None,
    });
    differing.collect()
}

/// Properties by name; those that systemctl shows in several lines keep them.
fn lines(block: &str) -> Shown {
    let mut shown = Shown::new();
    for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
        let entry = shown.entry(key.to_owned());
        entry
            .and_modify(|lines| {
                lines.push('\n');
                lines.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    shown
}

/// Loaded units by name.
fn shown(text: &str) -> BTreeMap<String, Shown> {
    let blocks = text.split("\n\n").map(lines);
    blocks
        .filter_map(|block| Some((block.get("Id")?.clone(), block)))
        .collect()
}

/// States, files and main pid of a loaded unit that is published.
fn state(
    name: &str,
    unit: &Shown,
    manager: &Shown,
    item: Option<&UnitItem>,
    observed: Option<&ObservedUnit>,
) -> Vec<String> {
    let get = |key: &str| unit.get(key).map_or("", String::as_str);
    let Some(item) = item else {
        return unpublished(name, unit).into_iter().collect();
    };
    // The agent speaks of the files, systemd of what it has loaded of older ones.
    if get("NeedDaemonReload") == "yes" {
        return Vec::new();
    }
    // `/lib` is `/usr/lib` on the host.
    let merged = |path: &str| match path.strip_prefix("/lib/") {
        Some(rest) => format!("/usr/lib/{rest}"),
        None => path.to_owned(),
    };
    let fragment = item.fragment.as_ref().map_or("", |file| &file.path);
    let drop_ins: Vec<String> = item.drop_ins.iter().map(|file| merged(&file.path)).collect();
    let loaded: Vec<String> = get("DropInPaths").split_whitespace().map(merged).collect();
    let mut pairs = vec![
        ("load state", item.load_state.clone(), get("LoadState").to_owned()),
        ("drop-ins", drop_ins.join(" "), loaded.join(" ")),
    ];
    // systemd names the link of a mask's target.
    if item.load_state != "masked" {
        pairs.push(("unit file", merged(fragment), merged(get("FragmentPath"))));
    }
    match observed {
        Some(observed) => pairs.extend([
            (
                "state",
                observed.active_state.clone(),
                get("ActiveState").to_owned(),
            ),
            (
                "sub-state",
                observed.sub_state.clone(),
                get("SubState").to_owned(),
            ),
            (
                "main pid",
                observed.main_pid.to_string(),
                main_pid(get("MainPID")),
            ),
        ]),
        None => pairs.push(("state", "inactive".to_owned(), get("ActiveState").to_owned())),
    }
    let more = properties::differing(unit, manager, item, observed);
    let pairs = pairs
        .into_iter()
        .map(|(what, ours, theirs)| (what.to_owned(), ours, theirs));
    let differing = pairs.filter(|(_, ours, theirs)| ours != theirs).chain(more);
    let told = differing.map(|(what, ours, theirs)| format!("{name}: {what} {ours:?}, systemctl {theirs:?}"));
    told.collect()
}

/// What is wrong with a unit that is not published.
fn unpublished(name: &str, unit: &Shown) -> Option<String> {
    let get = |key: &str| unit.get(key).map_or("", String::as_str);
    let kinds = [".service", ".socket", ".target", ".timer", ".path"];
    let kind = kinds.iter().any(|kind| name.ends_with(kind));
    // A login's own, and what another unit only names.
    let passing = name.starts_with("user@") || name.starts_with("user-runtime-dir@");
    let missing = kind && !passing && get("LoadState") != "not-found" && get("ActiveState") != "inactive";
    missing.then(|| format!("{name} is {} and not published", get("ActiveState")))
}

/// Units without processes have none.
fn main_pid(shown: &str) -> String {
    if shown.is_empty() { "0" } else { shown }.to_owned()
}
