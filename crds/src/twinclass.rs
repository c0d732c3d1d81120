//! TwinClass: where twins run and who may have them.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

mod points;

pub use points::{PointLimits, PointMode};

/// Where twins run and who may have them, as StorageClass is to volumes. For administrators only:
/// a tenant names a class, never a URI, a path or a domain.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "safetytwin.com",
    version = "v1alpha1",
    kind = "TwinClass",
    plural = "twinclasses",
    derive = "PartialEq",
    status = "TwinClassStatus",
    category = "safetytwin",
    shortname = "tclass",
    doc = "Where twins run and who may have them. For administrators only.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Twins", type_ = "integer", json_path = ".status.twins"),
    printcolumn(name = "URI", type_ = "string", json_path = ".spec.libvirt.uri", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("a class name has at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
pub struct TwinClassSpec {
    /// Who may have twins of which hosts. Both lists default to nobody.
    #[serde(default)]
    pub allowed: Allowed,
    /// The libvirt host that runs the twins.
    pub libvirt: Libvirt,
    /// Limits of restore points.
    #[serde(default)]
    pub snapshots: PointLimits,
    /// Number and size of twins.
    #[serde(default)]
    pub limits: Limits,
}

/// Who may have twins of which hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    /// Namespaces by exact name; `*` alone allows all.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Hosts by name; a `*` stands for any text.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub hosts: Vec<String>,
}

/// A libvirt host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.baseImage) != has(self.adopt)").message("give exactly one of baseImage (create a VM) and adopt (use an existing domain)"))]
// The VM of a twin is the controller's to delete, or it is not.
#[x_kube(validation = Rule::new("has(self.adopt) == has(oldSelf.adopt)").message("a class creates VMs or adopts domains for good: make another class"))]
// libvirt also speaks TLS where a URI has a host and no transport.
#[x_kube(validation = Rule::new("has(self.credentialsRef) == self.uri.matches('^qemu([+]tls://|://[^/])')").message("a URI over TLS needs credentialsRef and no other takes it: it names the Secret with ca.crt, tls.crt and tls.key"))]
pub struct Libvirt {
    /// `qemu:///system`, `qemu+tls://host/system` …: driver, transport, host and path only. Query
    /// parameters are refused, because some run programs on the client.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^qemu(\+(tls|unix|tcp))?://[a-zA-Z0-9.:\[\]-]*/(system|session)$")
    )]
    pub uri: String,
    /// Secret in the controller's namespace with `ca.crt` (the hypervisor's authority), `tls.crt` and
    /// `tls.key` (the controller's client certificate), PEM. Needed by `qemu+tls`, and only by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<LocalRef>,
    /// Storage pool of type `dir`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub pool: String,
    /// Libvirt network; isolated by default means it must have no `<forward>`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub network: String,
    /// Volume of the pool that new twins are based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub base_image: Option<String>,
    /// An existing domain to use instead of making one; it is never deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// Machine that is made.
    #[serde(default)]
    pub vm: Vm,
    /// How the controller gets to the twin's sshd.
    #[serde(default)]
    pub reach: Reach,
}

/// Name of an object in the controller's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// metadata.name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An existing domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopt {
    /// UUID of the domain.
    #[schemars(
        length(min = 36, max = 36),
        regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )]
    pub domain_uuid: String,
    /// User that may run the SFTP server and the D-Bus bridge as root.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z_][a-z0-9_-]*$"))]
    pub user: String,
    /// Secret in the controller's namespace with `id_ed25519` and `ssh_host_key.pub`.
    pub key_ref: LocalRef,
}

/// Virtualisation type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VmType {
    /// KVM where the hypervisor offers it, else emulation.
    #[default]
    Auto,
    /// Hardware virtualisation.
    #[serde(rename = "KVM")]
    Kvm,
    /// Software emulation.
    #[serde(rename = "QEMU")]
    Qemu,
}

/// Machine that is made for a twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.kernel) || (!has(self.initrd) && !has(self.cmdline))").message("initrd and cmdline need kernel"))]
pub struct Vm {
    /// Auto, KVM or QEMU.
    #[serde(default, rename = "type")]
    pub type_: VmType,
    /// QEMU machine type.
    #[serde(default = "q35")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    pub machine: String,
    /// CPU: `maximum`, `host-model`, `host-passthrough`, or a named model.
    #[serde(default = "maximum")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub cpu: String,
    /// Volume with a kernel for direct boot; without it the image boots itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub kernel: Option<String>,
    /// Volume with an initrd for direct boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub initrd: Option<String>,
    /// Kernel command line for direct boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub cmdline: Option<String>,
}

impl Default for Vm {
    fn default() -> Self {
        Self {
            type_: VmType::Auto,
            machine: q35(),
            cpu: maximum(),
            kernel: None,
            initrd: None,
            cmdline: None,
        }
    }
}

fn q35() -> String {
    "q35".into()
}

fn maximum() -> String {
    "maximum".into()
}

/// How the controller gets to the twin's sshd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// Which way.
    #[serde(default, rename = "type")]
    pub type_: ReachType,
}

/// Ways to a twin's sshd. More (Jump, Forward, PortForward) come with their backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReachType {
    /// The controller is routed to the lab network.
    #[default]
    Direct,
}

/// Number and size of twins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Twins of this class in all.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 1000))]
    pub twins: i32,
    /// Virtual CPUs of each twin.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 256))]
    pub cpus: i32,
    /// Memory of each twin.
    #[serde(default = "one_gib")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(Mi|Gi)$"))]
    pub memory: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            twins: ten(),
            cpus: two(),
            memory: one_gib(),
        }
    }
}

fn ten() -> i32 {
    10
}

fn two() -> i32 {
    2
}

fn one_gib() -> String {
    "1Gi".into()
}

/// What the controller says about a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TwinClassStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Twins of this class.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub twins: i32,
}

impl Allowed {
    /// Whether `namespace` may twin `host`.
    pub fn permits(&self, namespace: &str, host: &str) -> bool {
        let namespace_ok = self.namespaces.iter().any(|n| n == "*" || n == namespace);
        namespace_ok && self.hosts.iter().any(|pattern| glob(pattern, host))
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            rest.is_empty() || (0..=tail.len()).any(|n| tail.get(n..).is_some_and(|t| glob(rest, t)))
        }),
    }
}

/// Bytes of a quantity such as `512Mi`; binary suffixes only.
pub fn quantity_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)? {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1_u64 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration such as `500ms`, `2s`, `10m`, `1h`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let millis = match text.get(digits.len()..)? {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits
        .parse::<u64>()
        .ok()?
        .checked_mul(millis)
        .map(std::time::Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_names_nobody_permits_nobody() {
        assert!(!Allowed::default().permits("ops", "web-01"));
        let allowed = Allowed {
            namespaces: vec!["ops".into()],
            hosts: vec!["web-*".into()],
        };
        assert!(allowed.permits("ops", "web-01"));
        assert!(!allowed.permits("ops", "db-01"));
        assert!(!allowed.permits("dev", "web-01"));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "x", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("a*b*c", "a1b2c", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn quantities_and_durations_read_as_kubernetes_writes_them() {
        assert_eq!(quantity_bytes("512Mi"), Some(512 << 20));
        assert_eq!(quantity_bytes("1.5Gi"), None);
        assert_eq!(duration("2s"), Some(std::time::Duration::from_secs(2)));
        assert_eq!(duration("250ms"), Some(std::time::Duration::from_millis(250)));
        assert_eq!(duration("fast"), None);
    }
}
