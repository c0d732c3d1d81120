//! Runs a program in the guest as a transient unit: typed arguments, no shell, no file, no reload.

use zbus::{OwnedObjectPath, Variant};

use super::bus::Bus;
use super::jobs;
use crate::guest::GuestError;

type Command = (String, Vec<String>, bool);
type Auxiliary<'a> = Vec<(&'a str, Vec<(&'a str, Variant<'a>)>)>;

/// Whether the program ends with exit status 0 within 30 s. `argv[0]` is an absolute path.
///
/// The job of a oneshot unit ends when its program does; the unit is collected then, also a failed
/// one, so nothing stays behind.
pub(super) async fn succeeds(bus: &Bus, argv: &[String]) -> Result<bool, GuestError> {
    let ends = jobs::run_each(bus, vec![start(bus, argv)]).await?;
    Ok(ends.iter().all(Option::is_none))
}

async fn start(bus: &Bus, argv: &[String]) -> Result<Option<OwnedObjectPath>, GuestError> {
    let name = format!("safetytwin-run-{:016x}.service", rand::random::<u64>());
    let program = argv.first().cloned().unwrap_or_default();
    let commands: Vec<Command> = vec![(program, argv.to_vec(), false)];
    let properties: Vec<(&str, Variant<'_>)> = vec![
        ("Type", Variant::from("oneshot")),
        ("CollectMode", Variant::from("inactive-or-failed")),
        ("StandardOutput", Variant::from("null")),
        ("StandardError", Variant::from("journal")),
        ("TimeoutStartUSec", Variant::from(30_000_000_u64)),
        ("ExecStart", Variant::from(commands)),
    ];
    let auxiliary: Auxiliary<'_> = Vec::new();
    let body = (name, "replace", properties, auxiliary);
    bus.manage("StartTransientUnit", &body).await.map(Some)
}
