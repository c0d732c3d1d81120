//! Ports that a container publishes, as they are declared: the port that an engine picked is another
//! after each start.

use std::collections::BTreeSet;

use bollard::models::{ContainerConfig, HostConfig, PortBinding};
use safetytwin_crds::item::container::PortMapping;

/// What the host configuration binds, and with `--publish-all` each exposed port beside, sorted.
pub fn ports(config: &ContainerConfig, host: &HostConfig) -> Vec<PortMapping> {
    let (mut ports, mut bound) = (Vec::new(), BTreeSet::new());
    for (container, bindings) in host.port_bindings.iter().flatten() {
        for binding in bindings.iter().flatten() {
            ports.extend(port(container, binding));
            bound.insert(container);
        }
    }
    if host.publish_all_ports == Some(true) {
        let exposed = config.exposed_ports.iter().flatten();
        let others = exposed.filter(|container| !bound.contains(container));
        ports.extend(others.filter_map(|container| port(container, &PortBinding::default())));
    }
    ports.sort();
    ports
}

/// `8080/tcp` and its binding; none when a number is no port.
fn port(container: &str, binding: &PortBinding) -> Option<PortMapping> {
    let (port, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let (host_port, last_host_port) = host_ports(binding.host_port.as_deref().unwrap_or_default())?;
    Some(PortMapping {
        container_port: port.parse().ok()?,
        protocol: protocol.to_owned(),
        host_ip: binding.host_ip.clone().unwrap_or_default(),
        host_port,
        last_host_port,
    })
}

/// Nothing (`-p 80`), one port, or the first and the last of several (`-p 8000-8010:80`).
fn host_ports(text: &str) -> Option<(u16, u16)> {
    match text.split_once('-') {
        None if text.is_empty() => Some((0, 0)),
        None => Some((text.parse().ok()?, 0)),
        Some((first, last)) => {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            match last {
                last if last == first => Some((first, 0)),
                last => (0 < first && first < last).then_some((first, last)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn published(config: Value, host: Value) -> Value {
        let (config, host) = (
            serde_json::from_value(config).unwrap(),
            serde_json::from_value(host).unwrap(),
        );
        serde_json::to_value(ports(&config, &host)).unwrap()
    }

    fn port(container: u16, protocol: &str, ip: &str, host: u16) -> Value {
        json!({"containerPort": container, "protocol": protocol, "hostIp": ip, "hostPort": host})
    }

    #[test]
    fn a_port_that_the_engine_picks_is_published_without_one() {
        let host = json!({"PortBindings": {
            "80/tcp": [{"HostIp": "", "HostPort": ""}],
            "81/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
            "82/tcp": [{"HostIp": "", "HostPort": "0"}],
            "83/tcp": [{}],
        }});
        // What it picked is in NetworkSettings.Ports, which is not looked at.
        assert_eq!(
            published(json!({}), host),
            json!([
                port(80, "tcp", "", 0),
                port(81, "udp", "127.0.0.1", 0),
                port(82, "tcp", "", 0),
                port(83, "tcp", "", 0),
            ])
        );
    }

    #[test]
    fn publishing_all_ports_publishes_each_exposed_one_that_is_not_bound() {
        let config = json!({"ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "53/udp": {}}});
        let host = |all: bool| json!({"PublishAllPorts": all, "PortBindings": {"443/tcp": [{"HostIp": "", "HostPort": "8443"}], "53/udp": null}});
        let (https, rest) = (
            port(443, "tcp", "", 8443),
            [port(53, "udp", "", 0), port(80, "tcp", "", 0)],
        );
        let [dns, http] = rest;
        assert_eq!(published(config.clone(), host(true)), json!([dns, http, https]));
        assert_eq!(published(config, host(false)), json!([https]));
    }

    #[test]
    fn a_range_of_host_ports_for_one_port_is_kept_and_what_is_no_port_is_not() {
        let host = |port: &str| json!({"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": port}]}});
        let mut range = port(80, "tcp", "", 8000);
        range["lastHostPort"] = json!(8010);
        assert_eq!(published(json!({}), host("8000-8010")), json!([range]));
        assert_eq!(
            published(json!({}), host("8000-8000")),
            json!([port(80, "tcp", "", 8000)])
        );
        for none in ["70000", "x", "-", "8010-8000", "0-9", "1-70000", " "] {
            assert_eq!(published(json!({}), host(none)), json!([]), "{none}");
        }
    }
}
