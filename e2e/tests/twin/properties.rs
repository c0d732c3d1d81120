//! Every property that the agent publishes of a unit, against what `systemctl show` says of it.

use std::collections::BTreeSet;

use safetytwin_crds::item::UnitItem;
use safetytwin_crds::item::observed::ObservedUnit;
use safetytwin_crds::item::unit::{Account, Timer};

use crate::agreeing::Shown;
use crate::shown::{get, join, lines, number, units, unix, usec, words};

/// What is published and what systemctl says, by property.
type Pair = (String, String, String);

/// What a limit is when nothing sets it, and the properties of which that is so; `Default` is the manager's own.
const LIMITS: [(&str, &str); 10] = [
    (
        "Default",
        "CPUAccounting MemoryAccounting TasksAccounting TasksMax \
     OOMScoreAdjust LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE \
     LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO \
     LimitRTTIME LimitCPUSoft LimitFSIZESoft LimitDATASoft LimitSTACKSoft LimitCORESoft LimitRSSSoft \
     LimitNOFILESoft LimitASSoft LimitNPROCSoft LimitMEMLOCKSoft LimitLOCKSSoft LimitSIGPENDINGSoft \
     LimitMSGQUEUESoft LimitNICESoft LimitRTPRIOSoft LimitRTTIMESoft",
    ),
    (
        "infinity",
        "CPUWeight StartupCPUWeight CPUShares StartupCPUShares CPUQuotaPerSecUSec CPUQuotaPeriodUSec \
     MemoryHigh MemoryMax MemorySwapMax MemoryLimit IOWeight StartupIOWeight RuntimeMaxUSec",
    ),
    (
        "",
        "AllowedCPUs AllowedMemoryNodes IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax \
     IOReadIOPSMax IOWriteIOPSMax DeviceAllow DisableControllers CPUAffinity NUMAMask",
    ),
    (
        "0",
        "MemoryMin DefaultMemoryMin MemoryLow DefaultMemoryLow Nice RuntimeRandomizedExtraUSec \
     CPUSchedulingPolicy CPUSchedulingPriority",
    ),
    ("auto", "DevicePolicy ManagedOOMSwap ManagedOOMMemoryPressure"),
    ("none", "ManagedOOMPreference"),
    // Not told by the manager of systemd 252.
    ("no", "IOAccounting IPAccounting CPUSchedulingResetOnFork"),
    ("n/a", "NUMAPolicy"),
    ("2", "IOSchedulingClass"),
    ("4", "IOSchedulingPriority"),
];

/// Dependencies and ordering, both directions.
const DEPENDENCIES: &str = "Requires RequiredBy Requisite RequisiteOf Wants WantedBy BindsTo BoundBy PartOf ConsistsOf \
     Upholds UpheldBy Conflicts ConflictedBy Before After OnSuccess OnSuccessOf OnFailure \
     OnFailureOf Triggers TriggeredBy PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo \
     StopPropagatedFrom JoinsNamespaceOf";

/// What the tests' drop-in orders two units behind, with an assignment between that clears nothing.
const ORDERED: [&str; 2] = ["agree-failed.service", "agree-runtime.service"];

/// All other properties that are compared.
const OTHERS: &str = "Id LoadState ActiveState SubState FragmentPath DropInPaths MainPID NeedDaemonReload \
     UnitFileState UnitFilePreset Type RemainAfterExit User Group WorkingDirectory DynamicUser \
     Environment EnvironmentFiles PassEnvironment ExecStartPre ExecStart ExecStartPost Unit \
     TimersCalendar TimersMonotonic Persistent WakeSystem AccuracyUSec RandomizedDelayUSec Listen \
     Accept Paths MakeDirectory Where Result NRestarts ActiveEnterTimestamp NextElapseUSecRealtime \
     NextElapseUSecMonotonic LastTriggerUSec";

/// Limits with what they are when nothing sets them.
fn limit_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = LIMITS.iter();
    all.flat_map(|(default, properties)| {
        properties
            .split_whitespace()
            .map(move |property| (property, *default))
    })
}

/// All properties that are compared; others move while they are looked at.
pub fn names() -> Vec<&'static str> {
    let limits = limit_names().map(|(property, _)| property);
    let others = OTHERS.split_whitespace().chain(DEPENDENCIES.split_whitespace());
    others.chain(limits).collect()
}

/// All that differs. `manager` are the manager's own properties.
pub fn differing(
    unit: &Shown,
    manager: &Shown,
    item: &UnitItem,
    observed: Option<&ObservedUnit>,
) -> Vec<Pair> {
    let mut pairs = vec![
        pair("UnitFilePreset", &item.preset, get(unit, "UnitFilePreset")),
        pair("UnitFileState", &item.enablement, get(unit, "UnitFileState")),
    ];
    pairs.extend(limits(unit, manager, item));
    pairs.extend(service(unit, item));
    pairs.extend(triggers(unit, item));
    pairs.extend(named(unit, item));
    pairs.extend(observed.into_iter().flat_map(|observed| moving(unit, observed)));
    // The files of a unit that does not run say `%i` and `50%`, of which systemd has made more.
    let runs = observed.is_some();
    pairs.retain(|(_, ours, theirs)| ours != theirs && (runs || !ours.contains('%')));
    pairs
}

