//! What users and administrators do: past the controller, never an effect.

use kube::Resource;
use serde::Serialize;
use serde_json::Value;

use super::api::{Kind, Part, Server};

impl Server {
    /// `kubectl create`.
    pub fn create<K: Resource<DynamicType = ()> + Serialize>(&self, object: &K) {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let body = serde_json::to_value(object).unwrap();
        self.act(|store, now| store.create(&Kind::known::<K>(), &namespace, body, now));
    }

    /// `kubectl edit`.
    pub fn edit<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let key = Kind::known::<K>().key(namespace, name);
        self.act(|store, _| {
            let mut object = store.get(&key)?.clone();
            change(&mut object);
            store.change(&key, Part::Main, object)
        });
    }

    /// `kubectl delete --wait=false`.
    pub fn delete<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) {
        let key = Kind::known::<K>().key(namespace, name);
        self.act(|store, now| store.delete(&key, &Value::Null, now));
    }

    /// `kubectl get -A -o name`: namespaces and names.
    pub fn names<K: Resource<DynamicType = ()>>(&self) -> Vec<(String, String)> {
        let kind = Kind::known::<K>();
        self.look(|store| {
            let found = store.of_kind(&kind).map(|(key, _)| key.clone());
            found.map(|key| (key.namespace, key.name)).collect()
        })
    }

    /// `kubectl get -o json`.
    pub fn read<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = Kind::known::<K>().key(namespace, name);
        self.look(|store| store.find(&key).cloned())
    }
}
