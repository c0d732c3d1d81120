//! Interfaces with their addresses, as `ip address` shows them, in PID 1's network namespace.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use safetytwin_crds::item::machine::Interface;
use safetytwin_crds::item::observed::ObservedInterface;
use safetytwin_crds::names::printable;

use super::source::{Source, link_name, number, value, word};
use crate::collect::steady::Steady;
use crate::hostroot::read_plain;

const INTERFACES: usize = 256;
const ADDRESSES: usize = 64;
const LIMIT: u64 = 8 * 1024 * 1024;
/// Kinds that stay without hardware of their own; the veths of containers come and go.
const LASTING: [&str; 4] = ["bond", "bridge", "vlan", "wireguard"];
/// `IFA_F_TEMPORARY` (linux/if_addr.h): changes every day by itself.
const TEMPORARY: u8 = 0x01;
/// Scope of an address that is only of its link.
const LINK: u8 = 0x20;

/// Interfaces that stand for hardware, bridges, bonds and VLANs; and what moves of them.
pub fn interfaces(source: &mut Source, steady: &mut Steady) -> (Vec<Interface>, Vec<ObservedInterface>) {
    let ours = in_host_namespace(source.root.proc());
    if !ours {
        source
            .gaps
            .push("the agent is not in the host's network: interfaces and IPv4 addresses are unknown".into());
        return (Vec::new(), Vec::new());
    }
    let addresses4 = addresses4().unwrap_or_else(|error| {
        let gap = format!("failed to ask for IPv4 addresses: {error}");
        source.gaps.push(gap);
        Vec::new()
    });
    let table =
        |file: &str| read_plain(&source.root.proc().join("1/net").join(file), LIMIT).unwrap_or_default();
    let addresses6 = addresses6(&String::from_utf8_lossy(&table("if_inet6")));
    let counters = String::from_utf8_lossy(&table("dev")).into_owned();
    let all = [addresses4, addresses6].concat();
    listed(source, &all, &counters, steady)
}

/// Whether this process is in PID 1's network namespace: a file of procfs that is of a namespace
/// has the same inode for all in it. To ask for the namespace itself takes CAP_SYS_PTRACE.
fn in_host_namespace(proc: &Path) -> bool {
    let inode = |of: &str| {
        rustix::fs::stat(proc.join(of).join("net/dev"))
            .ok()
            .map(|s| s.st_ino)
    };
    inode("1").is_some_and(|host| inode("self") == Some(host))
}

/// Addresses of an interface.
type Addresses = Vec<(String, String)>;

/// No file tells them: two questions to the kernel do, of this process's own network namespace.
fn addresses4() -> nix::Result<Addresses> {
    let v4 = |address: Option<SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
    let named = getifaddrs()?.filter_map(|of| {
        // A label such as `eth0:1` is an address of eth0.
        let name = of.interface_name.split(':').next()?.to_owned();
        let (address, mask): (Ipv4Addr, _) = (v4(of.address)?, v4(of.netmask)?);
        Some((name, format!("{address}/{}", mask.to_bits().count_ones())))
    });
    Ok(named.collect())
}

/// Lines of `if_inet6`: address, interface number, prefix length, scope, flags, name.
fn addresses6(table: &str) -> Addresses {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let byte = |at: usize| u8::from_str_radix(fields.get(at)?, 16).ok();
        let address = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
        let (prefix, scope, flags) = (byte(2).filter(|p| *p <= 128)?, byte(3)?, byte(4)?);
        let name = (*fields.get(5)?).to_owned();
        (scope != LINK && flags & TEMPORARY == 0).then(|| (name, format!("{address}/{prefix}")))
    };
    table.lines().filter_map(line).collect()
}

/// Bytes received and sent, from a line of `net/dev`.
fn moved(counters: &str, name: &str) -> Option<(u64, u64)> {
    let line = counters
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.nth(7)?.parse().ok()?))
}

