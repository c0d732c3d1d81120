//! An authenticated SSH session: TCP, host key, login, in this order.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::ssh_key::{HashAlg, PublicKey};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::guest::{GuestAddress, GuestError};

/// Longest time for a TCP connection to one address.
const TCP: Duration = Duration::from_secs(5);
/// A dead peer is noticed after three unanswered keepalives.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Bytes that went over a connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// A session after its login.
pub(super) struct Session {
    handle: Handle<Pinned>,
    pub(super) meter: Arc<Meter>,
}

impl Session {
    /// A new channel.
    pub(super) async fn channel(&self, call: &'static str) -> Result<Channel<client::Msg>, GuestError> {
        self.handle
            .channel_open_session()
            .await
            .map_err(|error| lost(call, error))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Says goodbye; a peer that is gone already does not matter.
    pub(super) async fn close(&self) {
        let _gone = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }
}

/// A lost connection during `call`.
pub(super) fn lost(call: &'static str, error: impl std::fmt::Display) -> GuestError {
    GuestError::Lost {
        call,
        message: safetytwin_crds::names::printable(&error.to_string(), 200),
    }
}

/// Tries the addresses in turn until the pinned host key answers and takes the login.
///
/// # Errors
/// Unreachable when no address answers, HostKeyRefused or LoginRefused when the right or another guest says no.
pub(super) async fn open(address: &GuestAddress) -> Result<Session, GuestError> {
    let mut last = GuestError::Unreachable {
        address: "no address".into(),
        message: "the VM has no address yet".into(),
    };
    for ip in &address.addresses {
        match open_at(*ip, address).await {
            Ok(session) => return Ok(session),
            // Another machine may have taken the address: the next one may be right.
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open_at(ip: IpAddr, address: &GuestAddress) -> Result<Session, GuestError> {
    let at = SocketAddr::new(ip, address.port);
    let unreachable = |error: &dyn std::fmt::Display| GuestError::Unreachable {
        address: at.to_string(),
        message: safetytwin_crds::names::printable(&error.to_string(), 200),
    };
    let stream = match tokio::time::timeout(TCP, TcpStream::connect(at)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(&error)),
        Err(_) => return Err(unreachable(&format!("no answer within {} s", TCP.as_secs()))),
    };
    stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
    let meter = Arc::<Meter>::default();
    let metered = Metered {
        stream,
        meter: Arc::clone(&meter),
    };
    let handler = Pinned {
        key: pinned(&address.host_key)?,
        at,
    };
    let mut handle = client::connect_stream(Arc::new(config()), metered, handler)
        .await
        .map_err(|refusal| refusal.0)?;
    let key = PrivateKey::from_openssh(&address.private_key).map_err(|error| GuestError::Failed {
        call: "read the twin's key",
        message: error.to_string(),
    })?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let answer = handle
        .authenticate_publickey(address.user.clone(), key)
        .await
        .map_err(|error| unreachable(&error))?;
    if answer.success() {
        Ok(Session { handle, meter })
    } else {
        Err(GuestError::LoginRefused {
            address: at.to_string(),
        })
    }
}

fn config() -> client::Config {
    client::Config {
        nodelay: true,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        ..client::Config::default()
    }
}

fn pinned(text: &str) -> Result<PublicKey, GuestError> {
    PublicKey::from_openssh(text).map_err(|error| GuestError::Failed {
        call: "read the pinned host key",
        message: error.to_string(),
    })
}

/// Accepts exactly one host key.
struct Pinned {
    key: PublicKey,
    at: SocketAddr,
}

/// Why a session was not opened.
#[derive(Debug)]
struct Refusal(GuestError);

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Self(GuestError::Unreachable {
            address: "the guest".into(),
            message: safetytwin_crds::names::printable(&error.to_string(), 200),
        })
    }
}

impl client::Handler for Pinned {
    type Error = Refusal;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        let found = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.key.key_data() => {
                return Ok(true);
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256).to_string(),
            PublicKeyOrCertificate::Certificate(_) => "a certificate".into(),
        };
        Err(Refusal(GuestError::HostKeyRefused {
            address: self.at.to_string(),
            found,
        }))
    }
}

/// A TCP stream that counts.
struct Metered {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len().saturating_sub(before);
        self.meter.received.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.meter.sent.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
