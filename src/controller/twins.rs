//! All twins, from the watch of their driver.
//!
//! kube's `Store::wait_until_ready` wakes only the task that asked last (its oneshot keeps one waker), and the
//! Controller that runs on the store is one that asks. A driver that waited there as well could wait for ever;
//! here any number of tasks may.

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use safetytwin_crds::DigitalTwin;
use tokio::sync::watch;

use super::context::GuardedTwin;

/// The twins that a watch has seen.
#[derive(Clone)]
pub struct Twins {
    store: Store<GuardedTwin>,
    listed: watch::Receiver<bool>,
}

impl Twins {
    /// All that decode, once the first list of them is whole. When the watch is gone, those that it saw.
    pub async fn all(&self) -> Vec<Arc<DigitalTwin>> {
        let mut listed = self.listed.clone();
        let _gone = listed.wait_for(|listed| *listed).await;
        let decoded = |t: &Arc<GuardedTwin>| t.0.as_ref().ok().cloned().map(Arc::new);
        self.store.state().iter().filter_map(decoded).collect()
    }

    /// The store itself, for what need not be whole.
    pub fn store(&self) -> &Store<GuardedTwin> {
        &self.store
    }
}

/// The twins of a watch, and the stream that a Controller runs on.
pub fn seen_by(
    events: impl Stream<Item = watcher::Result<watcher::Event<GuardedTwin>>> + Send + 'static,
) -> (
    Twins,
    impl Stream<Item = watcher::Result<GuardedTwin>> + Send + 'static,
) {
    let (store, writer) = reflector::store();
    let (tell, listed) = watch::channel(false);
    let applied = reflector::reflector(writer, events)
        .inspect(move |event| {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                tell.send_replace(true);
            }
        })
        .applied_objects();
    (Twins { store, listed }, applied)
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use kube::core::DeserializeGuard;

    use super::*;

    fn twin(name: &str) -> GuardedTwin {
        let twin = serde_json::json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": name, "namespace": "ops", "uid": name},
            "spec": {"hostRef": {"name": name}, "className": "lab"},
        });
        DeserializeGuard(Ok(serde_json::from_value(twin).unwrap()))
    }

    #[tokio::test]
    async fn every_driver_that_waits_for_the_list_of_twins_goes_on_when_it_is_whole() {
        let (events, watch) = mpsc::unbounded();
        let (twins, applied) = seen_by(watch);
        let drivers: Vec<_> = (0..3)
            .map(|_| {
                let twins = twins.clone();
                tokio::spawn(async move { twins.all().await.len() })
            })
            .collect();
        let controller = tokio::spawn(applied.for_each(|_| std::future::ready(())));
        tokio::task::yield_now().await;
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(twin("web-01")),
            watcher::Event::InitApply(twin("db-01")),
            watcher::Event::InitDone,
        ] {
            assert!(drivers.iter().all(|driver| !driver.is_finished()));
            events.unbounded_send(Ok(event)).unwrap();
            tokio::task::yield_now().await;
        }
        for driver in drivers {
            assert_eq!(driver.await.unwrap(), 2);
        }
        controller.abort();
    }
}