fn listed(
    source: &mut Source,
    addresses: &Addresses,
    counters: &str,
    steady: &mut Steady,
) -> (Vec<Interface>, Vec<ObservedInterface>) {
    let dir = source.sys("class/net");
    let mut both = Vec::new();
    for name in source.names(&dir) {
        let path = dir.join(&name);
        let uevent = read_plain(&path.join("uevent"), 4096).unwrap_or_default();
        let uevent = String::from_utf8_lossy(&uevent);
        let kind = value(&uevent, "DEVTYPE");
        if !path.join("device").exists() && !LASTING.contains(&kind) {
            continue;
        }
        let of_it = addresses.iter().filter(|(device, _)| *device == name);
        let mut addresses: Vec<String> = of_it.map(|(_, address)| address.clone()).collect();
        addresses.sort();
        source.bound("addresses of one interface", &mut addresses, ADDRESSES);
        let interface = Interface {
            name: printable(&name, 64),
            kind: printable(kind, 32),
            driver: link_name(&path.join("device/driver")),
            mac: word(&path.join("address")),
            mtu: number(&path.join("mtu"))
                .and_then(|mtu| i32::try_from(mtu).ok())
                .unwrap_or(0),
            addresses,
        };
        let mut hold = |what: &str, number: u64| steady.hold(format!("{what} {name}"), number);
        let (received, sent) = moved(counters, &name).unzip();
        let observed = ObservedInterface {
            name: interface.name.clone(),
            state: word(&path.join("operstate")),
            speed_mbps: number(&path.join("speed")).and_then(|speed| u32::try_from(speed).ok()),
            received_bytes: received.map(|bytes| hold("received", bytes)),
            sent_bytes: sent.map(|bytes| hold("sent", bytes)),
        };
        both.push((interface, observed));
    }
    steady.end();
    source.bound("network interfaces", &mut both, INTERFACES);
    both.into_iter().unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_and_temporary_ones_are_left_out_and_nonsense_too() {
        let lines = "fe80000000000000000000fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
20010db8000000000000000000000001 04 40 00 01     eth0
fd000000000000000000000000000003 04 ff 00 80     eth0
zz000000000000000000000000000002 04 40 00 82     eth0
fd0000000000000000000000000000020000 04 40 00 82 eth0
fd000000000000000000000000000004 04 40
";
        assert_eq!(addresses6(lines), [("eth0".to_owned(), "fd00::2/64".to_owned())]);
    }

    #[test]
    fn an_agent_in_a_network_of_its_own_does_not_take_it_for_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        for of in ["1", "self"] {
            std::fs::create_dir_all(dir.path().join(of).join("net")).unwrap();
            std::fs::write(dir.path().join(of).join("net/dev"), "").unwrap();
        }
        assert!(!in_host_namespace(dir.path()));
        assert!(!in_host_namespace(&dir.path().join("nowhere")));
    }

    #[test]
    fn addresses_of_version_4_are_those_of_this_network_with_their_prefix() {
        let all = addresses4().unwrap();
        assert!(
            all.contains(&("lo".to_owned(), "127.0.0.1/8".to_owned())),
            "{all:?}"
        );
        for (_, address) in all {
            let (address, prefix) = address.split_once('/').unwrap();
            let prefix: u8 = prefix.parse().unwrap();
            assert!(
                address.parse::<Ipv4Addr>().is_ok() && prefix <= 32,
                "{address}/{prefix}"
            );
        }
    }

    #[test]
    fn counters_are_of_the_interface_that_is_asked_for() {
        let table =
            "Inter-| Receive\n eth01:   1 0 0 0 0 0 0 0 2 0\n  eth0: 300 1 0 0 0 0 0 0 400 5 0\n bad: -1 x\n";
        assert_eq!(moved(table, "eth0"), Some((300, 400)));
        assert_eq!(moved(table, "bad"), None);
        assert_eq!(moved(table, "none"), None);
    }
}
