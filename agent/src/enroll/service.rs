//! The package's systemd service, enabled and started through D-Bus: nothing is forked.

use std::path::PathBuf;

use anyhow::Context;
use zbus::zvariant::OwnedObjectPath;

use crate::collect::bus::{Bus, MANAGER, MANAGER_PATH, SYSTEMD};

/// Name of the service.
pub const UNIT: &str = "twin-agent.service";

/// Enables it and starts it, or starts it again.
///
/// # Errors
/// The package's unit is not installed, or systemd is not reached; the enrolment itself stays.
pub async fn start() -> anyhow::Result<()> {
    let bus = Bus::new(PathBuf::from("/run/dbus/system_bus_socket"));
    let connection = bus
        .connection()
        .await
        .context("this host is enrolled, and its agent is not started")?;
    let manager = zbus::Proxy::new(&connection, SYSTEMD, MANAGER_PATH, MANAGER)
        .await
        .context("failed to reach systemd")?;
    let asked = || {
        format!(
            "this host is enrolled, and {UNIT} is not started: install the package safetytwin-agent, or give --no-start"
        )
    };
    let (_, _): (bool, Vec<(String, String, String)>) = manager
        .call("EnableUnitFiles", &(&[UNIT][..], false, true))
        .await
        .with_context(asked)?;
    manager
        .call::<_, _, ()>("Reload", &())
        .await
        .context("failed to reload systemd")?;
    let _job: OwnedObjectPath = manager
        .call("RestartUnit", &(UNIT, "replace"))
        .await
        .with_context(asked)?;
    Ok(())
}
