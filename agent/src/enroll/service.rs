//! The package's systemd service, enabled and started through D-Bus: nothing is forked.

use std::path::PathBuf;

use anyhow::Context;

use crate::collect::bus::{Bus, manage};

/// Name of the service.
pub const UNIT: &str = "twin-agent.service";

/// Enables it and starts it, or starts it again.
///
/// # Errors
/// The package's unit is not installed, or systemd is not reached; the enrolment itself stays.
pub async fn start() -> anyhow::Result<()> {
    let asked = "this host is enrolled, but twin-agent.service is not started: install the package safetytwin-agent, or give --no-start";
    let bus = Bus::new(PathBuf::from("/run/dbus/system_bus_socket"));
    let connection = bus.connection().await.context(asked)?;
    let for_ever_over_others = (&[UNIT][..], false, true);
    manage(&connection, "EnableUnitFiles", &for_ever_over_others)
        .await
        .context(asked)?;
    manage(&connection, "Reload", &()).await.context(asked)?;
    manage(&connection, "RestartUnit", &(UNIT, "replace"))
        .await
        .context(asked)?;
    Ok(())
}
