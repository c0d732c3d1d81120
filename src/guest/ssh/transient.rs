//! Runs a program in the guest as a transient unit: typed arguments, no shell, no file, no reload.

use std::sync::atomic::{AtomicU64, Ordering};

use safetytwin_crds::names::UnitName;
use zbus::OwnedObjectPath;
use zbus::Variant;

use super::bus::Bus;
use super::units;
use crate::guest::GuestError;
use crate::guest::JobKind;

static NUMBER: AtomicU64 = AtomicU64::new(0);

type Command = (String, Vec<String>, bool);

/// Whether the program ends with exit status 0. `argv[0]` is an absolute path.
pub(super) async fn succeeds(bus: &Bus, argv: &[String]) -> Result<bool, GuestError> {
    const CALL: &str = "run a program";
    let Some(program) = argv.first() else {
        return Ok(false);
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("safetytwin-run-{}-{number}.service", std::process::id());
    let unit: UnitName = name.parse().map_err(|error| GuestError::Failed {
        call: CALL,
        message: format!("{error}"),
    })?;
    let commands: Vec<Command> = vec![(program.clone(), argv.to_vec(), false)];
    let properties: Vec<(&str, Variant<'_>)> = vec![
        ("Type", Variant::from("oneshot")),
        ("RemainAfterExit", Variant::from(true)),
        ("StandardOutput", Variant::from("null")),
        ("StandardError", Variant::from("null")),
        ("TimeoutStartUSec", Variant::from(30_000_000_u64)),
        ("ExecStart", Variant::from(commands)),
    ];
    let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
    let _job: OwnedObjectPath = bus
        .manage(
            "StartTransientUnit",
            &(unit.as_str(), "replace", properties, auxiliary),
        )
        .await?;
    // A start of what starts already joins its job: its end is the program's end.
    let outcomes = units::run_jobs(bus, &[(JobKind::Start, unit.clone())]).await?;
    let succeeded = outcomes.iter().all(|outcome| outcome.failure.is_none());
    let list = [unit];
    if succeeded {
        let [unit] = &list;
        units::run_jobs(bus, &[(JobKind::Stop, unit.clone())]).await?;
    } else {
        units::reset_failed(bus, &list).await?;
    }
    Ok(succeeded)
}
