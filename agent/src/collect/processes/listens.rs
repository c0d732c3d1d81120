//! Listening sockets of the host's network namespace, by inode (proc_net(5)).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use super::sock_diag::SockDiag;
use crate::hostroot::{HostRoot, read_plain};

/// What is read of a table at a time.
const CHUNK: usize = 16 * 1024;
/// Tables with the `st` of a listening TCP socket, and of an unconnected UDP one.
const TCP: [(&str, &str); 2] = [("tcp", "0A"), ("tcp6", "0A")];
const UDP: [(&str, &str); 2] = [("udp", "07"), ("udp6", "07")];
/// The kernel's own default of `ip_local_port_range` (ip(7)).
const LENT: RangeInclusive<u16> = 32_768..=60_999;

/// Inode to `tcp:0.0.0.0:8080`.
pub type Addresses = HashMap<u64, String>;

/// How many sockets are in use, in files that the kernel has at hand.
const COUNTS: [&str; 2] = ["sockstat", "sockstat6"];
/// While as many are in use, the tables of TCP are read no more often.
const COUNTED: Duration = Duration::from_secs(240);

/// Sockets that listen, as they were read last.
#[derive(Default)]
pub struct Sockets {
    addresses: Addresses,
    /// When anything was last looked at.
    looked: Option<Instant>,
    /// When the tables were read, and how many sockets were in use then.
    tables: Option<(Instant, InUse)>,
    /// Tells those of TCP, where it can.
    diag: SockDiag,
}

impl Sockets {
    /// Reads the tables, unless that is less than `believed` ago; says whether others listen now. Where the kernel walks
    /// the places of all connections that it could have for it, that is not done either while as many sockets are in use;
    /// where nothing is `believed`, it is. Tables that cannot be read say nothing: what was known stays.
    pub fn look(&mut self, root: &HostRoot, now: Instant, believed: Duration) -> bool {
        let fresh = |looked: Instant| now.saturating_duration_since(looked) < believed;
        let read_now = self.tables.as_ref().is_some_and(|(read, _)| *read == now);
        if read_now || self.looked.is_some_and(fresh) {
            return false;
        }
        self.looked = Some(now);
        // Before the tables: what is opened meanwhile is seen the next time.
        let in_use = match self.diag.may_ask(root) {
            true => InUse::new(),
            false => in_use(root.proc()),
        };
        if let Some((read, before)) = &self.tables
            && !believed.is_zero()
            && now.saturating_duration_since(*read) < COUNTED
            && !in_use.is_empty()
            && in_use == *before
        {
            return false;
        }
        self.tables = Some((now, in_use));
        let Ok(addresses) = listening(root, &mut self.diag) else {
            return false;
        };
        let others = addresses != self.addresses;
        self.addresses = addresses;
        others
    }

    /// By inode.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// When they were looked at.
    pub fn looked(&self) -> Option<Instant> {
        self.looked
    }
}

/// Sockets in use in PID 1's network namespace, by protocol; nothing where that cannot be read.
type InUse = Vec<(String, u64)>;

fn in_use(proc: &Path) -> InUse {
    let read = |file| read_plain(&proc.join("1/net").join(file), CHUNK as u64);
    let text: Vec<u8> = COUNTS
        .into_iter()
        .flat_map(|file| read(file).unwrap_or_default())
        .collect();
    // `TCP: inuse 5 orphan 0 …`; what follows moves by itself, and is partly that of all namespaces.
    let count = |line: &str| {
        let (protocol, rest) = line.split_once(": inuse ")?;
        Some((
            protocol.to_owned(),
            rest.split_ascii_whitespace().next()?.parse().ok()?,
        ))
    };
    String::from_utf8_lossy(&text).lines().filter_map(count).collect()
}

