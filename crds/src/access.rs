//! The rights of a host's own account: to write the host's objects, each by its name.
//!
//! ```text
//! HostState ─▶ account (of a node) ─┬─▶ group of the accounts ─▶ may create, held to its host by the admission policy
//!                                   └─▶ binding ─▶ role ─▶ may patch these names
//! ```
//! A right to patch all objects of a kind would be a right to read them: a JSON patch copies one field into another, and
//! the refusal, which comes before admission, says the value (RFC 6902; validation of custom resources).

use kube::Resource;
use serde_json::{Value, json};

use crate::names::{CONTROLLER_MANAGER, HostName};
use crate::section::{MAX_PARTS, SectionName, Slot, object_name};
use crate::{HostSection, HostState};

/// Where the chart keeps the accounts of hosts unless it is told otherwise.
pub const ACCOUNTS: &str = "safetytwin-hosts";

/// Label of that namespace, "true" where machines that are no nodes may be enrolled.
pub const ENROLLED: &str = "safetytwin.com/enrolled";

/// Name of a host's ClusterRole and of its binding.
pub fn role_name(host: &HostName) -> String {
    format!("safetytwin:host:{host}")
}

/// The role of a host: it may patch its HostState and the sections that this build knows. It goes with its `owner`, as
/// a list of owner references.
pub fn role(host: &HostName, owner: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": role_name(host), "labels": labels(), "ownerReferences": owner},
        "rules": [by_name(&HostState::plural(&()), vec![host.to_string()]),
            by_name(&HostSection::plural(&()), section_names(host))],
    })
}

/// What gives the role to the host's account in the namespace `accounts`.
pub fn binding(host: &HostName, accounts: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": role_name(host), "labels": labels(), "ownerReferences": owner},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name(host)},
        "subjects": [{"kind": "ServiceAccount", "name": host, "namespace": accounts}],
    })
}

/// The account of a host that is a node of the cluster. Those of other machines are made when they are enrolled.
pub fn account(host: &HostName, accounts: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
        "metadata": {"name": host, "namespace": accounts, "labels": labels(), "ownerReferences": owner},
    })
}

/// Those by which the rest of the product is found.
fn labels() -> Value {
    json!({"app.kubernetes.io/part-of": "safetytwin", "app.kubernetes.io/managed-by": CONTROLLER_MANAGER})
}

fn by_name(plural: &str, names: Vec<String>) -> Value {
    json!({"apiGroups": [HostState::group(&())], "resources": [plural], "resourceNames": names, "verbs": ["patch"]})
}

fn section_names(host: &HostName) -> Vec<String> {
    SectionName::known()
        .flat_map(|section| (0..MAX_PARTS).map(move |part| (section, part)))
        .flat_map(|(section, part)| [Slot::A, Slot::B].map(|slot| (section, part, slot)))
        .map(|(section, part, slot)| object_name(host.as_str(), section, part, slot))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_patch_its_head_and_each_part_of_each_section_and_nothing_without_a_name() {
        let host: HostName = "web.example".parse().unwrap();
        let role = role(&host, &json!([]));
        let rules = role["rules"].as_array().unwrap();
        let names = |rule: &Value| rule["resourceNames"].as_array().unwrap().clone();
        assert_eq!(rules.len(), 2);
        assert_eq!(names(&rules[0]), ["web.example"]);
        assert_eq!(names(&rules[1]).len(), 13 * 16 * 2);
        assert!(names(&rules[1]).contains(&json!("web.example.cron.15.b")));
        assert!(rules.iter().all(|rule| rule["verbs"] == json!(["patch"])));
    }
}
