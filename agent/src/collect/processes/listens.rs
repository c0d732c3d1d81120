//! Listening sockets of the host's network namespace, by inode (proc_net(5)).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::hostroot::read_plain;

const LIMIT: u64 = 8 * 1024 * 1024;
/// `st` of a listening TCP socket, and of an unconnected UDP one.
const STATES: [(&str, &str); 4] = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];

/// Inode to `tcp:0.0.0.0:8080`, in PID 1's network namespace.
pub fn listening(proc: &Path) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    for (table, state) in STATES {
        let bytes = read_plain(&proc.join("1/net").join(table), LIMIT).unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines().skip(1) {
            if let Some((inode, address)) = entry(line, state) {
                let protocol = table.trim_end_matches('6');
                found.insert(inode, format!("{protocol}:{address}"));
            }
        }
    }
    found
}

fn entry(line: &str, state: &str) -> Option<(u64, SocketAddr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != state {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((fields.get(9)?.parse().ok()?, SocketAddr::new(ip(address)?, port)))
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
pub fn of(inodes: &[u8], listening: &HashMap<u64, String>) -> Vec<String> {
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
}
