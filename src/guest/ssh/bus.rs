//! D-Bus of the guest's service manager over an SSH channel.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::names::printable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::connection::{AuthMechanism, Builder};
use zbus::{Connection, DBusError as _, DynamicType, Type, fdo};

use super::session::{Meter, Session, lost};
use crate::guest::GuestError;

/// Connects its standard streams to the system bus (systemd-stdio-bridge(1)).
pub(super) const BRIDGE: &str = "systemd-stdio-bridge";
/// The same for an adopted guest's user, one of the two commands that its sudoers allows.
const SUDO_BRIDGE: &str = "sudo -n systemd-stdio-bridge";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// Longest time for one call; a daemon-reload of a big guest under emulation takes 20 s.
const CALL: Duration = Duration::from_secs(60);
/// Calls in flight; the message bus lets 128 replies be owed to one connection
/// (`max_replies_per_connection`, dbus-daemon(1)).
const IN_FLIGHT: usize = 64;
/// Longest message that is read; the list of all units is some 400 KiB.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// A connection to the guest's system bus.
#[derive(Clone)]
pub(super) struct Bus {
    pub(super) connection: Connection,
    in_flight: Arc<Semaphore>,
    meter: Arc<Meter>,
}

impl Bus {
    pub(super) async fn open(session: &Session, login: &str) -> Result<Self, GuestError> {
        const STEP: &str = "open the guest's D-Bus";
        let channel = session.channel(STEP).await?;
        let bridge = if login == "root" { BRIDGE } else { SUDO_BRIDGE };
        channel
            .exec(true, bridge)
            .await
            .map_err(|error| lost(STEP, error))?;
        let builder = Builder::socket(Pipe(channel.into_stream()))
            .auth_mechanism(AuthMechanism::External)
            .method_timeout(CALL)
            // Else the uid of this process would be sent, which the guest does not know.
            .user_id(0);
        let connection = builder.build().await.map_err(|error| lost(STEP, error))?;
        let bus = Self {
            connection,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            meter: Arc::clone(&session.meter),
        };
        bus.manage::<(), _>("Subscribe", &()).await?;
        Ok(bus)
    }

    /// A method of the service manager.
    pub(super) async fn manage<R, B>(&self, member: &'static str, body: &B) -> Result<R, GuestError>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType + Sync,
    {
        self.call(PATH, MANAGER, member, body).await
    }

    /// A method of any object of the service manager.
    pub(super) async fn call<R, B>(
        &self,
        path: &str,
        interface: &'static str,
        member: &'static str,
        body: &B,
    ) -> Result<R, GuestError>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType + Sync,
    {
        let _turn = self
            .in_flight
            .acquire()
            .await
            .map_err(|error| lost(member, error))?;
        let called = self
            .connection
            .call_method(Some(SYSTEMD), path, Some(interface), member, body)
            .await;
        let reply = self.note(called.map_err(|error| refused(member, error)))?;
        // Another type than the interface's is the guest's lie, not a lost connection.
        reply.body().deserialize().map_err(|error| GuestError::Failed {
            call: member,
            message: printable(&format!("the answer has another type: {error}"), 300),
        })
    }

    /// Passes a result on; a lost call ends the connection.
    pub(super) fn note<T>(&self, result: Result<T, GuestError>) -> Result<T, GuestError> {
        self.meter.note(result)
    }

    pub(super) async fn close(&self) {
        let _gone = self.connection.clone().close().await;
    }
}

/// Whether the service manager does not have the unit in memory.
pub(super) fn is_no_such_unit(error: &GuestError) -> bool {
    is_named(error, "org.freedesktop.systemd1.NoSuchUnit")
}

/// Whether there is no such unit file.
pub(super) fn is_no_such_file(error: &GuestError) -> bool {
    is_named(error, "org.freedesktop.DBus.Error.FileNotFound")
        || is_named(error, "org.freedesktop.systemd1.NoSuchUnit")
}

/// Failures of this module begin with the error's D-Bus name.
fn is_named(error: &GuestError, name: &str) -> bool {
    matches!(error, GuestError::Failed { message, .. } if message.split(':').next() == Some(name))
}

fn refused(call: &'static str, error: zbus::Error) -> GuestError {
    let (name, text) = match &error {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.clone().unwrap_or_default()),
        zbus::Error::FDO(error) => match **error {
            fdo::Error::ZBus(_)
            | fdo::Error::NoReply(_)
            | fdo::Error::Timeout(_)
            | fdo::Error::TimedOut(_)
            | fdo::Error::Disconnected(_) => return lost(call, error),
            _ => (
                error.name().to_string(),
                error.description().unwrap_or_default().to_owned(),
            ),
        },
        other => return lost(call, other),
    };
    GuestError::Failed {
        call,
        message: printable(&format!("{name}: {text}"), 300),
    }
}

/// An SSH channel as a D-Bus socket.
struct Pipe<S>(S);

impl<S> fmt::Debug for Pipe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

impl<S> Socket for Pipe<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + 'static,
{
    type ReadHalf = Reader<S>;
    type WriteHalf = Writer<S>;

    fn split(self) -> Split<Reader<S>, Writer<S>> {
        let (read, write) = tokio::io::split(self.0);
        Split::new(Reader(read), Writer(write))
    }
}

struct Reader<S>(tokio::io::ReadHalf<S>);

impl<S> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

#[async_trait]
impl<S> ReadHalf for Reader<S>
where
    S: tokio::io::AsyncRead + Send + Sync + 'static,
{
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        // The buffer is as long as what is left of the message that the guest announced.
        if buffer.len() > MAX_MESSAGE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the guest announced too long a message",
            ));
        }
        Ok((self.0.read(buffer).await?, Vec::new()))
    }
}

struct Writer<S>(tokio::io::WriteHalf<S>);

impl<S> fmt::Debug for Writer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

#[async_trait]
impl<S> WriteHalf for Writer<S>
where
    S: tokio::io::AsyncWrite + Send + Sync + 'static,
{
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
