//! The kinds that the server knows, and what distinguishes them.

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Resource;
use safetytwin_crds::{
    DigitalTwin, HostSection, HostState, TwinClass, TwinRestore, TwinRevision, TwinSnapshot,
};

/// A kind as the server serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Plural, unique among those served.
    pub plural: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub namespaced: bool,
    /// Has a status subresource: the main resource does not write it.
    pub status: bool,
    /// Counts changes of the spec in `metadata.generation`.
    pub generation: bool,
    /// Fields by which it can be selected.
    pub selectable: &'static [&'static str],
}

const BY_TWIN: &[&str] = &["metadata.name", "spec.twinRef.name"];
const BY_NAME: &[&str] = &["metadata.name"];

impl Kind {
    fn of<K: Resource<DynamicType = ()>>(
        namespaced: bool,
        status: bool,
        selectable: &'static [&str],
    ) -> Self {
        Self {
            plural: K::plural(&()).into(),
            group: K::group(&()).into(),
            version: K::version(&()).into(),
            kind: K::kind(&()).into(),
            namespaced,
            status,
            generation: K::group(&()) == "safetytwin.com",
            selectable,
        }
    }

    /// All kinds.
    pub fn all() -> Vec<Self> {
        vec![
            Self::of::<HostState>(false, true, BY_NAME),
            Self::of::<HostSection>(false, false, BY_NAME),
            Self::of::<TwinClass>(false, true, BY_NAME),
            Self::of::<DigitalTwin>(true, true, BY_NAME),
            Self::of::<TwinSnapshot>(true, true, BY_TWIN),
            Self::of::<TwinRestore>(true, true, BY_TWIN),
            Self::of::<TwinRevision>(true, true, BY_TWIN),
            Self::of::<Secret>(true, false, BY_NAME),
            Self::of::<Event>(true, false, BY_NAME),
            Self::of::<ServiceAccount>(true, false, BY_NAME),
            Self::of::<ClusterRole>(false, false, BY_NAME),
            Self::of::<ClusterRoleBinding>(false, false, BY_NAME),
        ]
    }

    /// The kind of this Rust type.
    pub fn known<K: Resource<DynamicType = ()>>() -> Self {
        let plural = K::plural(&());
        Self::all().into_iter().find(|k| k.plural == plural).unwrap()
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        Key {
            kind: self.clone(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// An object's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.plural, self.name)
    }
}