/// Those in PID 1's network namespace. A UDP socket on a port that the kernel lends is a client's, which waits for an
/// answer: resolvers open and close them all the time.
fn listening(root: &HostRoot, diag: &mut SockDiag) -> io::Result<Addresses> {
    let proc = root.proc();
    let tcp = match diag.listening() {
        Some(sockets) => sockets,
        None => rows(proc, TCP)?,
    };
    let lent = Lent::read(proc);
    let mut udp = rows(proc, UDP)?;
    udp.retain(|(_, address)| !lent.has(address.port()));
    let named = |protocol: &'static str| move |(inode, address)| (inode, format!("{protocol}:{address}"));
    let tcp = tcp.into_iter().map(named("tcp"));
    Ok(tcp.chain(udp.into_iter().map(named("udp"))).collect())
}

/// The sockets in these tables that are in these states, by inode.
fn rows(proc: &Path, tables: [(&str, &str); 2]) -> io::Result<Vec<(u64, SocketAddr)>> {
    let mut found = Vec::new();
    for (table, state) in tables {
        let file = match File::open(proc.join("1/net").join(table)) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // Line by line: a hundred thousand connections are some 15 MB.
        let mut lines = BufReader::with_capacity(CHUNK, file);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            found.extend(entry(&line, state));
            line.clear();
        }
    }
    Ok(found)
}

/// The ports that the kernel gives to sockets which ask for any (Documentation/networking/ip-sysctl.rst).
struct Lent {
    range: RangeInclusive<u16>,
    /// Ranges within it that it does not give.
    reserved: Vec<RangeInclusive<u16>>,
}

impl Lent {
    fn read(proc: &Path) -> Self {
        let setting = |name: &str| {
            let bytes = read_plain(&proc.join("sys/net/ipv4").join(name), 64 * 1024);
            String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
        };
        let reserved = setting("ip_local_reserved_ports");
        Self {
            range: range(setting("ip_local_port_range").split_ascii_whitespace()).unwrap_or(LENT),
            reserved: reserved
                .trim()
                .split(',')
                .filter_map(|ports| range(ports.split('-')))
                .collect(),
        }
    }

    fn has(&self, port: u16) -> bool {
        self.range.contains(&port) && !self.reserved.iter().any(|reserved| reserved.contains(&port))
    }
}

/// From the first to the last of one port or two.
fn range<'a>(ports: impl Iterator<Item = &'a str>) -> Option<RangeInclusive<u16>> {
    let ports = ports
        .map(|port| port.parse().ok())
        .collect::<Option<Vec<u16>>>()?;
    Some(*ports.first()?..=*ports.last()?)
}

fn entry(line: &str, state: &str) -> Option<(u64, SocketAddr)> {
    // sl, local_address, rem_address, st, …, inode: number 9.
    let mut fields = line.split_ascii_whitespace().skip(1);
    let address = fields.next()?;
    if fields.nth(1)? != state {
        return None;
    }
    let (address, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((fields.nth(5)?.parse().ok()?, SocketAddr::new(ip(address)?, port)))
}

/// Words in the host's byte order, in hex.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        u32::from_str_radix(hex.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0u8; 16];
    for (chunk, at) in bytes.chunks_mut(4).zip((0..32).step_by(8)) {
        chunk.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).into())
}

