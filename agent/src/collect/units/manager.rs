//! Calls of systemd's manager object (org.freedesktop.systemd1(5)), typed. None loads a unit.

use std::collections::BTreeMap;

use futures::StreamExt;
use zbus::{Connection, OwnedObjectPath};

use super::properties::Map;
use crate::collect::CollectError;
use crate::collect::bus::{self, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD};

/// How many property reads are under way at once.
const PIPELINE: usize = 8;

/// A row of `ListUnits`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Primary name.
    pub name: String,
    /// `LoadState`.
    pub load_state: String,
    /// `ActiveState`.
    pub active_state: String,
    /// `SubState`.
    pub sub_state: String,
    /// Object path.
    pub path: OwnedObjectPath,
}

type Row = (
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

/// All units in memory, aliases left out.
pub async fn list_units(connection: &Connection) -> Result<Vec<Listed>, CollectError> {
    let reply = bus::manage(connection, "ListUnits", &()).await?;
    let rows: Vec<Row> = bus::body(&reply, "ListUnits")?;
    let listed = |(name, _, load_state, active_state, sub_state, following, path, ..): Row| {
        following.is_empty().then_some(Listed {
            name,
            load_state,
            active_state,
            sub_state,
            path,
        })
    };
    Ok(rows.into_iter().filter_map(listed).collect())
}

/// Enablement of all unit files by unit name, read from disk by systemd.
pub async fn list_unit_files(connection: &Connection) -> Result<BTreeMap<String, String>, CollectError> {
    let reply = bus::manage(connection, "ListUnitFiles", &()).await?;
    let rows: Vec<(String, String)> = bus::body(&reply, "ListUnitFiles")?;
    let named = |(path, state): (String, String)| {
        let name = path.rsplit('/').next()?.to_owned();
        // Another name of a unit that is listed itself.
        (state != "alias").then_some((name, state))
    };
    Ok(rows.into_iter().filter_map(named).collect())
}

/// The manager's own properties: defaults of limits, version.
pub async fn defaults(connection: &Connection) -> Result<Map, CollectError> {
    get_all(connection, MANAGER_PATH, MANAGER).await
}

/// Properties of loaded units, in any order. A unit that went meanwhile is left out.
pub async fn properties(
    connection: &Connection,
    units: Vec<(String, OwnedObjectPath)>,
) -> Vec<(String, Map)> {
    let reads = units.into_iter().map(|(name, path)| async move {
        match get_all(connection, path.as_str(), "").await {
            Ok(map) => Some((name, map)),
            Err(error) => {
                tracing::debug!(unit = name, %error, "no properties");
                None
            }
        }
    });
    let replies = futures::stream::iter(reads).buffer_unordered(PIPELINE);
    replies.filter_map(|reply| async { reply }).collect().await
}

/// An empty interface asks for the properties of all interfaces, as systemctl does.
async fn get_all(connection: &Connection, path: &str, interface: &str) -> Result<Map, CollectError> {
    let reply = bus::call(connection, SYSTEMD, path, PROPERTIES, "GetAll", &(interface,)).await?;
    bus::body(&reply, "GetAll")
}
