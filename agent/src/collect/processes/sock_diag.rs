//! TCP sockets that listen, as the kernel tells them over netlink (sock_diag(7)). Its table `/proc/net/tcp` is made by a
//! walk over the places of all connections that there could be, millions on a large host; asked here for those that
//! listen, it looks at no other.
//!
//! A kernel that has this in modules would load them for whoever asks. Nothing is loaded for this agent: it asks only
//! where they are loaded, built in, or cannot be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::hostroot::{HostRoot, read_plain};

/// `SOCK_DIAG_BY_FAMILY`, also the type of each answer.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
// Types of messages that are no answers.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
const TCP: u8 = 6;
/// `TCP_LISTEN` as a bit.
const LISTENING: u32 = 1 << 10;
/// Length of `struct nlmsghdr`, and of `struct inet_diag_req_v2` behind it.
const HEADER: usize = 16;
const REQUEST: usize = 56;
/// Where a `struct inet_diag_msg` has the port, the address and the inode.
const PORT: usize = 4;
const ADDRESS: usize = 8;
const INODE: usize = 68;
/// The kernel fills 32 KiB at most.
const BUFFER: usize = 32 * 1024;
/// The modules that answer.
const MODULES: [&str; 2] = ["inet_diag", "tcp_diag"];
const LIST: u64 = 1024 * 1024;

/// Whether the kernel is asked.
#[derive(Default)]
pub enum SockDiag {
    /// Not as long as this is not PID 1's network, or asking would load something.
    #[default]
    NotYet,
    /// It is.
    Asked,
    /// It did not answer, and is not asked again.
    Silent,
}

impl SockDiag {
    /// Whether this process's network is PID 1's, and asking loads nothing. Once it is so it stays so.
    pub fn may_ask(&mut self, root: &HostRoot) -> bool {
        if matches!(self, Self::NotYet) && is_of_host(root) && loads_nothing(root) {
            *self = Self::Asked;
        }
        matches!(self, Self::Asked)
    }

    /// Inodes and addresses of the sockets that listen; none where the kernel may not be asked or does not answer.
    pub fn listening(&mut self) -> Option<Vec<(u64, SocketAddr)>> {
        if !matches!(self, Self::Asked) {
            return None;
        }
        ask().inspect_err(|_| *self = Self::Silent).ok()
    }
}

/// Whether PID 1 has this process's network: its table is the same file.
fn is_of_host(root: &HostRoot) -> bool {
    let inode = |pid: &str| {
        root.proc()
            .join(pid)
            .join("net/tcp")
            .metadata()
            .map(|file| file.ino())
            .ok()
    };
    inode("1").is_some_and(|host| inode("self") == Some(host))
}

/// Whether the modules are there already, or the kernel can load none.
fn loads_nothing(root: &HostRoot) -> bool {
    let Ok(loaded) = read_plain(&root.proc().join("modules"), LIST) else {
        return root.proc().join("sys").is_dir() && !root.proc().join("modules").exists();
    };
    let loaded = String::from_utf8_lossy(&loaded);
    let release = read_plain(&root.proc().join("sys/kernel/osrelease"), 256).unwrap_or_default();
    let release = String::from_utf8_lossy(release.trim_ascii_end()).into_owned();
    let built_in = format!("/lib/modules/{release}/modules.builtin");
    let built_in = root.read(&built_in, LIST).unwrap_or_default();
    let built_in = String::from_utf8_lossy(&built_in);
    MODULES.iter().all(|module| {
        let names = loaded
            .lines()
            .filter_map(|line| line.split_ascii_whitespace().next());
        let file = format!("/{module}.ko");
        names.into_iter().any(|name| name == *module) || built_in.lines().any(|line| line.ends_with(&file))
    })
}

fn ask() -> io::Result<Vec<(u64, SocketAddr)>> {
    let socket = net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    for family in FAMILIES {
        net::send(&socket, &request(family), SendFlags::empty())?;
        while !read(&socket, &mut buffer, &mut found)? {}
    }
    Ok(found)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: u8) -> Vec<u8> {
    let length = u32::try_from(HEADER + REQUEST).unwrap_or(0);
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 0, 0]);
    bytes.extend(LISTENING.to_ne_bytes());
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

/// Reads what the kernel has ready; whether that was the last of it. The kernel answers within the call.
fn read(socket: &OwnedFd, buffer: &mut [u8], found: &mut Vec<(u64, SocketAddr)>) -> io::Result<bool> {
    let (_, length) = net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
    answers(buffer.get(..length).unwrap_or_default(), found)
}