/// Which of a process's sockets listen, sorted.
pub fn of(inodes: &[u8], listening: &Addresses) -> Vec<String> {
    let text = String::from_utf8_lossy(inodes);
    let inodes = text.split_whitespace().filter_map(|i| i.parse::<u64>().ok());
    let mut found: Vec<String> = inodes.filter_map(|i| listening.get(&i).cloned()).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read_from_the_tables() {
        let line = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1";
        let (inode, address) = entry(line, "0A").unwrap();
        assert_eq!((inode, address.to_string()), (4242, "127.0.0.1:8080".to_owned()));
        assert_eq!(entry(line, "07"), None);
        assert_eq!(ip("00000000000000000000000001000000").unwrap().to_string(), "::1");
        let known = HashMap::from([(4242, "tcp:127.0.0.1:8080".to_owned())]);
        assert_eq!(of(b"1 4242 4242 ", &known), ["tcp:127.0.0.1:8080"]);
    }

    fn root(proc: &tempfile::TempDir) -> HostRoot {
        HostRoot::new("/", proc.path(), "/sys")
    }

    /// A `/proc` whose host has these UDP ports open.
    fn planted(ports: &[u16]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(proc.path().join("1/net")).unwrap();
        write(proc.path(), ports);
        proc
    }

    fn write(proc: &Path, ports: &[u16]) {
        let line = |port: &u16| format!("0: 0100007F:{port:04X} 00000000:0000 07 0 0 0 0 0 {port} 1\n");
        let lines: String = ports.iter().map(line).collect();
        std::fs::write(proc.join("1/net/udp"), format!("header\n{lines}")).unwrap();
    }

    #[test]
    fn a_udp_socket_that_waits_for_an_answer_does_not_listen() {
        let proc = planted(&[53, 32_767, 40_000]);
        let ports = || {
            let mut ports: Vec<String> = listening(&root(&proc), &mut SockDiag::default())
                .unwrap()
                .into_values()
                .collect();
            ports.sort();
            ports
        };
        assert_eq!(
            ports(),
            ["udp:127.0.0.1:32767", "udp:127.0.0.1:53"],
            "the kernel's default"
        );
        let settings = proc.path().join("sys/net/ipv4");
        std::fs::create_dir_all(&settings).unwrap();
        std::fs::write(settings.join("ip_local_port_range"), "1024\t65535\n").unwrap();
        assert_eq!(ports(), ["udp:127.0.0.1:53"]);
        std::fs::write(settings.join("ip_local_reserved_ports"), "32767,39999-40001\n").unwrap();
        assert_eq!(ports().len(), 3, "those are not lent");
    }

    #[test]
    fn the_tables_are_read_when_what_is_known_is_too_old() {
        let (proc, start) = (planted(&[53]), Instant::now());
        let (mut sockets, minute) = (Sockets::default(), Duration::from_secs(60));
        assert!(sockets.look(&root(&proc), start, minute), "never read");
        write(proc.path(), &[53, 69]);
        assert!(!sockets.look(&root(&proc), start + minute / 2, minute));
        assert!(sockets.look(&root(&proc), start + minute / 2, Duration::ZERO));
        let again = sockets.look(&root(&proc), start + minute / 2, Duration::ZERO);
        assert!(!again, "they are of this moment");
        let later = sockets.look(&root(&proc), start + 3 * minute, minute);
        assert!(!later, "the same listen");
        assert_eq!(sockets.addresses().len(), 2);
    }

    #[test]
    fn while_as_many_sockets_are_in_use_the_tables_are_read_every_four_minutes() {
        let (proc, start) = (planted(&[53]), Instant::now());
        let (mut sockets, minute) = (Sockets::default(), Duration::from_secs(60));
        let count = |udp: u64| {
            let text =
                format!("sockets: used {udp}9\nTCP: inuse 1 orphan {udp} tw 2\nUDP: inuse {udp} mem 3\n");
            std::fs::write(proc.path().join("1/net/sockstat"), text).unwrap();
        };
        count(1);
        assert!(sockets.look(&root(&proc), start, minute));
        write(proc.path(), &[69]);
        assert!(!sockets.look(&root(&proc), start + minute, minute), "as many");
        assert!(!sockets.look(&root(&proc), start + 2 * minute, minute));
        assert_eq!(sockets.looked(), Some(start + 2 * minute));
        let now = start + 2 * minute + Duration::from_secs(1);
        assert!(
            sockets.look(&root(&proc), now, Duration::ZERO),
            "nothing is believed"
        );
        write(proc.path(), &[69, 70]);
        count(2);
        assert!(sockets.look(&root(&proc), start + 4 * minute, minute), "one more");
        write(proc.path(), &[69, 71]);
        assert!(!sockets.look(&root(&proc), start + 7 * minute, minute));
        assert!(sockets.look(&root(&proc), start + 8 * minute, minute), "too old");
    }

    #[test]
    fn where_a_table_cannot_be_read_what_was_known_stays() {
        let (proc, start) = (planted(&[53]), Instant::now());
        let mut sockets = Sockets::default();
        assert!(sockets.look(&root(&proc), start, Duration::ZERO));
        std::fs::create_dir(proc.path().join("1/net/tcp")).unwrap();
        assert!(!sockets.look(&root(&proc), start + Duration::from_secs(1), Duration::ZERO));
        assert_eq!(sockets.addresses().len(), 1);
    }
}
