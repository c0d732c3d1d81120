//! Makes the item of a container from what its engine says (`GET /containers/ID/json`).

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, HostConfig, ImageConfig, ImageInspect, MountPoint};
use safetytwin_crds::item::container::{ContainerItem, Engine, Mount};
use safetytwin_crds::item::observed::ObservedContainer;
use safetytwin_crds::item::unit::Account;
use safetytwin_crds::item::{RunClass, Text};
use safetytwin_crds::names::ContainerName;

use super::others::Others;
use super::{devices, health, options, ports};
use crate::redact::{Redactor, Tally};

/// A container as its engine shows it.
#[derive(Clone, Copy, Debug)]
pub struct Inspected<'a> {
    /// The engine.
    pub engine: Engine,
    /// The user that owns a rootless engine.
    pub user: Option<&'a Account>,
    /// The container.
    pub details: &'a ContainerInspectResponse,
    /// Its image; none when that is gone.
    pub image: Option<&'a ImageInspect>,
    /// The engine's containers together.
    pub others: &'a Others,
    /// Takes secrets out.
    pub redactor: &'a Redactor,
}

/// The item. The error names a container that is refused and why.
pub fn container(seen: Inspected<'_>) -> Result<ContainerItem, String> {
    let Inspected {
        engine,
        details,
        others,
        redactor,
        ..
    } = seen;
    let name = details
        .name
        .as_deref()
        .unwrap_or_default()
        .trim_start_matches('/');
    let name: ContainerName = name.parse().map_err(|error| format!("{error}"))?;
    let image = seen.image.and_then(|image| image.config.as_ref());
    let empty_config = bollard::models::ContainerConfig::default();
    let config = details.config.as_ref().unwrap_or(&empty_config);
    let empty_host = HostConfig::default();
    let host = details.host_config.as_ref().unwrap_or(&empty_host);
    let clean = &mut redactor.tally();
    let of_image = image.and_then(|i| i.entrypoint.as_ref());
    let entrypoint = arguments(config.entrypoint.as_ref(), of_image, clean);
    let of_image = image.and_then(|i| i.cmd.as_ref());
    let command = arguments(config.cmd.as_ref(), of_image, clean);
    let of_image = image.and_then(|i| i.healthcheck.as_ref());
    let health_check = health::check(config.healthcheck.as_ref(), of_image, clean);
    let of_image_dir = image.and_then(|i| i.working_dir.as_ref());
    let of_image = image.and_then(|i| i.env.as_deref());
    Ok(ContainerItem {
        engine,
        run: run_class(details),
        image: clean.image(config.image.as_deref().unwrap_or_default()),
        image_id: details.image.clone().unwrap_or_default(),
        user: differing(&config.user, image.and_then(|i| i.user.as_ref()), clean),
        working_directory: differing(&config.working_dir, of_image_dir, clean),
        environment_names: environment(config.env.as_deref(), of_image, clean),
        ports: ports::ports(config, host),
        mounts: mounts(details.mounts.as_deref().unwrap_or_default(), clean),
        network_mode: network_mode(host, others, clean),
        networks: networks(details, &name, clean),
        restart_policy: restart_policy(host),
        memory_bytes: host.memory.unwrap_or(0),
        cpu_milli: cpu_milli(host),
        cap_add: sorted(host.cap_add.clone()),
        cap_drop: sorted(host.cap_drop.clone()),
        privileged: host.privileged.unwrap_or(false),
        devices: devices::devices(host, clean),
        health_check,
        log_driver: log_driver(host, clean),
        labels: labels(config, image, clean),
        rootless_user: seen.user.cloned(),
        options: options::options(engine, details, seen.image, others, clean),
        entrypoint,
        command,
        name: redactor.container_name(&name),
        // Last: it counts what stands above.
        redactions: clean.count + redactor.name(name.as_str()).count,
    })
}

/// The item of a container of Docker's by itself, without its image.
#[cfg(test)]
pub fn alone(details: &ContainerInspectResponse, redactor: &Redactor) -> Result<ContainerItem, String> {
    container(Inspected {
        engine: Engine::Docker,
        user: None,
        details,
        image: None,
        others: &Others::default(),
        redactor,
    })
}

/// Words that are not the image's, redacted.
fn arguments(
    own: Option<&Vec<String>>,
    images: Option<&Vec<String>>,
    clean: &mut Tally<'_>,
) -> Option<Vec<Text>> {
    let own = own.filter(|own| !own.is_empty() && Some(*own) != images)?;
    Some(clean.words(own))
}

