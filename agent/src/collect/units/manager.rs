//! Calls of systemd's manager object (org.freedesktop.systemd1(5)), typed. None loads a unit.

use futures::{Stream, StreamExt};
use zbus::Connection;

use super::variant::Map;
use crate::collect::CollectError;
use crate::collect::bus::{self, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, unit_path};

/// How many questions about single units are under way at once.
const PIPELINE: usize = 8;

/// The manager's own properties that are defaults of units': limits and accounting.
pub async fn defaults(connection: &Connection) -> Result<Map, CollectError> {
    let mut map = get_all(connection, MANAGER_PATH, MANAGER).await?;
    // The others count jobs and name times: never twice the same.
    map.retain(|property, _| property.starts_with("Default"));
    Ok(map)
}

/// Properties of units that are loaded, asked for in this order, in the order of the replies.
pub fn properties(
    connection: &Connection,
    units: Vec<String>,
) -> impl Stream<Item = (String, Result<Map, CollectError>)> + Send + '_ {
    let reads = units.into_iter().map(move |name| async move {
        // An empty interface asks for the properties of all interfaces, as systemctl does.
        let map = get_all(connection, &unit_path(&name), "").await;
        (name, map)
    });
    futures::stream::iter(reads).buffer_unordered(PIPELINE)
}

/// `UnitFileState` of units, which systemd reads from disk, in the order of the replies.
pub fn unit_file_states(
    connection: &Connection,
    units: Vec<String>,
) -> impl Stream<Item = (String, Result<String, CollectError>)> + Send + '_ {
    let questions = units.into_iter().map(move |name| async move {
        let reply = bus::manage(connection, "GetUnitFileState", &(&name,)).await;
        let state = reply.and_then(|reply| bus::body(&reply, "GetUnitFileState"));
        (name, state)
    });
    futures::stream::iter(questions).buffer_unordered(PIPELINE)
}

async fn get_all(connection: &Connection, path: &str, interface: &str) -> Result<Map, CollectError> {
    let reply = bus::call(connection, SYSTEMD, path, PROPERTIES, "GetAll", &(interface,)).await?;
    bus::body(&reply, "GetAll")
}
