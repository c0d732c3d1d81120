//! One connection to the host's system bus, shared by the collectors that need it.
//!
//! Invariant: no call starts anything. The service manager is asked only when it owns its name,
//! and a unit is read only when it is loaded (`GetUnit` loads nothing; a property of an unloaded
//! unit would load it, systemd#4095).

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant};

use super::CollectError;

/// Bus name of the service manager.
pub const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its manager object.
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// Interface of the manager object.
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// Interface of every unit object.
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// Standard interface for properties.
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// A call may cost a busy, emulated machine's service manager that long; each collector has a budget of its own.
const DEADLINE: Duration = Duration::from_secs(60);

/// The system bus behind a socket. Cloning shares the connection.
#[derive(Clone)]
pub struct Bus {
    socket: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Bus {
    /// Connects on first use.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            connection: Arc::default(),
        }
    }

    /// The open connection, or a new one.
    ///
    /// # Errors
    /// Unavailable when there is no bus, or no systemd on it.
    pub async fn connection(&self) -> Result<Connection, CollectError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.connect().await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connection, CollectError> {
        let socket = self.socket.display();
        let stream = UnixStream::connect(&self.socket).map_err(|error| {
            CollectError::Unavailable(format!(
                "systemd is not reachable: no system bus at {socket}: {error}"
            ))
        })?;
        let connection = zbus::connection::Builder::unix_stream(stream)
            .method_timeout(DEADLINE)
            .build()
            .await
            .map_err(|source| CollectError::Bus {
                call: "Hello",
                source,
            })?;
        let message = call(
            &connection,
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "NameHasOwner",
            &(SYSTEMD,),
        )
        .await?;
        let owned: bool = body(&message, "NameHasOwner")?;
        if owned {
            Ok(connection)
        } else {
            Err(CollectError::Unavailable(
                "systemd is not the service manager of this host".into(),
            ))
        }
    }

    /// `ActiveState` of a unit that is loaded; none when it is not. Loads nothing.
    pub async fn active_state(&self, unit: &str) -> Result<Option<String>, CollectError> {
        let connection = self.connection().await?;
        let Some(path) = loaded_unit(&connection, unit).await? else {
            return Ok(None);
        };
        let message = call(
            &connection,
            SYSTEMD,
            path.as_str(),
            PROPERTIES,
            "Get",
            &(UNIT, "ActiveState"),
        )
        .await?;
        let value: OwnedVariant = body(&message, "Get")?;
        Ok(super::units::properties::text(&value))
    }
}

/// Object path of a unit if it is loaded.
pub async fn loaded_unit(
    connection: &Connection,
    unit: &str,
) -> Result<Option<OwnedObjectPath>, CollectError> {
    match call(connection, SYSTEMD, MANAGER_PATH, MANAGER, "GetUnit", &(unit,)).await {
        Ok(message) => body(&message, "GetUnit").map(Some),
        Err(CollectError::Bus {
            source: zbus::Error::MethodError(name, _, _),
            ..
        }) if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit" => Ok(None),
        Err(error) => Err(error),
    }
}

/// A call of the service manager's manager object.
pub async fn manage<B>(
    connection: &Connection,
    member: &'static str,
    args: &B,
) -> Result<Message, CollectError>
where
    B: Serialize + DynamicType,
{
    call(connection, SYSTEMD, MANAGER_PATH, MANAGER, member, args).await
}

/// A method call with the connection's deadline.
pub async fn call<B>(
    connection: &Connection,
    destination: &str,
    path: &str,
    interface: &str,
    member: &'static str,
    args: &B,
) -> Result<Message, CollectError>
where
    B: Serialize + DynamicType,
{
    connection
        .call_method(Some(destination), path, Some(interface), member, args)
        .await
        .map_err(|source| CollectError::Bus { call: member, source })
}

/// The arguments of a reply.
pub fn body<T>(message: &Message, call: &'static str) -> Result<T, CollectError>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    message
        .body()
        .deserialize::<T>()
        .map_err(|source| CollectError::Bus { call, source })
}
