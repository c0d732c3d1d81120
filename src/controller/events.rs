//! Kubernetes events: on transitions only, short, escaped, never with a secret.
//!
//! An event that cannot be written is logged and forgotten: it never stops a reconcile.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use safetytwin_crds::names::printable;

/// Longest note that the API accepts.
const MAX_NOTE: usize = 1024;

/// Writes events about objects.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events of the controller `instance` (pod or process name).
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "safetytwin.com/twin-controller".into(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Something happened as it should.
    pub async fn normal<K: Resource<DynamicType = ()>>(&self, about: &K, reason: &str, note: &str) {
        self.publish(about, EventType::Normal, reason, note).await;
    }

    /// Something that a user should look at.
    pub async fn warning<K: Resource<DynamicType = ()>>(&self, about: &K, reason: &str, note: &str) {
        self.publish(about, EventType::Warning, reason, note).await;
    }

    async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        type_: EventType,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(printable(note, MAX_NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        let reference = about.object_ref(&());
        let written = tokio::time::timeout(super::api::DEADLINE, self.recorder.publish(&event, &reference));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(reason, %error, "failed to write an event"),
            Err(_) => tracing::warn!(reason, "failed to write an event: no answer"),
        }
    }
}