/// The sockets in these messages; whether they end the answer.
fn answers(mut messages: &[u8], found: &mut Vec<(u64, SocketAddr)>) -> io::Result<bool> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    while !messages.is_empty() {
        let length = word(messages, 0)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(broken)?;
        let message = messages
            .get(..length)
            .filter(|_| length >= HEADER)
            .ok_or_else(broken)?;
        match word(message, 4).map(|word| word.to_ne_bytes()) {
            Some([low, high, ..]) => match u16::from_ne_bytes([low, high]) {
                // A list that failed ends with the reason.
                DONE if word(message, HEADER).is_some_and(|number| number.cast_signed() < 0) => {
                    return Err(error(message));
                }
                DONE => return Ok(true),
                ERROR => return Err(error(message)),
                _ => found.extend(message.get(HEADER..).and_then(socket)),
            },
            None => return Err(broken()),
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// What a `struct nlmsgerr` says.
fn error(message: &[u8]) -> io::Error {
    let number = word(message, HEADER).map_or(0, u32::cast_signed);
    io::Error::from_raw_os_error(number.saturating_neg())
}

/// Inode and address of a `struct inet_diag_msg`.
fn socket(message: &[u8]) -> Option<(u64, SocketAddr)> {
    let port = u16::from_be_bytes(message.get(PORT..PORT + 2)?.try_into().ok()?);
    let address: [u8; 16] = message.get(ADDRESS..ADDRESS + 16)?.try_into().ok()?;
    let [a, b, c, d, ..] = address;
    let address = match FAMILIES
        .iter()
        .position(|family| message.first() == Some(family))?
    {
        0 => IpAddr::from(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::from(Ipv6Addr::from(address)),
    };
    Some((word(message, INODE)?.into(), SocketAddr::new(address, port)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_that_listens_is_told_by_the_inode_that_its_process_shows() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert!(address.starts_with('['), "a machine without IPv6 is no failure");
                continue;
            };
            let link = std::fs::read_link(format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&listener)
            ));
            let link = link.unwrap().to_string_lossy().into_owned();
            let expected = listener.local_addr().unwrap();
            let found = ask().unwrap();
            let (inode, _) = found.iter().find(|(_, found)| *found == expected).unwrap();
            assert_eq!(link, format!("socket:[{inode}]"));
        }
    }

    #[test]
    fn nothing_is_asked_where_the_kernel_would_load_a_module_for_it_or_the_network_is_another() {
        let host = tempfile::tempdir().unwrap();
        let root = HostRoot::new(host.path(), host.path().join("proc"), "/sys");
        let write = |path: &str, text: &str| {
            let path = host.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert!(!loads_nothing(&root), "there is no procfs");
        write("proc/sys/kernel/osrelease", "6.1.0\n");
        assert!(loads_nothing(&root), "a kernel without modules");
        write(
            "proc/modules",
            "xtcp_diag 1 0 - Live 0x0\ninet_diag 1 0 - Live 0x0\n",
        );
        assert!(!loads_nothing(&root));
        write(
            "lib/modules/6.1.0/modules.builtin",
            "kernel/net/ipv4/tcp_diag.ko\n",
        );
        assert!(loads_nothing(&root), "one is loaded, the other built in");
        write(
            "proc/modules",
            "tcp_diag 1 0 - Live 0x0\ninet_diag 1 1 tcp_diag, Live 0x0\n",
        );
        write("lib/modules/6.1.0/modules.builtin", "");
        assert!(loads_nothing(&root));
        write("proc/self/net/tcp", "");
        write("proc/1/net/tcp", "");
        assert!(!is_of_host(&root), "two files");
        assert!(!SockDiag::default().may_ask(&root));
        assert!(SockDiag::default().listening().is_none());
        std::fs::remove_file(host.path().join("proc/1/net/tcp")).unwrap();
        std::fs::hard_link(
            host.path().join("proc/self/net/tcp"),
            host.path().join("proc/1/net/tcp"),
        )
        .unwrap();
        assert!(SockDiag::default().may_ask(&root));
    }

    #[test]
    fn broken_answers_are_refused() {
        let mut found = Vec::new();
        let message = |kind: u16, body: &[u8]| {
            let length = u32::try_from(HEADER + body.len()).unwrap();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            bytes
        };
        assert!(answers(&message(DONE, &[]), &mut found).unwrap());
        assert!(answers(&message(DONE, &[0; 4]), &mut found).unwrap());
        let failed = answers(&message(DONE, &(-2i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::NotFound);
        assert!(
            !answers(&message(BY_FAMILY, &[0; 72]), &mut found).unwrap(),
            "of no family"
        );
        let refused = answers(&message(ERROR, &(-1i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let whole = message(BY_FAMILY, &[2; 72]);
        for length in 1..whole.len() {
            assert!(answers(&whole[..length], &mut found).is_err(), "{length}");
        }
        assert!(
            answers(&[0; 16], &mut found).is_err(),
            "a message that has no length"
        );
        assert!(found.is_empty());
        answers(&whole, &mut found).unwrap();
        assert_eq!(found, [(0x0202_0202, "2.2.2.2:514".parse().unwrap())]);
    }
}
