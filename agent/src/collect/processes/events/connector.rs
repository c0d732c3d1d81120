//! The process connector of the kernel: a netlink socket on which it tells every fork, exec and exit
//! (drivers/connector/cn_proc.c, linux/cn_proc.h). Takes CAP_NET_ADMIN before Linux 6.6, and always the
//! host's own network, process and user namespaces.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use async_trait::async_trait;
use rustix::io::Errno;
use rustix::net::netlink::{CONNECTOR, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::{Event, EventSource};

/// `CN_IDX_PROC`, also the multicast group, and `CN_VAL_PROC`.
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// Length of `struct nlmsghdr` and of `struct cn_msg`.
const HEADERS: usize = 16 + 20;
/// Where the event's own data begin: after `what`, `cpu` and `timestamp_ns`.
const DATA: usize = HEADERS + 16;
// `enum proc_cn_event`
const NONE: u32 = 0;
const FORK: u32 = 1;
const EXEC: u32 = 2;
const EXIT: u32 = 0x8000_0000;
/// Room for a burst of about ten thousand processes.
const BUFFER: usize = 8 * 1024 * 1024;
/// The kernel acknowledges at once, or is silent where it tells nothing.
const ACKNOWLEDGED: Duration = Duration::from_secs(1);
/// Most events that are handed over together.
const TOGETHER: usize = 1024;

/// The socket, on which the kernel has agreed to tell. Tokio has no netlink socket; of a datagram
/// socket it only uses the file descriptor here, to wait for it.
pub struct Connector(UnixDatagram);

impl Connector {
    /// Asks the kernel to tell; the error is for people. Needs a Tokio runtime.
    pub async fn open() -> Result<Self, String> {
        let socket = socket().map_err(|error| io::Error::from(error).to_string())?;
        let socket = UnixDatagram::from_std(socket.into()).map_err(|error| error.to_string())?;
        match timeout(ACKNOWLEDGED, acknowledged(&socket)).await {
            Ok(Ok(())) => Ok(Self(socket)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the kernel does not answer; this is not the host's own namespace".into()),
        }
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(CONNECTOR))?;
    // Beyond the system's limit it takes CAP_NET_ADMIN; less room loses events, which is told.
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
    }
    net::bind(&socket, &SocketAddrNetlink::new(0, PROC))?;
    net::send(&socket, &request(), SendFlags::empty())?;
    Ok(socket)
}

/// `struct nlmsghdr`, `struct cn_msg` and the operation.
fn request() -> Vec<u8> {
    let length = u32::try_from(HEADERS + 4).unwrap_or(0);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(DONE.to_ne_bytes());
    bytes.extend([0; 2 + 4 + 4]);
    bytes.extend(PROC.to_ne_bytes());
    bytes.extend(PROC.to_ne_bytes());
    bytes.extend([0; 4 + 4]);
    bytes.extend(4u16.to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(LISTEN.to_ne_bytes());
    bytes
}

async fn acknowledged(socket: &UnixDatagram) -> io::Result<()> {
    loop {
        socket.readable().await?;
        match receive(socket) {
            Ok(message) => match acknowledgement(&message) {
                Some(0) => return Ok(()),
                Some(error) => return Err(io::Error::from_raw_os_error(error)),
                None => {}
            },
            // Others may have been told much meanwhile.
            Err(error) if passes(&error) || lost(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Nothing is there any more, or a signal came.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The kernel told more than there was room for.
fn lost(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error())
}

/// The next message of the kernel; empty when it is of anybody else, who may send here too.
fn receive(socket: &UnixDatagram) -> io::Result<Vec<u8>> {
    socket.try_io(Interest::READABLE, || {
        let mut bytes = [0u8; 256];
        let (length, _, sender) = net::recvfrom(socket, &mut bytes, RecvFlags::DONTWAIT)?;
        let sender = sender.and_then(|any| SocketAddrNetlink::try_from(any).ok());
        let kernel = sender.is_some_and(|sender| sender.pid() == 0);
        Ok(bytes
            .get(..length)
            .filter(|_| kernel)
            .unwrap_or_default()
            .to_vec())
    })
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Which event, of a message of the process connector.
fn what(message: &[u8]) -> Option<u32> {
    let ours = word(message, 16)? == PROC && word(message, 20)? == PROC;
    word(message, HEADERS).filter(|_| ours)
}

/// The error number of an acknowledgement; 0 is agreement.
pub fn acknowledgement(message: &[u8]) -> Option<i32> {
    let error = (what(message)? == NONE).then(|| word(message, DATA))??;
    i32::try_from(error).ok()
}

/// The event in a message; none for threads and what is of no interest.
pub fn event(message: &[u8]) -> Option<Event> {
    let process = |pid: usize, group: usize| {
        let (pid, group) = (word(message, DATA + pid)?, word(message, DATA + group)?);
        i32::try_from(group).ok().filter(|_| pid == group)
    };
    match what(message)? {
        FORK => process(8, 12).map(Event::Started),
        // Whichever thread calls it, the process goes on.
        EXEC => i32::try_from(word(message, DATA + 4)?).ok().map(Event::Executed),
        EXIT => process(0, 4).map(Event::Ended),
        _ => None,
    }
}

#[async_trait]
impl EventSource for Connector {
    fn name(&self) -> &'static str {
        "Connector"
    }

    async fn next(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            if self.0.readable().await.is_err() {
                return std::future::pending().await;
            }
            while events.len() < TOGETHER {
                match receive(&self.0) {
                    Ok(message) => events.extend(event(&message)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if passes(&error) => {}
                    Err(error) if lost(&error) => events.push(Event::Lost),
                    // The scan goes on without it.
                    Err(_) => return std::future::pending().await,
                }
            }
            if !events.is_empty() {
                return events;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the kernel sends it.
    fn message(what: u32, data: [u32; 5]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        for word in [PROC, PROC, 0, 0, 40, what, 0, 0, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(data.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn processes_are_told_from_their_threads() {
        for (bytes, expected) in [
            (message(FORK, [1, 1, 42, 42, 0]), Some(Event::Started(42))),
            (message(FORK, [1, 1, 43, 42, 0]), None),
            (message(EXEC, [43, 42, 0, 0, 0]), Some(Event::Executed(42))),
            (message(EXIT, [42, 42, 0, 17, 1]), Some(Event::Ended(42))),
            (message(EXIT, [43, 42, 0, 17, 1]), None),
            (message(0x200, [42, 42, 0, 0, 0]), None),
        ] {
            assert_eq!(event(&bytes), expected);
        }
    }

    #[test]
    fn broken_messages_tell_nothing() {
        let whole = message(EXEC, [42, 42, 0, 0, 0]);
        for length in 0..DATA + 8 {
            assert_eq!(event(&whole[..length]), None, "{length}");
        }
        let mut other = whole.clone();
        other[16] = 9;
        assert_eq!(event(&other), None);
        assert_eq!(event(&message(EXIT, [u32::MAX; 5])), None);
        assert_eq!(acknowledgement(&message(NONE, [1, 0, 0, 0, 0])), Some(1));
        assert_eq!(acknowledgement(&whole), None);
    }
}
