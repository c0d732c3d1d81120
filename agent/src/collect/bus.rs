//! One connection to the host's system bus, shared by the collectors that need it.
//!
//! Invariant: no call starts anything. The service manager is asked only when it owns its name,
//! and a unit is read only when it is loaded (a list of units loads nothing; a property of an
//! unloaded unit would load it, systemd#4095).

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath};

use super::CollectError;

/// Bus name of the service manager.
pub const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its manager object.
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// Interface of the manager object.
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// Where its unit objects are.
pub const UNITS_PATH: &str = "/org/freedesktop/systemd1/unit";
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

    /// A bus that is connected already.
    #[cfg(test)]
    pub fn over(connection: Connection) -> Self {
        Self {
            socket: PathBuf::new(),
            connection: Arc::new(Mutex::new(Some(connection))),
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
    ///
    /// # Errors
    /// The call fails.
    pub async fn active_state(&self, unit: &str) -> Result<Option<String>, CollectError> {
        let connection = self.connection().await?;
        let rows = units_named(&connection, &[unit]).await?;
        Ok(rows.into_iter().next().map(|row| row.active_state))
    }
}

/// A unit in memory.
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

/// All units in memory, those left out that follow another.
pub async fn units(connection: &Connection) -> Result<Vec<Listed>, CollectError> {
    listed(&manage(connection, "ListUnits", &()).await?, "ListUnits")
}

/// Those of `names` that are in memory. Names are no patterns: none has a character of one.
pub async fn units_named<S>(connection: &Connection, names: &[S]) -> Result<Vec<Listed>, CollectError>
where
    S: Serialize + DynamicType + zbus::Type,
{
    const CALL: &str = "ListUnitsByPatterns";
    let states: [&str; 0] = [];
    listed(&manage(connection, CALL, &(&states[..], names)).await?, CALL)
}

fn listed(reply: &Message, call: &'static str) -> Result<Vec<Listed>, CollectError> {
    let rows: Vec<Row> = body(reply, call)?;
    let listed = |(name, _, load_state, active_state, sub_state, following, ..): Row| {
        following.is_empty().then_some(Listed {
            name,
            load_state,
            active_state,
            sub_state,
        })
    };
    Ok(rows.into_iter().filter_map(listed).collect())
}

/// Object path of a unit (sd_bus_path_encode(3)): every byte but letters and digits is `_xx` in hex,
/// and a digit at the start.
pub fn unit_path(unit: &str) -> String {
    let mut path = format!("{UNITS_PATH}/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The unit of an object path.
pub fn unit_of(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS_PATH)?.strip_prefix('/')?;
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            let hex = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
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

/// Has the service manager send its signals.
///
/// # Errors
/// The call fails.
pub async fn subscribe(connection: &Connection) -> Result<(), CollectError> {
    match manage(connection, "Subscribe", &()).await {
        // By an earlier attempt on this connection whose answer came too late.
        Err(error) if is_named(&error, "org.freedesktop.systemd1.AlreadySubscribed") => Ok(()),
        answer => answer.map(drop),
    }
}

/// Whether the service manager refused a call with this D-Bus error.
fn is_named(error: &CollectError, expected: &str) -> bool {
    matches!(error, CollectError::Bus { source: zbus::Error::MethodError(name, _, _), .. } if name.as_str() == expected)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_name_their_units_and_back() {
        for (unit, label) in [
            ("dev-disk-by\\x2duuid.swap", "dev_2ddisk_2dby_5cx2duuid_2eswap"),
            ("getty@tty1.service", "getty_40tty1_2eservice"),
            ("1st_a.timer", "_31st_5fa_2etimer"),
        ] {
            let path = format!("{UNITS_PATH}/{label}");
            assert_eq!(unit_path(unit), path);
            assert_eq!(unit_of(&path).as_deref(), Some(unit));
        }
        assert_eq!(unit_of(&format!("{UNITS_PATH}/bad_zz")), None);
        assert_eq!(unit_of("/elsewhere"), None);
    }
}
