//! Routes of PID 1's network namespace, as `ip route` and `ip -6 route` show them (proc_net(5)).

use std::net::{Ipv4Addr, Ipv6Addr};

use safetytwin_crds::item::machine::{Interface, Route};

use super::source::Source;

const ROUTES: usize = 512;
// linux/route.h, linux/ipv6_route.h
const UP: u32 = 0x0001;
const GATEWAY: u32 = 0x0002;
const REJECT: u32 = 0x0200;
const ANYCAST: u32 = 0x0010_0000;
const CACHE: u32 = 0x0100_0000;
const LOCAL: u32 = 0x8000_0000;

/// Routes over `interfaces`, sorted: those over the veths of containers come and go.
pub fn routes(source: &mut Source, interfaces: &[Interface]) -> Vec<Route> {
    let table4 = source.proc("1/net/route");
    // A kernel without IPv6 has no such file.
    let has6 = source.root.proc().join("1/net/ipv6_route").exists();
    let table6 = if has6 {
        source.proc("1/net/ipv6_route")
    } else {
        String::new()
    };
    let all = table4
        .lines()
        .filter_map(route4)
        .chain(table6.lines().filter_map(route6));
    let mut routes: Vec<Route> = all
        .filter(|route| interfaces.iter().any(|i| i.name == route.device))
        .collect();
    routes.sort();
    routes.dedup();
    source.bound("routes", &mut routes, ROUTES);
    routes
}

/// Iface, destination, gateway, flags, reference count, use, metric, mask …: words in the host's byte order.
fn route4(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let word = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
    let address = |word: u32| Ipv4Addr::from(word.to_ne_bytes());
    let (flags, mask) = (word(3)?, word(7)?);
    let prefix = u32::from(address(mask)).leading_ones();
    (flags & UP != 0 && flags & REJECT == 0).then_some(())?;
    Some(Route {
        destination: format!("{}/{prefix}", address(word(1)?)),
        gateway: match flags & GATEWAY {
            0 => None,
            _ => Some(address(word(2)?).to_string()),
        },
        device: (*fields.first()?).to_owned(),
        metric: fields.get(6)?.parse().ok()?,
    })
}

/// Destination, its prefix length, source, its prefix length, next hop, metric, reference count,
/// use, flags, device. The file also holds the local table, which no `ip route` shows.
fn route6(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let word = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
    let address = |at: usize| Some(Ipv6Addr::from(u128::from_str_radix(fields.get(at)?, 16).ok()?));
    let (destination, prefix, flags) = (address(0)?, word(1)?, word(8)?);
    let shown = flags & UP != 0 && flags & (REJECT | ANYCAST | CACHE | LOCAL) == 0;
    (shown && prefix <= 128 && !destination.is_multicast()).then_some(())?;
    Some(Route {
        destination: format!("{destination}/{prefix}"),
        gateway: match flags & GATEWAY {
            0 => None,
            _ => Some(address(4)?.to_string()),
        },
        device: (*fields.get(9)?).to_owned(),
        metric: word(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(route: Option<Route>) -> String {
        route.map_or("none".into(), |r| {
            let gateway = r.gateway.unwrap_or_else(|| "link".into());
            format!("{} {gateway} {} {}", r.destination, r.device, r.metric)
        })
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_of_ipv4_are_read_as_ip_route_shows_them() {
        for (line, expected) in [
            (
                "eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0",
                "0.0.0.0/0 192.0.2.1 eth0 100",
            ),
            (
                "eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0",
                "192.0.2.0/24 link eth0 0",
            ),
            (
                "eth0 050200C0 00000000 0005 0 0 0 FFFFFFFF 0 0 0",
                "192.0.2.5/32 link eth0 0",
            ),
            ("* 000200C0 00000000 0201 0 0 0 00FFFFFF 0 0 0", "none"),
            (
                "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT",
                "none",
            ),
            ("eth0 000200C0 00000000 0001 0 0 -1 00FFFFFF 0 0 0", "none"),
            ("eth0 FFFFFFFFFF 00000000 0001 0 0 0 00FFFFFF 0 0 0", "none"),
            ("eth0 00000000", "none"),
        ] {
            assert_eq!(shown(route4(line)), expected, "{line}");
        }
    }

    #[test]
    fn routes_of_ipv6_are_those_of_the_main_table() {
        let zero = "0".repeat(32);
        let line = |to: &str, plen: &str, via: &str, metric: &str, flags: &str| {
            format!("{to} {plen} {zero} 00 {via} {metric} 00000001 00000000 {flags}     eth0")
        };
        let net = "fd000000000000000000000000000000";
        let host = "fd000000000000000000000000000001";
        let multicast = "ff000000000000000000000000000000";
        for (line, expected) in [
            (
                line(net, "40", &zero, "00000100", "00000001"),
                "fd00::/64 link eth0 256",
            ),
            (
                line(&zero, "00", host, "00000400", "00000003"),
                "::/0 fd00::1 eth0 1024",
            ),
            (line(host, "80", &zero, "00000000", "80200001"), "none"),
            (line(multicast, "08", &zero, "00000100", "00000001"), "none"),
            (line(net, "ff", &zero, "00000100", "00000001"), "none"),
            (line(net, "40", &zero, "-0000100", "00000001"), "none"),
        ] {
            assert_eq!(shown(route6(&line)), expected, "{line}");
        }
    }
}
