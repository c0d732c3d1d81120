//! What goes over the twin's SSH port: a capture on the lab's bridge, read as packets.
//!
//! Bytes are TCP payload, so that TCP's own acknowledgements and keepalives count nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;

use crate::lab::Lab;
use crate::lab::hypervisor::TWINS_BRIDGE;
use crate::lab::process::Process;
use crate::wait;

/// A running capture; ends when dropped.
pub(super) struct Wire {
    _capture: Process,
    log: PathBuf,
}

/// Data that went over connections in some span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Traffic {
    /// Payload to the guest.
    pub(super) sent: u64,
    /// Payload from the guest.
    pub(super) received: u64,
    /// Changes of direction from question to answer. Answers to pipelined questions come in between further
    /// questions, so that this is an upper bound of the round trips that somebody waited for.
    pub(super) round_trips: u64,
    /// Connections that carried data.
    pub(super) connections: u64,
}

impl Traffic {
    /// Payload both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.sent + self.received
    }
}

/// What went over the connection that was open before, and over those that were made meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    /// The open connection.
    pub(super) open: Traffic,
    /// New connections: each apply proves that the next login works.
    pub(super) new: Traffic,
}

impl Span {
    /// All payload.
    pub(super) fn bytes(&self) -> u64 {
        self.open.bytes() + self.new.bytes()
    }

    /// All changes of direction.
    pub(super) fn round_trips(&self) -> u64 {
        self.open.round_trips + self.new.round_trips
    }
}

/// One TCP packet of the SSH port.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Packet {
    /// Seconds since 1970.
    at: f64,
    to_guest: bool,
    /// The client's port, which names the connection.
    port: u16,
    payload: u64,
}

impl Wire {
    /// Starts to capture the SSH port of the guest at `address`.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub(super) fn start(lab: &Lab, address: IpAddr) -> Result<Self> {
        let host = address.to_string();
        let mut words = vec![
            "-i",
            TWINS_BRIDGE,
            "-n",
            "-tt",
            "-q",
            "-l",
            "-s",
            "128",
            "-B",
            "8192",
        ];
        words.extend(["tcp", "port", "22", "and", "host", &host]);
        let capture = lab.spawn("bench-tcpdump", Path::new("tcpdump"), &words, &Default::default())?;
        let log = capture.log().to_owned();
        wait::until_true("tcpdump", Duration::from_secs(20), || {
            Ok(std::fs::read_to_string(&log)?.contains("listening on"))
        })?;
        Ok(Self {
            _capture: capture,
            log,
        })
    }

    /// What went by between two moments.
    ///
    /// # Errors
    /// The capture cannot be read.
    pub(super) fn between(&self, from: SystemTime, to: SystemTime) -> Result<Span> {
        // The capture is written as it comes, a moment after the packets.
        std::thread::sleep(Duration::from_millis(200));
        let text = std::fs::read_to_string(&self.log)?;
        let packets: Vec<Packet> = text.lines().filter_map(packet).collect();
        Ok(span(&packets, seconds(from), seconds(to)))
    }
}

fn seconds(moment: SystemTime) -> f64 {
    moment
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// `1764094232.123456 IP 10.78.0.1.45678 > 10.78.0.10.22: tcp 36`.
fn packet(line: &str) -> Option<Packet> {
    let mut words = line.split_whitespace();
    let at = words.next()?.parse().ok()?;
    let mut ends = words.filter(|word| *word != "IP" && *word != ">");
    let from = port(ends.next()?)?;
    let to = port(ends.next()?.trim_end_matches(':'))?;
    let payload = ends.nth(1)?.parse().ok()?;
    let to_guest = to == 22;
    Some(Packet {
        at,
        to_guest,
        port: if to_guest { from } else { to },
        payload,
    })
}

fn port(end: &str) -> Option<u16> {
    end.rsplit_once('.')?.1.parse().ok()
}

fn span(packets: &[Packet], from: f64, to: f64) -> Span {
    let known: BTreeSet<u16> = packets.iter().filter(|p| p.at < from).map(|p| p.port).collect();
    let within: Vec<Packet> = packets
        .iter()
        .filter(|p| p.at >= from && p.at <= to && p.payload > 0)
        .copied()
        .collect();
    let mut span = Span::default();
    let ports: BTreeSet<u16> = within.iter().map(|p| p.port).collect();
    for port in ports {
        let traffic = if known.contains(&port) {
            &mut span.open
        } else {
            &mut span.new
        };
        let mut asked = false;
        traffic.connections += 1;
        for packet in within.iter().filter(|p| p.port == port) {
            if packet.to_guest {
                traffic.sent += packet.payload;
            } else {
                traffic.received += packet.payload;
                traffic.round_trips += u64::from(asked);
            }
            asked = packet.to_guest;
        }
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: &str = "listening on twins0, link-type EN10MB\n\
        10.5 IP 10.78.0.1.4000 > 10.78.0.10.22: tcp 36\n\
        20.1 IP 10.78.0.1.4000 > 10.78.0.10.22: tcp 100\n\
        20.2 IP 10.78.0.1.4000 > 10.78.0.10.22: tcp 50\n\
        20.3 IP 10.78.0.10.22 > 10.78.0.1.4000: tcp 10\n\
        20.3 IP 10.78.0.1.4000 > 10.78.0.10.22: tcp 0\n\
        20.4 IP 10.78.0.10.22 > 10.78.0.1.4000: tcp 10\n\
        20.5 IP 10.78.0.1.5000 > 10.78.0.10.22: tcp 21\n\
        20.6 IP 10.78.0.10.22 > 10.78.0.1.5000: tcp 40\n\
        30.0 IP 10.78.0.1.4000 > 10.78.0.10.22: tcp 999\n";

    #[test]
    fn a_capture_is_told_by_payload_turns_and_age_of_connections() {
        let packets: Vec<Packet> = CAPTURE.lines().filter_map(packet).collect();
        assert_eq!(packets.len(), 9);
        let seen = span(&packets, 20.0, 25.0);
        let open = Traffic {
            sent: 150,
            received: 20,
            round_trips: 1,
            connections: 1,
        };
        assert_eq!(seen.open, open);
        assert_eq!((seen.new.bytes(), seen.new.round_trips), (61, 1));
        assert_eq!((seen.bytes(), seen.round_trips()), (231, 2));
    }

    #[test]
    fn an_idle_span_has_no_bytes() {
        let packets: Vec<Packet> = CAPTURE.lines().filter_map(packet).collect();
        assert_eq!(span(&packets, 21.0, 29.0), Span::default());
    }
}
