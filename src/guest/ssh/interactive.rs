//! What people do in a twin: a shell, and local ports that lead into it.
//!
//! The commands `twin ssh` and `twin forward` call these with the twin's key, read with the caller's
//! own rights. The host key is checked as for every other connection. Needs `pty` and
//! `port-forwarding` in the guest's `authorized_keys`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crossterm::terminal;
use russh::{ChannelMsg, Pty};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::session::{self, Session, lost};
use super::within;
use crate::guest::{GuestAddress, GuestError};

const SHELL: &str = "open a shell";
const FORWARD: &str = "forward a port";

/// Gives the terminal back as it was.
struct RawTerminal;

impl RawTerminal {
    fn enter() -> std::io::Result<Self> {
        terminal::enable_raw_mode().map(|()| Self)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _gone = terminal::disable_raw_mode();
    }
}

/// What is typed, from a thread of its own: reading a terminal cannot be given up. It ends with the
/// process.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut bytes = vec![0_u8; 4096];
        while let Ok(read @ 1..) = input.read(&mut bytes) {
            let typed = bytes.get(..read).unwrap_or_default().to_vec();
            if sender.blocking_send(typed).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A login shell on this process's terminal; answers its exit status, 255 when the guest gives none.
///
/// # Errors
/// As a connection; `Failed` when standard input is no terminal.
pub async fn shell(address: &GuestAddress) -> Result<u32, GuestError> {
    let here = |error: std::io::Error| GuestError::Failed {
        call: SHELL,
        message: format!("this terminal cannot be used: {error}"),
    };
    let session = within(SHELL, super::CONNECT, session::open(address)).await?;
    let mut channel = session.channel(SHELL).await?;
    let (columns, rows) = terminal::size().map_err(here)?;
    let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".into());
    let modes: [(Pty, u32); 0] = [];
    let asked = channel
        .request_pty(false, &kind, columns.into(), rows.into(), 0, 0, &modes)
        .await;
    asked.map_err(|error| lost(SHELL, error))?;
    let asked = channel.request_shell(true).await;
    asked.map_err(|error| lost(SHELL, error))?;
    let mut resized = signal(SignalKind::window_change()).map_err(here)?;
    let _raw = RawTerminal::enter().map_err(here)?;
    let mut typed = keyboard();
    let mut output = std::io::stdout();
    let mut typing = true;
    let mut status = 255;
    loop {
        tokio::select! {
            bytes = typed.recv(), if typing => {
                typing = bytes.is_some();
                let sent = match bytes {
                    Some(bytes) => channel.data_bytes(bytes).await,
                    None => channel.eof().await,
                };
                sent.map_err(|error| lost(SHELL, error))?;
            }
            _ = resized.recv() => {
                let (columns, rows) = terminal::size().map_err(here)?;
                let told = channel.window_change(columns.into(), rows.into(), 0, 0).await;
                told.map_err(|error| lost(SHELL, error))?;
            }
            message = channel.wait() => match message {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    output.write_all(&data).map_err(here)?;
                    output.flush().map_err(here)?;
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => status = exit_status,
                None | Some(ChannelMsg::Close) => break,
                Some(_) => {}
            }
        }
    }
    session.close().await;
    Ok(status)
}

/// A port of this machine's loopback that leads to a port of the guest's loopback.
pub struct Forward {
    listener: TcpListener,
    session: Arc<Session>,
    guest_port: u16,
}

impl Forward {
    /// Connects, and listens on `127.0.0.1:local_port`; 0 picks a free port.
    ///
    /// # Errors
    /// As a connection; `Failed` when the port is taken.
    pub async fn open(address: &GuestAddress, local_port: u16, guest_port: u16) -> Result<Self, GuestError> {
        let session = within(FORWARD, super::CONNECT, session::open(address)).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local_port)).await;
        let listener = listener.map_err(|error| GuestError::Failed {
            call: FORWARD,
            message: format!("port {local_port} of 127.0.0.1 cannot be used: {error}"),
        })?;
        Ok(Self {
            listener,
            session: Arc::new(session),
            guest_port,
        })
    }

    /// Where it listens.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves connections until the guest is gone, which is the error it ends with.
    pub async fn serve(self) -> GuestError {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => return lost(FORWARD, error),
            };
            if !self.session.is_open() {
                return lost(FORWARD, "the guest closed the connection");
            }
            let session = Arc::clone(&self.session);
            let guest_port = self.guest_port;
            // One refused connection, as when nothing listens in the guest, leaves the others alone.
            tokio::spawn(async move {
                if let Err(error) = carry(&session, stream, peer, guest_port).await {
                    tracing::warn!(guest_port, "{error}");
                }
            });
        }
    }
}

async fn carry(
    session: &Session,
    mut stream: TcpStream,
    peer: SocketAddr,
    guest_port: u16,
) -> Result<(), GuestError> {
    let target = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let channel = session.tunnel(FORWARD, target, guest_port, peer).await?;
    let mut channel = channel.into_stream();
    let carried = tokio::io::copy_bidirectional(&mut stream, &mut channel).await;
    carried.map(drop).map_err(|error| lost(FORWARD, error))
}