/// A setting that is not the image's, redacted; empty when it is.
fn differing(own: &Option<String>, images: Option<&String>, clean: &mut Tally<'_>) -> String {
    let own = own.as_ref().filter(|own| Some(*own) != images);
    own.map(|own| clean.text(own)).unwrap_or_default()
}

/// Labels that the image does not set, redacted.
fn labels(
    config: &bollard::models::ContainerConfig,
    image: Option<&ImageConfig>,
    clean: &mut Tally<'_>,
) -> BTreeMap<String, String> {
    let of_image = image.and_then(|i| i.labels.as_ref());
    let own = config.labels.iter().flatten();
    own.filter(|(key, value)| of_image.and_then(|labels| labels.get(*key)) != Some(*value))
        .map(|(key, value)| clean.pair(key, value))
        .collect()
}

/// What changes by itself.
pub fn observed(item: &ContainerItem, details: &ContainerInspectResponse) -> ObservedContainer {
    let state = details.state.as_ref();
    let health = state.and_then(|s| s.health.as_ref()?.status);
    ObservedContainer {
        name: item.id().name,
        id: details.id.clone().unwrap_or_default(),
        pid: state.and_then(|s| s.pid).unwrap_or(0),
        health: health.map(|h| h.to_string()).unwrap_or_default(),
    }
}

fn run_class(details: &ContainerInspectResponse) -> RunClass {
    let state = details.state.as_ref();
    let up = state.is_some_and(|s| s.running == Some(true) || s.restarting == Some(true));
    if up { RunClass::Up } else { RunClass::Down }
}

/// Names, never values, of variables that the image does not set to the same value.
fn environment(own: Option<&[String]>, images: Option<&[String]>, clean: &mut Tally<'_>) -> Vec<String> {
    let images = images.unwrap_or_default();
    let own = own.unwrap_or_default().iter().filter(|v| !images.contains(v));
    let names = own.filter_map(|v| Some(v.split_once('=')?.0));
    let names = names.filter(|name| !name.is_empty());
    sorted(Some(names.map(|name| clean.text(name)).collect()))
}

/// Where the log goes, unless it is what engines do by themselves.
fn log_driver(host: &HostConfig, clean: &mut Tally<'_>) -> String {
    let driver = host
        .log_config
        .as_ref()
        .and_then(|c| c.typ.as_deref())
        .unwrap_or_default();
    match driver {
        "json-file" | "journald" | "k8s-file" => String::new(),
        other => clean.text(other),
    }
}

fn mounts(points: &[MountPoint], clean: &mut Tally<'_>) -> Vec<Mount> {
    let mut mount = |point: &MountPoint| {
        let kind = point.typ.as_ref().map(|t| t.to_string()).unwrap_or_default();
        let source = match kind.as_str() {
            "volume" => clean.name(point.name.as_deref().unwrap_or_default()),
            _ => clean.text(point.source.as_deref().unwrap_or_default()),
        };
        Mount {
            target: clean.text(point.destination.as_deref().unwrap_or_default()),
            source,
            read_only: point.rw == Some(false),
            propagation: differing_from(&point.propagation, &["rprivate", "private"], clean),
            driver: differing_from(&point.driver, &["local"], clean),
            kind,
        }
    };
    let mut mounts: Vec<Mount> = points.iter().map(&mut mount).collect();
    mounts.sort();
    mounts
}

/// A setting that is not one of the usual ones, redacted; empty when it is.
fn differing_from(own: &Option<String>, usual: &[&str], clean: &mut Tally<'_>) -> String {
    let own = own.as_deref().filter(|own| !usual.contains(own));
    own.map(|own| clean.text(own)).unwrap_or_default()
}

fn network_mode(host: &HostConfig, others: &Others, clean: &mut Tally<'_>) -> String {
    match host.network_mode.as_deref() {
        None | Some("" | "default") => "bridge".to_owned(),
        Some(mode) if others.is_pods(mode) => "pod".to_owned(),
        Some(mode) => others.mode(mode, clean),
    }
}

