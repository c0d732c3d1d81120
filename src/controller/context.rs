//! What all drivers share: the client, the ports, and what is remembered between reconciles.
//!
//! Nothing remembered here is needed for correctness: after a restart it is rebuilt from the API,
//! the VM and the guest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use safetytwin_crds::digest::Digest;
use safetytwin_crds::{DigitalTwin, HostState};
use tokio::sync::watch;

use super::api;
use super::backoff::{self, Backoffs};
use super::error::Error;
use super::events::Events;
use super::health::Pulse;
use super::metrics::Metrics;
use super::ports::{Clock, Doors, Hypervisor};
use super::twins::Twins;
use crate::guest::{Guest, GuestAddress, GuestDoor};
use crate::vm::TwinVm;

/// The first wait after a look that showed another attempt of failed items to be in vain.
const FIRST_LOOK: Duration = Duration::from_secs(120);
/// The longest of these waits.
const LAST_LOOK: Duration = Duration::from_hours(6);

/// A twin as watches deliver it: also one that does not decode.
pub type GuardedTwin = DeserializeGuard<DigitalTwin>;
/// A host as watches deliver it.
pub type GuardedHost = DeserializeGuard<HostState>;

/// Shared by all drivers of a controller.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The controller's own namespace: keys, credentials, lease.
    pub namespace: String,
    /// The namespace of the hosts' accounts.
    pub accounts: String,
    /// Hypervisors.
    pub hypervisors: Arc<dyn Hypervisor>,
    /// Doors to guests.
    pub doors: Arc<dyn Doors>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Kubernetes events.
    pub events: Events,
    /// Prometheus metrics.
    pub metrics: Arc<Metrics>,
    /// Signs of life.
    pub pulse: Arc<Pulse>,
    /// Waits after failures.
    pub backoffs: Backoffs,
    /// What is remembered between reconciles.
    pub memory: Memory,
    /// All twins, once their watch has begun.
    pub twins: OnceLock<Twins>,
    /// True while this process leads and is not asked to stop.
    pub running: watch::Receiver<bool>,
    /// How many reconciles run.
    pub busy: watch::Sender<usize>,
}

/// What is remembered between reconciles; lost on restart without harm.
#[derive(Default)]
pub struct Memory {
    inner: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    /// One driver at a time works on a twin, by twin UID.
    locks: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// The twin's connection, by twin UID.
    doors: HashMap<String, Arc<dyn GuestDoor>>,
    /// What of its host a twin last saw, by twin UID.
    seen: HashMap<String, Digest>,
    /// When a host was met, by host UID.
    met: HashMap<String, Timestamp>,
    /// Last beat of a host by our clock, by host UID.
    beats: HashMap<String, Beat>,
    /// Hosts whose accounts have their rights, by host UID.
    access: HashSet<String>,
    /// Hosts whose sections are to be written again, by name.
    resend: HashSet<String>,
    /// When a twin's guest was last looked at in full, by twin UID.
    audited: HashMap<String, Timestamp>,
    /// VMs that drivers have opened, by twin UID.
    watched: HashMap<String, Watched>,
    /// Which incarnation of the machine was seen last, by twin UID.
    machines: HashMap<String, String>,
    /// Which boot of the guest was seen last, by twin UID.
    boots: HashMap<String, String>,
    /// The connection on which the boot was asked for, by twin UID.
    connections: HashMap<String, Weak<dyn Guest>>,
    /// Epoch that this process claimed, by twin UID.
    epochs: HashMap<String, i64>,
    /// When a failed item of the twin is due again, by twin UID.
    retries: HashMap<String, Option<Timestamp>>,
    /// How often in a row a look showed that another attempt would be in vain, by twin UID.
    vain: HashMap<String, u32>,
    /// Client certificate that was seen last, by class name.
    credentials: HashMap<String, Option<Digest>>,
    /// Wakes the driver of twins.
    wake_twin: Option<mpsc::UnboundedSender<ObjectRef<GuardedTwin>>>,
    /// Wakes the driver of hosts.
    wake_host: Option<mpsc::UnboundedSender<ObjectRef<GuardedHost>>>,
}

/// A VM that a driver has opened, and the way into its guest.
#[derive(Clone)]
pub struct Watched {
    /// UID of the twin.
    pub uid: String,
    /// Namespace of the twin.
    pub namespace: String,
    /// Name of the twin.
    pub name: String,
    /// The VM.
    pub vm: Arc<dyn TwinVm>,
    /// The way to the guest.
    pub door: Arc<dyn GuestDoor>,
    /// Where the guest is.
    pub address: GuestAddress,
}

