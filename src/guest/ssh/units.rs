//! Units of the guest: facts and jobs, pipelined.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join_all, try_join_all};
use safetytwin_crds::names::{UnitName, UnitType, printable};
use zbus::{MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

use super::bus::{Bus, is_no_such_unit};
use super::session::lost;
use crate::facts::{Active, JobOutcome, Load, UnitFacts};
use crate::guest::{GuestError, JobKind};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Longest time until every job of a batch has ended; systemd's own default is as long.
const JOBS: Duration = Duration::from_secs(90);

type Properties = HashMap<String, OwnedVariant>;

/// The facts of units, in the order of `names`. Loads nothing: an unloaded unit is asked for its file state only.
pub(super) async fn facts(bus: &Bus, names: &[UnitName]) -> Result<Vec<UnitFacts>, GuestError> {
    try_join_all(names.iter().map(|name| fact(bus, name))).await
}

async fn fact(bus: &Bus, name: &UnitName) -> Result<UnitFacts, GuestError> {
    let path: OwnedObjectPath = match bus.manage("GetUnit", &(name.as_str(),)).await {
        Ok(path) => path,
        Err(error) if is_no_such_unit(&error) => return unloaded(bus, name).await,
        Err(error) => return Err(error),
    };
    let unit: Properties = bus.call(path.as_str(), PROPERTIES, "GetAll", &(UNIT,)).await?;
    let service: Properties = match name.unit_type() {
        UnitType::Service => bus.call(path.as_str(), PROPERTIES, "GetAll", &(SERVICE,)).await?,
        _ => Properties::new(),
    };
    Ok(UnitFacts {
        name: name.clone(),
        load: load(&text(&unit, "LoadState")),
        active: active(&text(&unit, "ActiveState")),
        sub: text(&unit, "SubState"),
        file_state: text(&unit, "UnitFileState"),
        invocation: invocation(&unit),
        main_pid: number(&service, "MainPID"),
        result: text(&service, "Result"),
        exit_status: signed(&service, "ExecMainStatus"),
    })
}

/// A unit that is not in memory. Its file state is read from the unit files, which loads nothing.
async fn unloaded(bus: &Bus, name: &UnitName) -> Result<UnitFacts, GuestError> {
    let state: Result<String, GuestError> = bus.manage("GetUnitFileState", &(name.as_str(),)).await;
    let file_state = match state {
        Ok(state) => state,
        Err(GuestError::Failed { .. }) => String::new(),
        Err(error) => return Err(error),
    };
    Ok(UnitFacts {
        name: name.clone(),
        load: Load::NotLoaded,
        active: Active::Inactive,
        sub: "dead".into(),
        file_state: printable(&file_state, 64),
        invocation: String::new(),
        main_pid: 0,
        result: String::new(),
        exit_status: 0,
    })
}

/// Queues all jobs without waiting in between, then waits until each has ended.
pub(super) async fn run_jobs(bus: &Bus, jobs: &[(JobKind, UnitName)]) -> Result<Vec<JobOutcome>, GuestError> {
    const CALL: &str = "run unit jobs";
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved")
        .build()
        .map_err(|error| lost(CALL, error))?;
    // Before the first job: an end that comes at once must not be missed.
    let mut ends = MessageStream::for_match_rule(rule, &bus.connection, std::num::NonZeroUsize::new(4096))
        .await
        .map_err(|error| lost(CALL, error))?;
    let queued = join_all(jobs.iter().map(|(kind, unit)| queue(bus, *kind, unit))).await;
    let mut outcomes = Vec::new();
    let mut waiting: BTreeMap<String, UnitName> = BTreeMap::new();
    for ((_, unit), answer) in jobs.iter().zip(queued) {
        match answer {
            Ok(job) => {
                waiting.insert(job.to_string(), unit.clone());
            }
            Err(GuestError::Failed { message, .. }) => {
                outcomes.push(JobOutcome {
                    unit: unit.clone(),
                    failure: Some(message),
                });
            }
            Err(error) => return Err(error),
        }
    }
    let deadline = tokio::time::Instant::now() + JOBS;
    while !waiting.is_empty() {
        let message = match tokio::time::timeout_at(deadline, ends.next()).await {
            Ok(Some(message)) => message.map_err(|error| lost(CALL, error))?,
            Ok(None) => return Err(lost(CALL, "the bus closed")),
            Err(_) => break,
        };
        let body = message.body();
        let Ok((_id, job, _unit, result)) = body.deserialize::<(u32, OwnedObjectPath, String, String)>()
        else {
            continue;
        };
        if let Some(unit) = waiting.remove(job.as_str()) {
            let failure = (!matches!(result.as_str(), "done" | "skipped"))
                .then(|| format!("its job ended: {}", printable(&result, 40)));
            outcomes.push(JobOutcome { unit, failure });
        }
    }
    let late = waiting.into_values().map(|unit| JobOutcome {
        unit,
        failure: Some(format!("its job did not end within {} s", JOBS.as_secs())),
    });
    outcomes.extend(late);
    Ok(outcomes)
}

async fn queue(bus: &Bus, kind: JobKind, unit: &UnitName) -> Result<OwnedObjectPath, GuestError> {
    let member = match kind {
        JobKind::Start => "StartUnit",
        JobKind::Restart => "RestartUnit",
        JobKind::Stop => "StopUnit",
    };
    bus.manage(member, &(unit.as_str(), "replace")).await
}

type Links = Vec<(String, String, String)>;

/// Enables, disables, masks or unmasks each unit by itself, so that one refusal is one unit's.
pub(super) async fn change_files(
    bus: &Bus,
    change: FileChange,
    units: &[UnitName],
) -> Result<Vec<JobOutcome>, GuestError> {
    let answers = join_all(units.iter().map(|unit| change_file(bus, change, unit))).await;
    units
        .iter()
        .zip(answers)
        .map(|(unit, answer)| match answer {
            Ok(()) => Ok(JobOutcome {
                unit: unit.clone(),
                failure: None,
            }),
            Err(GuestError::Failed { message, .. }) => Ok(JobOutcome {
                unit: unit.clone(),
                failure: Some(message),
            }),
            Err(error) => Err(error),
        })
        .collect()
}

/// A change of unit files that needs no reload.
#[derive(Clone, Copy)]
pub(super) enum FileChange {
    Enable,
    Disable,
    Mask,
    Unmask,
}

async fn change_file(bus: &Bus, change: FileChange, unit: &UnitName) -> Result<(), GuestError> {
    let files = vec![unit.as_str()];
    match change {
        FileChange::Enable => {
            let _: (bool, Links) = bus.manage("EnableUnitFiles", &(files, false, true)).await?;
        }
        FileChange::Disable => {
            let _: Links = bus.manage("DisableUnitFiles", &(files, false)).await?;
        }
        FileChange::Mask => {
            let _: Links = bus.manage("MaskUnitFiles", &(files, false, true)).await?;
        }
        FileChange::Unmask => {
            let _: Links = bus.manage("UnmaskUnitFiles", &(files, false)).await?;
        }
    }
    Ok(())
}

/// Clears the failed state of units; those that are not loaded have none.
pub(super) async fn reset_failed(bus: &Bus, units: &[UnitName]) -> Result<(), GuestError> {
    let answers = join_all(units.iter().map(|unit| async move {
        let answer: Result<(), GuestError> = bus.manage("ResetFailedUnit", &(unit.as_str(),)).await;
        answer
    }))
    .await;
    for answer in answers {
        match answer {
            Ok(()) | Err(GuestError::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

type LoadedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// Names of all unit files and loaded units.
pub(super) async fn names(bus: &Bus) -> Result<Vec<String>, GuestError> {
    let files: Vec<(String, String)> = bus.manage("ListUnitFiles", &()).await?;
    let loaded: Vec<LoadedUnit> = bus.manage("ListUnits", &()).await?;
    let files = files
        .iter()
        .filter_map(|(path, _)| path.rsplit('/').next())
        .map(str::to_owned);
    let mut names: Vec<String> = files.chain(loaded.into_iter().map(|unit| unit.0)).collect();
    names.retain(|name| name.parse::<UnitName>().is_ok());
    names.sort();
    names.dedup();
    Ok(names)
}

fn text(properties: &Properties, key: &str) -> String {
    let value = properties
        .get(key)
        .and_then(|value| String::try_from(value.clone()).ok());
    printable(&value.unwrap_or_default(), 200)
}

fn number(properties: &Properties, key: &str) -> u32 {
    properties
        .get(key)
        .and_then(|value| u32::try_from(value.clone()).ok())
        .unwrap_or_default()
}

fn signed(properties: &Properties, key: &str) -> i32 {
    properties
        .get(key)
        .and_then(|value| i32::try_from(value.clone()).ok())
        .unwrap_or_default()
}

fn invocation(properties: &Properties) -> String {
    let bytes = properties
        .get("InvocationID")
        .and_then(|value| Vec::<u8>::try_from(value.clone()).ok());
    bytes
        .unwrap_or_default()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn load(state: &str) -> Load {
    match state {
        "loaded" => Load::Loaded,
        "not-found" => Load::NotFound,
        "masked" => Load::Masked,
        "stub" | "merged" => Load::NotLoaded,
        _ => Load::Error,
    }
}

fn active(state: &str) -> Active {
    match state {
        "active" => Active::Active,
        "reloading" | "refreshing" => Active::Reloading,
        "failed" => Active::Failed,
        "activating" => Active::Activating,
        "deactivating" => Active::Deactivating,
        _ => Active::Inactive,
    }
}