/// Networks with the aliases that a user gave: engines add the container's short id and name.
fn networks(
    details: &ContainerInspectResponse,
    name: &ContainerName,
    clean: &mut Tally<'_>,
) -> BTreeMap<String, Vec<String>> {
    let id = details.id.clone().unwrap_or_default();
    let settings = details.network_settings.as_ref().and_then(|s| s.networks.clone());
    let own = |alias: &String| !id.starts_with(alias.as_str()) && alias != name.as_str();
    settings
        .unwrap_or_default()
        .into_iter()
        .map(|(network, endpoint)| {
            let aliases = endpoint.aliases.unwrap_or_default();
            let aliases = aliases.iter().filter(|alias| own(alias));
            let aliases = aliases.map(|alias| clean.name(alias)).collect();
            (clean.name(&network), sorted(Some(aliases)))
        })
        .collect()
}

fn restart_policy(host: &HostConfig) -> String {
    let policy = host.restart_policy.as_ref().and_then(|p| p.name);
    match policy.map(|p| p.to_string()) {
        None => "no".to_owned(),
        Some(name) if name.is_empty() => "no".to_owned(),
        Some(name) => name,
    }
}

fn cpu_milli(host: &HostConfig) -> i64 {
    match (host.nano_cpus, host.cpu_quota, host.cpu_period) {
        (Some(nano), _, _) if nano > 0 => nano / 1_000_000,
        (_, Some(quota), Some(period)) if quota > 0 && period > 0 => quota.saturating_mul(1000) / period,
        _ => 0,
    }
}

/// Without duplicates.
pub(super) fn sorted(list: Option<Vec<String>>) -> Vec<String> {
    let mut list = list.unwrap_or_default();
    list.sort();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(text: &str) -> ContainerInspectResponse {
        serde_json::from_str(text).unwrap()
    }

    fn item(
        details: &ContainerInspectResponse,
        image: Option<&ImageInspect>,
    ) -> Result<ContainerItem, String> {
        container(Inspected {
            engine: Engine::Docker,
            user: None,
            details,
            image,
            others: &Others::default(),
            redactor: &Redactor::default(),
        })
    }

    #[test]
    fn an_inspected_container_becomes_an_item_without_values_of_its_environment() {
        let details = inspect(
            r#"{"Id":"0a1b2c","Name":"/web","Image":"sha256:1","State":{"Running":true,"Pid":7},
            "Config":{"Image":"u:p@r/web:1","Env":["PATH=/bin","DB_PASSWORD=x","=S3cr3t","A B=S3cr3t","LD_PRELOAD=S3cr3t","BASH_FUNC_x%%=() { S3cr3t","S3cr3t"],"Cmd":["serve","--token","S3cr3t"],
              "Labels":{"team":"a","api.token":"S3cr3t"}},
            "HostConfig":{"NetworkMode":"default","NanoCpus":500000000,
              "LogConfig":{"Type":"local","Config":{"x":"S3cr3t"}},"Devices":[{"PathOnHost":"/dev/kfd"}],"DeviceRequests":[{"Count":-1,"Capabilities":[["gpu"]]}],"RestartPolicy":{"Name":"always"},
              "PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"},{"HostIp":"","HostPort":"70000"}]}},
            "Mounts":[{"Type":"volume","Name":"data","Source":"/x","Destination":"/d","RW":false}]}"#,
        );
        let image = serde_json::from_str(r#"{"Config":{"Env":["PATH=/bin"]}}"#).unwrap();
        let item = item(&details, Some(&image)).unwrap();
        assert_eq!(
            item.environment_names,
            ["A B", "BASH_FUNC_x%%", "DB_PASSWORD", "LD_PRELOAD"]
        );
        assert_eq!(
            (item.run, item.redactions, item.cpu_milli),
            (RunClass::Up, 3, 500)
        );
        assert_eq!((item.ports.len(), item.mounts[0].source.as_str()), (1, "data"));
        assert_eq!(item.network_mode, "bridge");
        assert_eq!(item.log_driver, "local");
        assert_eq!(item.devices, ["device /dev/kfd", "gpus all"]);
        let text = serde_json::to_string(&item).unwrap();
        assert!(!text.contains("S3cr3t") && !text.contains("/bin"), "{text}");
    }

    #[test]
    fn a_container_with_a_hostile_name_is_refused_by_name() {
        for name in ["/-v", "/$(reboot)", "/", "/a b"] {
            let details = inspect(&format!(r#"{{"Name":"{name}"}}"#));
            assert!(item(&details, None).is_err(), "{name}");
        }
    }
}
