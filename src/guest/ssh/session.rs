//! An authenticated SSH session: TCP, host key, login, in this order.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::ssh_key::{HashAlg, PublicKey};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure, Disconnect, Preferred};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::guest::{GuestAddress, GuestError};

/// Longest time for a TCP connection to one address.
const TCP: Duration = Duration::from_secs(5);
/// TCP's own keepalives notice a dead peer: an idle connection carries no SSH byte.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Unacknowledged data for so long ends the connection (TCP_USER_TIMEOUT, tcp(7)).
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Bytes that went over a connection, and whether a call on it was lost.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    lost: AtomicBool,
}

impl Meter {
    /// Passes a call's result on; after a lost call the connection is not used again, since the
    /// answer may still come and the guest may hang.
    pub(super) fn note<T>(&self, result: Result<T, GuestError>) -> Result<T, GuestError> {
        if matches!(result, Err(GuestError::Lost { .. })) {
            self.lost.store(true, Ordering::Relaxed);
        }
        result
    }
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

    /// A channel to a TCP port that the guest reaches.
    pub(super) async fn tunnel(
        &self,
        call: &'static str,
        target: IpAddr,
        port: u16,
        origin: SocketAddr,
    ) -> Result<Channel<client::Msg>, GuestError> {
        let (ip, from) = (target.to_string(), origin.ip().to_string());
        self.handle
            .channel_open_direct_tcpip(ip, u32::from(port), from, u32::from(origin.port()))
            .await
            .map_err(|error| match error {
                russh::Error::ChannelOpenFailure(reason) => GuestError::Failed {
                    call,
                    message: match reason {
                        ChannelOpenFailure::ConnectFailed => {
                            format!("nothing listens on port {port} of its loopback")
                        }
                        ChannelOpenFailure::AdministrativelyProhibited => {
                            "its sshd does not allow it: authorized_keys must say port-forwarding".into()
                        }
                        reason => format!("port {port} is refused: {reason:?}"),
                    },
                },
                error => lost(call, error),
            })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed() && !self.meter.lost.load(Ordering::Relaxed)
    }

    /// Waits for the end of the connection; looks once a second.
    pub(super) async fn ended(&self) {
        while self.is_open() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
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
    let mut refusal: Option<GuestError> = None;
    for ip in &address.addresses {
        match open_at(*ip, address).await {
            Ok(session) => return Ok(session),
            // Another machine may have taken the address: the next one may be right, and one that
            // does not answer now may be right later.
            Err(error) if refusal.is_none() || error.is_transient() => refusal = Some(error),
            Err(_) => {}
        }
    }
    Err(refusal.unwrap_or_else(|| GuestError::Unreachable {
        address: "no address".into(),
        message: "the VM has no address yet".into(),
    }))
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
    tune(&stream).map_err(|error| unreachable(&error))?;
    let meter = Arc::<Meter>::default();
    let metered = Metered {
        stream,
        meter: Arc::clone(&meter),
    };
    let key = pinned(&address.host_key)?;
    let config = Arc::new(config(&key));
    let mut handle = client::connect_stream(config, metered, Pinned { key, at })
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

/// No SSH keepalive: see [`KEEPALIVE`]. Only the pinned key's algorithm is offered, so that a guest
/// with several host keys shows that one.
fn config(pinned: &PublicKey) -> client::Config {
    client::Config {
        preferred: Preferred {
            key: vec![pinned.algorithm()].into(),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
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
