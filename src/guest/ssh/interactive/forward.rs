//! Ports of this machine's loopback that lead to ports of the guest's loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream};

use super::InteractiveError;
use crate::guest::ssh::session::{self, Session, lost};
use crate::guest::ssh::{CONNECT, within};
use crate::guest::{GuestAddress, GuestError};

const FORWARD: &str = "forward a port";

/// A port here and the port of the guest that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPair {
    /// Port of `127.0.0.1`; 0 picks a free one.
    pub local: u16,
    /// Port of the guest.
    pub guest: u16,
}

/// Local ports that lead into the guest, over one connection.
pub struct Forward {
    session: Arc<Session>,
    doors: Vec<Door>,
}

/// One local port.
struct Door {
    listener: TcpListener,
    guest_port: u16,
}

impl Forward {
    /// Listens on the local ports, all or none, and connects.
    ///
    /// # Errors
    /// `Here` when a port is taken, else as a connection.
    pub async fn open(address: &GuestAddress, ports: &[PortPair]) -> Result<Self, InteractiveError> {
        let mut doors = Vec::new();
        for pair in ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, pair.local)).await;
            let listener = listener.map_err(|source| InteractiveError::Here {
                what: format!(
                    "port {} of 127.0.0.1 cannot be used, give another one",
                    pair.local
                ),
                source,
            })?;
            doors.push(Door {
                listener,
                guest_port: pair.guest,
            });
        }
        let session = within(FORWARD, CONNECT, session::open(address)).await?;
        Ok(Self {
            session: Arc::new(session),
            doors,
        })
    }

    /// Where it listens, and the guest's ports that these lead to.
    pub fn ports(&self) -> Vec<(SocketAddr, u16)> {
        let bound = |door: &Door| Some((door.listener.local_addr().ok()?, door.guest_port));
        self.doors.iter().filter_map(bound).collect()
    }

    /// Serves connections until the guest is gone, which is the error it ends with.
    pub async fn serve(&self) -> InteractiveError {
        let doors = self.doors.iter().map(|door| door.serve(&self.session));
        let mut doors: FuturesUnordered<_> = doors.collect();
        tokio::select! {
            () = self.session.ended() => lost(FORWARD, "the guest closed the connection").into(),
            Some(error) = doors.next() => error,
        }
    }

    /// Says goodbye to the guest; connections end.
    pub async fn close(&self) {
        self.session.close().await;
    }
}

impl Door {
    async fn serve(&self, session: &Arc<Session>) -> InteractiveError {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(source) => {
                    return InteractiveError::Here {
                        what: "no more connections can be taken".into(),
                        source,
                    };
                }
            };
            let session = Arc::clone(session);
            let guest_port = self.guest_port;
            // One refused connection, as when nothing listens in the guest, leaves the others alone.
            tokio::spawn(async move {
                if let Err(error) = carry(&session, stream, peer, guest_port).await {
                    tracing::warn!("{error}");
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
    // A side that hangs up in the middle is the business of the two ends.
    if let Err(error) = tokio::io::copy_bidirectional(&mut stream, &mut channel).await {
        tracing::debug!(guest_port, "a forwarded connection ended: {error}");
    }
    Ok(())
}