/// The newest head of a host that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Boot id in the head.
    pub boot_id: String,
    /// Sequence in the head.
    pub sequence: i64,
    /// When it was first seen by our clock.
    pub seen: Timestamp,
}

impl Memory {
    fn inner(&self) -> MutexGuard<'_, Remembered> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock that every operation on a twin holds.
    pub fn lock_of(&self, twin_uid: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.inner().locks.entry(twin_uid.to_owned()).or_default())
    }

    /// The twin's door, made when there is none.
    pub fn door(&self, twin_uid: &str, doors: &dyn Doors) -> Arc<dyn GuestDoor> {
        Arc::clone(
            self.inner()
                .doors
                .entry(twin_uid.to_owned())
                .or_insert_with(|| doors.door()),
        )
    }

    /// Remembers what a twin sees of its host; answers whether that is new.
    pub fn sees(&self, twin_uid: &str, sight: Digest) -> bool {
        self.inner().seen.insert(twin_uid.to_owned(), sight) != Some(sight)
    }

    /// The last beat of a host, replaced when `head` is another one.
    pub fn beat(&self, host_uid: &str, head: Beat) -> Beat {
        let mut inner = self.inner();
        match inner.beats.get(host_uid) {
            Some(last) if last.boot_id == head.boot_id && last.sequence == head.sequence => last.clone(),
            _ => {
                inner.beats.insert(host_uid.to_owned(), head.clone());
                head
            }
        }
    }

    /// When this process met a host: now, if it never did.
    pub fn met(&self, host_uid: &str, now: Timestamp) -> Timestamp {
        *self.inner().met.entry(host_uid.to_owned()).or_insert(now)
    }

    /// Whether a beat of a host was seen since this process began.
    pub fn knows_host(&self, host_uid: &str) -> bool {
        self.inner().beats.contains_key(host_uid)
    }

    /// Asks for a resend of a host's sections.
    pub fn want_resend(&self, host: &str) {
        let mut inner = self.inner();
        let new = inner.resend.insert(host.to_owned());
        if let Some(wake) = inner.wake_host.as_ref().filter(|_| new) {
            // The receiver lives as long as the controller.
            let _closed = wake.unbounded_send(ObjectRef::new(host));
        }
    }

    /// Takes the wish for a resend, if there is one.
    pub fn take_resend(&self, host: &str) -> bool {
        self.inner().resend.remove(host)
    }

    /// When the twin's guest was last looked at in full.
    pub fn audited(&self, twin_uid: &str) -> Option<Timestamp> {
        self.inner().audited.get(twin_uid).copied()
    }

    /// Remembers a full look at the guest.
    pub fn set_audited(&self, twin_uid: &str, at: Timestamp) {
        self.inner().audited.insert(twin_uid.to_owned(), at);
    }

    /// The epoch that this process claimed for a twin.
    pub fn epoch_of(&self, twin_uid: &str) -> Option<i64> {
        self.inner().epochs.get(twin_uid).copied()
    }

    /// Remembers a claimed epoch.
    pub fn set_epoch(&self, twin_uid: &str, epoch: i64) {
        self.inner().epochs.insert(twin_uid.to_owned(), epoch);
    }

    /// When a failed item is due again; the outer `None`: not known.
    pub fn retry_of(&self, twin_uid: &str) -> Option<Option<Timestamp>> {
        self.inner().retries.get(twin_uid).copied()
    }

    /// Remembers when a failed item is due again.
    pub fn set_retry(&self, twin_uid: &str, at: Option<Timestamp>) {
        let mut inner = self.inner();
        inner.vain.remove(twin_uid);
        inner.retries.insert(twin_uid.to_owned(), at);
    }

    /// Another attempt of a twin's failed items would be in vain now: looks again later, each time twice as
    /// late.
    pub fn put_off_retry(&self, twin_uid: &str, now: Timestamp) {
        let mut inner = self.inner();
        let count = inner.vain.entry(twin_uid.to_owned()).or_default();
        let wait = backoff::doubled(FIRST_LOOK, *count, LAST_LOOK);
        *count = count.saturating_add(1);
        let at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        inner.retries.insert(twin_uid.to_owned(), Some(at));
    }

    /// Remembers a VM for the VM watch.
    pub fn watch_vm(&self, watched: Watched) {
        self.inner().watched.insert(watched.uid.clone(), watched);
    }

    /// VMs that drivers have opened.
    pub fn watched(&self) -> Vec<Watched> {
        self.inner().watched.values().cloned().collect()
    }

    /// Remembers an incarnation of the machine; answers whether another one was known before.
    pub fn saw_machine(&self, twin_uid: &str, incarnation: &str) -> bool {
        let before = self
            .inner()
            .machines
            .insert(twin_uid.to_owned(), incarnation.to_owned());
        before.is_some_and(|b| b != incarnation)
    }

    /// Remembers a boot of the guest; answers whether another one was known before.
    pub fn saw_boot(&self, twin_uid: &str, boot_id: &str) -> bool {
        let before = self.inner().boots.insert(twin_uid.to_owned(), boot_id.to_owned());
        before.is_some_and(|b| b != boot_id)
    }

    /// The boot of the guest that was seen last.
    pub fn boot_of(&self, twin_uid: &str) -> Option<String> {
        self.inner().boots.get(twin_uid).cloned()
    }

    /// Whether `guest` is another connection than the last one; remembers it.
    pub fn is_new_connection(&self, twin_uid: &str, guest: &Arc<dyn Guest>) -> bool {
        let mut inner = self.inner();
        let known = inner.connections.get(twin_uid).and_then(Weak::upgrade);
        if known.is_some_and(|known| Arc::ptr_eq(&known, guest)) {
            return false;
        }
        inner
            .connections
            .insert(twin_uid.to_owned(), Arc::downgrade(guest));
        true
    }

    /// Remembers the client certificate of a class; answers whether another one was known before.
    pub fn saw_credentials(&self, class: &str, digest: Option<Digest>) -> bool {
        let before = self.inner().credentials.insert(class.to_owned(), digest);
        before.is_some_and(|b| b != digest)
    }

    /// Wakes the driver of a twin.
    pub fn wake_twin(&self, namespace: &str, name: &str) {
        if let Some(wake) = &self.inner().wake_twin {
            // The receiver lives as long as the controller.
            let _closed = wake.unbounded_send(ObjectRef::new(name).within(namespace));
        }
    }

    /// Streams on which drivers are woken; called once, by the wiring.
    pub fn wakers(
        &self,
    ) -> (
        mpsc::UnboundedReceiver<ObjectRef<GuardedTwin>>,
        mpsc::UnboundedReceiver<ObjectRef<GuardedHost>>,
    ) {
        let (twin, twins) = mpsc::unbounded();
        let (host, hosts) = mpsc::unbounded();
        let mut inner = self.inner();
        inner.wake_twin = Some(twin);
        inner.wake_host = Some(host);
        (twins, hosts)
    }

    /// Forgets a twin that is gone.
    pub fn forget_twin(&self, twin_uid: &str) {
        let mut inner = self.inner();
        inner.locks.remove(twin_uid);
        inner.doors.remove(twin_uid);
        inner.seen.remove(twin_uid);
        inner.audited.remove(twin_uid);
        inner.watched.remove(twin_uid);
        inner.epochs.remove(twin_uid);
        inner.retries.remove(twin_uid);
        inner.machines.remove(twin_uid);
        inner.boots.remove(twin_uid);
        inner.connections.remove(twin_uid);
    }

    /// Forgets a class that is gone.
    pub fn forget_class(&self, class: &str) {
        self.inner().credentials.remove(class);
    }

    /// Whether this process gave a host's account its rights.
    pub fn has_access(&self, host_uid: &str) -> bool {
        self.inner().access.contains(host_uid)
    }

    /// Remembers that it did; answers whether that is new.
    pub fn gave_access(&self, host_uid: &str) -> bool {
        self.inner().access.insert(host_uid.to_owned())
    }

    /// Forgets a host that is gone.
    pub fn forget_host(&self, host_uid: &str) {
        let mut inner = self.inner();
        inner.met.remove(host_uid);
        inner.beats.remove(host_uid);
        inner.access.remove(host_uid);
    }
}

impl Context {
    /// All twins that decode: from the watch's store when there is one, else listed.
    pub async fn all_twins(&self) -> Result<Vec<Arc<DigitalTwin>>, Error> {
        if let Some(twins) = self.twins.get() {
            return Ok(twins.all().await);
        }
        let twins: Api<GuardedTwin> = Api::all(self.client.clone());
        let list = api::within("list twins", twins.list(&kube::api::ListParams::default())).await?;
        Ok(list
            .items
            .into_iter()
            .filter_map(|t| t.0.ok().map(Arc::new))
            .collect())
    }

    /// Whether this process may still act; else why not.
    pub fn may_act(&self) -> Result<(), Error> {
        if *self.running.borrow() {
            Ok(())
        } else {
            Err(Error::Stopped("the controller stops or leads no longer"))
        }
    }
}

/// `namespace/name` of a twin.
pub fn full_name(twin: &DigitalTwin) -> String {
    format!("{}/{}", twin.namespace().unwrap_or_default(), twin.name_any())
}
