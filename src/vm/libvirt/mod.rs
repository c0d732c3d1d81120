//! [`TwinVm`] on libvirt (QEMU driver), local or remote.
//!
//! One connection per URI and client certificate (`endpoint`, `pki`), shared by all VMs there, with
//! one thread that owns it (`link`); it ends with the last handle of a VM that uses it. Every
//! method is one closure on that thread (`lifecycle`, `points`, `facts`) with a deadline; between
//! two effects it asks whether anybody still waits for it. Nothing is pasted into XML (`xml`,
//! `machine`), and only what is needed is read from it (`read`). Volumes go through the storage API
//! (`storage`, `seed`), so a remote hypervisor works like a local one.

mod call;
mod class;
mod endpoint;
mod errors;
mod facts;
mod lifecycle;
mod link;
mod machine;
mod pki;
mod points;
mod read;
mod seed;
mod snapshot;
mod storage;
mod xml;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use safetytwin_crds::twinclass::Libvirt;

use super::{PointRequest, PointTaken, TwinVm, VmError, VmFacts, VmSpec};
use call::Call;
use link::Link;

pub use endpoint::Endpoint;

/// Calls that only read, or write a few bytes.
const SHORT: Duration = Duration::from_secs(20);
/// Calls that start QEMU, or move a guest's memory or disk.
const LONG: Duration = Duration::from_secs(180);

/// All connections of this process, one per URI and client certificate.
#[derive(Default)]
pub struct Hypervisors {
    /// Held by the VMs: after a rotation the old certificate's connection ends with its last user.
    links: Mutex<BTreeMap<endpoint::Key, Weak<Link>>>,
}

impl Hypervisors {
    /// No connection yet.
    pub fn new() -> Self {
        // libvirt would print every error to stderr.
        virt::error::clear_error_callback();
        Self::default()
    }

    /// The VM of a twin. Makes nothing and connects to nothing; the first call does.
    pub fn vm(&self, endpoint: &Endpoint, spec: VmSpec) -> Arc<dyn TwinVm> {
        Arc::new(LibvirtVm {
            link: self.link(endpoint),
            spec: Arc::new(spec),
        })
    }

    /// Whether everything that a class names exists: connection, pool, network, volumes or domain.
    ///
    /// # Errors
    /// The first thing that is not there or cannot be used, with what to do.
    pub async fn check(&self, endpoint: &Endpoint, class: &Libvirt) -> Result<(), VmError> {
        let class = class.clone();
        let work = move |session: &link::Session<'_>| {
            let spec = class::spec(&class);
            Call { session, spec: &spec }.check_class(&class)
        };
        self.link(endpoint).call("check the class", SHORT, work).await
    }

    fn link(&self, endpoint: &Endpoint) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.strong_count() > 0);
        let key = endpoint.key();
        if let Some(link) = links.get(&key).and_then(Weak::upgrade) {
            return link;
        }
        let link = Arc::new(Link::new(endpoint.clone()));
        links.insert(key, Arc::downgrade(&link));
        link
    }
}

/// A VM of libvirt.
struct LibvirtVm {
    link: Arc<Link>,
    spec: Arc<VmSpec>,
}

impl LibvirtVm {
    async fn call<R: Send + 'static>(
        &self,
        call: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Call<'_>) -> Result<R, VmError> + Send + 'static,
    ) -> Result<R, VmError> {
        let spec = Arc::clone(&self.spec);
        let work = move |session: &link::Session<'_>| work(&Call { session, spec: &spec });
        self.link.call(call, deadline, work).await
    }
}

#[async_trait]
impl TwinVm for LibvirtVm {
    async fn ensure(&self) -> Result<VmFacts, VmError> {
        self.call("make the VM", LONG, |call| call.ensure()).await
    }

    async fn observe(&self) -> Result<Option<VmFacts>, VmError> {
        self.call("observe the VM", SHORT, |call| call.observe()).await
    }

    async fn take_point(&self, request: &PointRequest) -> Result<PointTaken, VmError> {
        let request = request.clone();
        self.call("take a point", LONG, move |call| call.take_point(&request))
            .await
    }

    async fn revert(&self, point: &str, epoch: i64) -> Result<(), VmError> {
        let point = point.to_owned();
        self.call("revert to a point", LONG, move |call| call.revert(&point, epoch))
            .await
    }

    async fn set_clock(&self) -> Result<bool, VmError> {
        self.call("set the guest's clock", SHORT, |call| call.set_clock())
            .await
    }

    async fn delete_point(&self, name: &str) -> Result<(), VmError> {
        let name = name.to_owned();
        self.call("delete a point", LONG, move |call| call.delete_point(&name))
            .await
    }

    async fn claim(&self, epoch: i64) -> Result<(), VmError> {
        self.call("write the epoch", SHORT, move |call| call.claim(epoch))
            .await
    }

    async fn delete(&self) -> Result<(), VmError> {
        self.call("delete the VM", LONG, |call| call.delete()).await
    }
}