fn pair(property: &str, ours: impl Into<String>, theirs: impl Into<String>) -> Pair {
    (property.to_owned(), ours.into(), theirs.into())
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn limits(unit: &Shown, manager: &Shown, item: &UnitItem) -> Vec<Pair> {
    let shown = limit_names().filter(|(property, _)| unit.contains_key(*property));
    shown
        .map(|(property, default)| {
            let theirs = number(property, get(unit, property));
            let default = match default {
                "Default" if property == "TasksMax" && item.name.as_str().ends_with(".slice") => {
                    "infinity".to_owned()
                }
                "Default" => number(property, get(manager, &format!("Default{property}"))),
                default => default.to_owned(),
            };
            pair(
                property,
                item.limits.get(property).cloned().unwrap_or(default),
                theirs,
            )
        })
        .collect()
}

fn service(unit: &Shown, item: &UnitItem) -> Vec<Pair> {
    let Some(service) = &item.service else {
        return Vec::new();
    };
    let account = |given: &Option<Account>| given.as_ref().map_or(String::new(), |a| a.name.clone());
    // A name without a directory is looked for by systemd.
    let absolute = service.executables.iter().all(|path| path.starts_with('/'));
    let names: BTreeSet<String> = words(get(unit, "Environment"))
        .into_iter()
        .filter_map(|word| Some(word.split_once('=')?.0.to_owned()))
        .collect();
    let passed: BTreeSet<&str> = get(unit, "PassEnvironment").split_whitespace().collect();
    let mut pairs = vec![
        pair("Type", &service.type_, get(unit, "Type")),
        pair(
            "RemainAfterExit",
            yes(service.remain_after_exit),
            get(unit, "RemainAfterExit"),
        ),
        pair("User", account(&service.user), get(unit, "User")),
        pair("Group", account(&service.group), get(unit, "Group")),
        pair("DynamicUser", yes(service.dynamic_user), get(unit, "DynamicUser")),
        pair("Environment", service.environment_names.join(" "), join(names)),
        pair(
            "EnvironmentFiles",
            service.environment_files.join(" "),
            environment_files(unit),
        ),
        pair(
            "PassEnvironment",
            service.pass_environment.join(" "),
            join(passed),
        ),
    ];
    // "!" marks one that may be missing, which is not published.
    let directory = get(unit, "WorkingDirectory");
    if directory.starts_with('/') {
        pairs.push(pair(
            "WorkingDirectory",
            service.working_directory.as_deref().unwrap_or_default(),
            directory,
        ));
    }
    if absolute {
        pairs.push(pair(
            "ExecStart",
            service.executables.join(" "),
            executables(unit),
        ));
    }
    pairs
}

/// Of commands whose failure counts.
fn executables(unit: &Shown) -> String {
    let keys = ["ExecStartPre", "ExecStart", "ExecStartPost"];
    let counting = keys.iter().flat_map(|key| lines(unit, key));
    let counting = counting.filter(|line| line.contains("ignore_errors=no"));
    join(counting.filter_map(|line| line.split_once("path=")?.1.split(" ;").next()))
}

fn environment_files(unit: &Shown) -> String {
    join(lines(unit, "EnvironmentFiles").filter_map(|line| {
        let (path, ignored) = line.rsplit_once(" (ignore_errors=")?;
        let sign = if ignored.starts_with("yes") { "-" } else { "" };
        Some(format!("{sign}{path}"))
    }))
}

fn triggers(unit: &Shown, item: &UnitItem) -> Vec<Pair> {
    let mut pairs = item.timer.as_ref().map_or(Vec::new(), |given| timer(unit, given));
    if let Some(socket) = &item.socket {
        let listens = socket
            .listen
            .iter()
            .map(|l| format!("{} ({})", l.address, l.type_));
        pairs.push(pair("Listen", join(listens), join(lines(unit, "Listen"))));
        pairs.push(pair("Accept", yes(socket.accept), get(unit, "Accept")));
    }
    if let Some(path) = &item.path {
        let paths = path.paths.iter().map(|p| format!("{} ({})", p.path, p.type_));
        let shown: BTreeSet<&str> = lines(unit, "Paths").collect();
        pairs.push(pair("Paths", join(paths.collect::<BTreeSet<_>>()), join(shown)));
        pairs.push(pair("Unit", &path.unit, get(unit, "Unit")));
        pairs.push(pair(
            "MakeDirectory",
            yes(path.make_directory),
            get(unit, "MakeDirectory"),
        ));
    }
    // Where= is `none` for swap; What= is another name for the same once it is mounted.
    if let Some(mount) = item.mount.as_ref().filter(|mount| !mount.where_.is_empty()) {
        pairs.push(pair("Where", &mount.where_, get(unit, "Where")));
    }
    pairs
}

fn timer(unit: &Shown, timer: &Timer) -> Vec<Pair> {
    let settings = |property: &str, name: &str| {
        let inner = lines(unit, property).filter_map(|line| {
            let setting = line.trim_start_matches("{ ").split(" ;").next()?;
            let (base, value) = setting.split_once('=')?;
            Some(match name {
                "" => format!("{base} {}", usec(value)?),
                _ => value.to_owned(),
            })
        });
        join(inner.collect::<BTreeSet<_>>())
    };
    let spans = timer
        .monotonic
        .iter()
        .map(|span| format!("{} {}", span.base, span.usec));
    vec![
        pair("Unit", &timer.unit, get(unit, "Unit")),
        pair(
            "TimersCalendar",
            join(&timer.on_calendar),
            settings("TimersCalendar", "OnCalendar"),
        ),
        pair(
            "TimersMonotonic",
            join(spans.collect::<BTreeSet<_>>()),
            settings("TimersMonotonic", ""),
        ),
        pair("Persistent", yes(timer.persistent), get(unit, "Persistent")),
        pair("WakeSystem", yes(timer.wake_system), get(unit, "WakeSystem")),
        pair(
            "AccuracyUSec",
            timer.accuracy_usec.to_string(),
            number("USec", get(unit, "AccuracyUSec")),
        ),
        pair(
            "RandomizedDelayUSec",
            timer.randomized_delay_usec.to_string(),
            number("USec", get(unit, "RandomizedDelayUSec")),
        ),
    ]
}

/// What changes by itself, and all dependencies in force.
fn moving(unit: &Shown, observed: &ObservedUnit) -> Vec<Pair> {
    let seconds = |usec: u64| match usec {
        0 => String::new(),
        usec => format!("@{}", usec / 1_000_000),
    };
    let mut pairs = vec![
        pair("Result", &observed.result, get(unit, "Result")),
        pair(
            "ActiveEnterTimestamp",
            seconds(observed.active_enter_timestamp),
            get(unit, "ActiveEnterTimestamp"),
        ),
    ];
    if let Some(restarts) = unit.get("NRestarts") {
        pairs.push(pair("NRestarts", observed.restarts.to_string(), restarts));
    }
    if let Some(runs) = &observed.timer {
        pairs.push(pair(
            "NextElapseUSecRealtime",
            seconds(runs.next_elapse_usec_realtime),
            unix(get(unit, "NextElapseUSecRealtime")),
        ));
        pairs.push(pair(
            "NextElapseUSecMonotonic",
            since_boot(Some(runs.next_elapse_usec_monotonic)),
            since_boot(usec(get(unit, "NextElapseUSecMonotonic"))),
        ));
        pairs.push(pair(
            "LastTriggerUSec",
            seconds(runs.last_trigger_usec),
            unix(get(unit, "LastTriggerUSec")),
        ));
    }
    // A unit whose properties are never read has none.
    if !observed.dependencies.is_empty() {
        pairs.extend(DEPENDENCIES.split_whitespace().map(|property| {
            let theirs: BTreeSet<String> = units(unit, property).collect();
            let ours = join(observed.dependencies.get(property));
            pair(property, ours, join(theirs))
        }));
    }
    pairs
}

/// A moment in seconds since boot: systemctl shows a span that was rounded.
fn since_boot(usec: Option<u64>) -> String {
    match usec {
        None | Some(0 | u64::MAX) => "never".to_owned(),
        Some(usec) => format!("{} s", usec / 1_000_000),
    }
}

/// What the files of a unit name must be in force.
fn named(unit: &Shown, item: &UnitItem) -> Vec<Pair> {
    let forward = [
        "Requires",
        "Wants",
        "BindsTo",
        "PartOf",
        "Conflicts",
        "After",
        "Before",
    ];
    let lists = forward
        .iter()
        .filter_map(|property| Some((property, item.dependencies.get(*property)?)));
    // What the tests' own drop-in names is missing in neither of its units.
    let dropped_in = ["agree-enabled.service", "agree-disabled.service"].contains(&item.name.as_str());
    let ours = item.dependencies.get("After").into_iter().flatten();
    let ordered =
        |names: &mut dyn Iterator<Item = String>| join(names.filter(|name| ORDERED.contains(&&**name)));
    let own = pair(
        "After, by the drop-in",
        ordered(&mut ours.cloned()),
        ordered(&mut units(unit, "After").collect::<BTreeSet<String>>().into_iter()),
    );
    let lists = lists.map(|(property, names)| {
        let theirs: BTreeSet<String> = units(unit, property).collect();
        // Of an alias systemd tells the other name, and of a name with specifiers what it made of it.
        let known =
            |name: &&String| theirs.contains(*name) || name.starts_with("runlevel") || name.contains('%');
        let known = names.iter().filter(known);
        pair(property, join(names), join(known))
    });
    lists.chain(dropped_in.then_some(own)).collect()
}
