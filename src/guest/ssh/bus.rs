//! D-Bus of the guest's service manager over an SSH channel.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::connection::{AuthMechanism, Builder};
use zbus::{Connection, DynamicType, Type};

use super::session::{Session, lost};
use crate::guest::GuestError;

/// Connects its standard streams to the system bus (systemd-stdio-bridge(1)).
pub(super) const BRIDGE: &str = "systemd-stdio-bridge";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// Longest time for one call; a daemon-reload of a big guest under emulation takes 20 s.
const CALL: Duration = Duration::from_secs(60);

/// A connection to the guest's system bus.
#[derive(Clone)]
pub(super) struct Bus {
    pub(super) connection: Connection,
}

impl Bus {
    pub(super) async fn open(session: &Session, login: &str) -> Result<Self, GuestError> {
        const STEP: &str = "open the guest's D-Bus";
        let channel = session.channel(STEP).await?;
        channel
            .exec(true, BRIDGE)
            .await
            .map_err(|error| lost(STEP, error))?;
        let builder = Builder::socket(Pipe(channel.into_stream()))
            .auth_mechanism(AuthMechanism::External)
            .method_timeout(CALL);
        // Else the uid of this process would be sent, which the guest does not know.
        let builder = if login == "root" {
            builder.user_id(0)
        } else {
            builder
        };
        let connection = builder.build().await.map_err(|error| lost(STEP, error))?;
        let bus = Self { connection };
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
        let reply = self
            .connection
            .call_method(Some(SYSTEMD), path, Some(interface), member, body)
            .await
            .map_err(|error| refused(member, error))?;
        reply
            .body()
            .deserialize()
            .map_err(|error| refused(member, error.into()))
    }

    pub(super) async fn close(&self) {
        let _gone = self.connection.clone().close().await;
    }
}

/// Name of the D-Bus error in a failure, as in `org.freedesktop.systemd1.NoSuchUnit`.
pub(super) fn is_no_such_unit(error: &GuestError) -> bool {
    matches!(error, GuestError::Failed { message, .. } if message.starts_with("org.freedesktop.systemd1.NoSuchUnit"))
}

fn refused(call: &'static str, error: zbus::Error) -> GuestError {
    match error {
        zbus::Error::MethodError(name, text, _) => GuestError::Failed {
            call,
            message: safetytwin_crds::names::printable(&format!("{name}: {}", text.unwrap_or_default()), 300),
        },
        other => lost(call, other),
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
