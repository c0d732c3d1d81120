//! Containers of Docker and Podman.

mod options;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit::Account;
use super::{ItemId, ItemKind, RunClass, Text};
use crate::names::ContainerName;

use self::options::unset;
pub use self::options::{ContainerOptions, Pod, StaticAddress, Ulimit};

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Docker Engine.
    Docker,
    /// Podman, over its compatible API or command line.
    Podman,
}

impl Engine {
    /// Name of the command line client.
    pub fn command(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A container as its engine declares it (`docker inspect` essentials).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerItem {
    /// Which engine runs it.
    pub engine: Engine,
    /// Its name, without the leading slash.
    pub name: ContainerName,
    /// Up or Down.
    pub run: RunClass,
    /// Image reference as given by the user, userinfo removed.
    pub image: String,
    /// Image id (`sha256:…`).
    pub image_id: String,
    /// Entrypoint, when it differs from the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<Text>>,
    /// Command, when it differs from the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<Text>>,
    /// How many values of the item were replaced by placeholders; see [`crate::redaction`].
    #[serde(default)]
    pub redactions: u32,
    /// User inside the container; empty means the image's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Working directory; empty means the image's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// Names, never values, of environment variables that the image does not set, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_names: Vec<String>,
    /// Published ports, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Mounts, sorted by target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// `NetworkMode` of the host configuration: bridge, host, none, container:… or a network's name.
    pub network_mode: String,
    /// Networks with their aliases, both sorted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Vec<String>>,
    /// no, always, unless-stopped, on-failure.
    pub restart_policy: String,
    /// Memory limit in bytes; 0 means none.
    #[serde(default)]
    pub memory_bytes: i64,
    /// CPU limit in thousandths of a core; 0 means none.
    #[serde(default)]
    pub cpu_milli: i64,
    /// Added capabilities, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Dropped capabilities, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Runs with all privileges.
    #[serde(default)]
    pub privileged: bool,
    /// Devices of the host that it is given, sorted: `device ` and `--device` as Docker writes it
    /// (`/dev/kfd`, `/dev/sda:/dev/xvda:r`: by what name, if by another, and what it may do, if not
    /// all of read, write and mknod), `gpus all`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Health check, when it differs from the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Log driver; empty means what engines do by themselves: `json-file`, `journald`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_driver: String,
    /// Labels, values redacted by shape.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The user on the host that owns a rootless engine; absent for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootless_user: Option<Account>,
    /// What else it is started with.
    #[serde(default, skip_serializing_if = "unset")]
    pub options: ContainerOptions,
}

impl ContainerItem {
    /// Identity of the item: `engine:name`, with a user's id in between for a rootless engine,
    /// because each user's engine has names of its own.
    pub fn id(&self) -> ItemId {
        let engine = self.engine.command();
        ItemId {
            kind: ItemKind::Container,
            name: match self.rootless_uid() {
                Some(uid) => format!("{engine}:{uid}:{}", self.name),
                None => format!("{engine}:{}", self.name),
            },
        }
    }

    /// The id of the user that owns a rootless engine.
    pub fn rootless_uid(&self) -> Option<u32> {
        self.rootless_user.as_ref()?.id
    }
}

/// How an engine finds out whether a container does its work (`HEALTHCHECK` of a Dockerfile).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `NONE`; or `CMD` and its words; or `CMD-SHELL` and one line. Redacted by shape.
    pub test: Vec<Text>,
    /// Milliseconds between two tests; 0 means the engine's default, here and below.
    #[serde(default)]
    pub interval_ms: i64,
    /// Milliseconds after which a test has failed.
    #[serde(default)]
    pub timeout_ms: i64,
    /// Milliseconds at the start in which a failure does not count.
    #[serde(default)]
    pub start_period_ms: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(default)]
    pub retries: i64,
}

/// A published port, as it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port inside the container.
    pub container_port: u16,
    /// tcp, udp or sctp.
    pub protocol: String,
    /// Address on the host; empty means all.
    #[serde(default)]
    pub host_ip: String,
    /// Port on the host; 0 means one that the engine picks at each start.
    pub host_port: u16,
    /// The last of several ports on the host, of which the engine picks one at each start and `host_port`
    /// is the first; 0 means that there is only that one.
    #[serde(default, skip_serializing_if = "unset")]
    pub last_host_port: u16,
}

impl PortMapping {
    /// The port on the host, when the declaration alone says which it is.
    pub fn fixed(&self) -> Option<u16> {
        let picked = self.host_port == 0 || self.last_host_port != 0;
        (!picked).then_some(self.host_port)
    }
}

/// A mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path inside the container.
    pub target: String,
    /// bind, volume or tmpfs.
    pub kind: String,
    /// Host path of a bind, name of a volume, empty for tmpfs.
    pub source: String,
    /// Mounted read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Propagation of a bind, when it is not private: `rshared`, `rslave`, `shared`, `slave`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Driver of a volume, when it is not `local`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::canonical_json;

    #[test]
    fn content_of_an_agent_without_options_reads_and_is_written_as_it_was() {
        let old = r#"{"cpuMilli":0,"engine":"podman","image":"a","imageId":"","memoryBytes":0,"mounts":[{"kind":"bind","readOnly":false,"source":"/a","target":"/b"}],"name":"web","networkMode":"bridge","privileged":false,"redactions":0,"restartPolicy":"no","run":"Up"}"#;
        let item: ContainerItem = serde_json::from_str(old).unwrap();
        assert_eq!(item.options, ContainerOptions::default());
        assert_eq!(canonical_json(&item).unwrap(), old.as_bytes());
    }

    #[test]
    fn a_port_is_written_as_it_was_unless_its_host_port_is_one_of_several() {
        let old = r#"{"containerPort":80,"hostIp":"","hostPort":8080,"protocol":"tcp"}"#;
        let mut port: PortMapping = serde_json::from_str(old).unwrap();
        assert_eq!(canonical_json(&port).unwrap(), old.as_bytes());
        assert_eq!(port.fixed(), Some(8080));
        port.last_host_port = 8090;
        let several =
            r#"{"containerPort":80,"hostIp":"","hostPort":8080,"lastHostPort":8090,"protocol":"tcp"}"#;
        assert_eq!(canonical_json(&port).unwrap(), several.as_bytes());
        assert_eq!((port.fixed(), PortMapping::default().fixed()), (None, None));
    }

    #[test]
    fn containers_of_two_users_and_of_root_are_three_items() {
        let of = |user: &str| -> ContainerItem {
            serde_json::from_str(&format!(
                r#"{{"engine":"podman","image":"a","imageId":"","name":"web","networkMode":"","restartPolicy":"no","run":"Up"{user}}}"#
            ))
            .unwrap()
        };
        let user = |id: u32| format!(r#","rootlessUser":{{"name":"u","id":{id}}}"#);
        let ids = [of(""), of(&user(1000)), of(&user(1001))].map(|item| item.id().to_string());
        assert_eq!(
            ids,
            [
                "container/podman:web",
                "container/podman:1000:web",
                "container/podman:1001:web"
            ]
        );
    }
}
