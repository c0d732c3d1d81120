//! The port to a twin's VM.
//!
//! One [`TwinVm`] is one VM. Every call is idempotent: names and UUIDs are given by the caller and
//! derived from the twin's UID, so a repeated call after a crash finds what the first one made.
//! Calls have deadlines of their own. Backends: libvirt (feature `libvirt`), and a fake that passes
//! the same conformance suite.

use std::net::IpAddr;

use async_trait::async_trait;
use safetytwin_crds::twinclass::{PointMode, Vm};
use safetytwin_crds::twinsnapshot::TakenMode;

pub mod chain;
pub mod conformance;
pub mod fake;
#[cfg(feature = "libvirt")]
pub mod libvirt;
pub mod names;
mod tls;

pub use tls::TlsCredentials;

/// Namespace of the metadata by which a domain says whose twin it is.
pub const MARK: &str = "https://safetytwin.com/xmlns/libvirt/v1alpha1";

/// A VM to make, or a domain to adopt.
#[derive(Clone, Debug, PartialEq)]
pub struct VmSpec {
    /// Domain name: `<namespace>-<twin>-<short uid>`, `[a-z0-9-]`, at most 63 bytes.
    pub name: String,
    /// Domain UUID: the twin's UID, or that of the domain to adopt.
    pub uuid: String,
    /// UID of the twin, written into the domain's metadata.
    pub twin_uid: String,
    /// Where it comes from.
    pub origin: VmOrigin,
    /// Storage pool of type `dir`.
    pub pool: String,
    /// Network to attach; isolated unless the class says otherwise.
    pub network: String,
    /// Machine settings.
    pub vm: Vm,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// Where a VM comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum VmOrigin {
    /// An overlay over this volume of the pool, first-booted with this seed.
    BaseImage {
        /// Volume name.
        volume: String,
        /// cloud-init NoCloud data.
        seed: Seed,
    },
    /// An existing domain, never deleted.
    Adopt,
}

/// cloud-init NoCloud data of a new VM. No password anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed {
    /// Constant for the life of the VM, else cloud-init makes new host keys.
    pub instance_id: String,
    /// Host name inside the VM.
    pub hostname: String,
    /// OpenSSH public key that may log in as root, with its restrictions.
    pub authorized_key: String,
    /// Pinned host key of the guest, OpenSSH private key format.
    pub host_key_private: String,
    /// Public half of the host key.
    pub host_key_public: String,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seed")
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

/// What is true of a VM now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmFacts {
    /// It runs.
    pub running: bool,
    /// Changes with every start and every revert: domain id, current point, generation id.
    pub incarnation: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Epoch in the domain's metadata; 0 when there is none.
    pub epoch: i64,
    /// Free bytes in the pool.
    pub free_bytes: u64,
    /// The network has no way out.
    pub isolated: bool,
    /// Addresses, the most likely one first; believed only after the pinned host key answers.
    pub addresses: Vec<IpAddr>,
    /// Points, in the order they were taken.
    pub points: Vec<Point>,
}

/// A restore point of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Name given by the caller.
    pub name: String,
    /// Name of the point before it in the chain.
    pub parent: Option<String>,
    /// The VM's present is built on this point.
    pub current: bool,
    /// Memory and disk, or disk only.
    pub mode: TakenMode,
}

/// A point to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointRequest {
    /// Name: `[a-z0-9-]{1,63}`.
    pub name: String,
    /// Auto is decided by the caller before: here it means Full when possible.
    pub mode: PointMode,
}

/// A point that was taken, or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointTaken {
    /// What it holds.
    pub mode: TakenMode,
    /// How long the call took, in milliseconds; 0 when the point existed.
    pub milliseconds: u64,
    /// Bytes of the files that were made for it.
    pub size_bytes: u64,
    /// It existed before.
    pub existed: bool,
}

/// A VM call that failed.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The hypervisor does not answer; try again.
    #[error("hypervisor {uri} is unreachable: {message}")]
    Unreachable {
        /// Connection URI.
        uri: String,
        /// What it said.
        message: String,
    },
    /// The hypervisor is reached over TLS and no client certificate is given: only an administrator
    /// can help.
    #[error(
        "hypervisor {uri} is reached over TLS, which needs a client certificate: the class must name its Secret in spec.libvirt.credentialsRef, and this hypervisor in uri"
    )]
    NoCredentials {
        /// Connection URI.
        uri: String,
    },
    /// A call took longer than its deadline; the outcome is unknown, observe before acting.
    #[error("{call} took longer than {seconds} s")]
    Deadline {
        /// Which call.
        call: &'static str,
        /// Its deadline.
        seconds: u64,
    },
    /// Something that the class names does not exist: only an administrator can help.
    #[error("{what} {name:?} does not exist: {hint}")]
    Missing {
        /// Pool, network, volume or domain.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do.
        hint: String,
    },
    /// Something exists that is not ours or not usable: only an administrator can help.
    #[error("{what} {name:?} cannot be used: {why}")]
    Refused {
        /// Domain, point, volume.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// The pool is full.
    #[error("not enough space in pool {pool:?}: {message}")]
    NoSpace {
        /// The pool.
        pool: String,
        /// What libvirt said.
        message: String,
    },
    /// A point that the hypervisor cannot load: it stays as it is, and so does the VM, which may have been stopped.
    #[error("cannot go back to point {point}: {message}")]
    NotReverted {
        /// Name of the point.
        point: String,
        /// What libvirt said.
        message: String,
    },
    /// Any other failure; tried again.
    #[error("failed to {call}: {message}")]
    Failed {
        /// Which call.
        call: &'static str,
        /// What it said, printable.
        message: String,
    },
}

impl VmError {
    /// Whether trying again without a user's help can succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::NoCredentials { .. }
                | Self::Missing { .. }
                | Self::Refused { .. }
                | Self::NotReverted { .. }
        )
    }

    /// PascalCase reason for conditions and events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "HypervisorUnreachable",
            Self::NoCredentials { .. } => "CredentialsMissing",
            Self::Deadline { .. } => "HypervisorTimeout",
            Self::Missing { .. } => "ClassIncomplete",
            Self::Refused { .. } => "DomainRefused",
            Self::NoSpace { .. } => "NoSpace",
            Self::NotReverted { .. } => "RevertFailed",
            Self::Failed { .. } => "HypervisorFailed",
        }
    }
}

/// A twin's VM.
#[async_trait]
pub trait TwinVm: Send + Sync {
    /// Makes what is missing of the VM (overlay, seed, domain), or checks the domain to adopt, and
    /// starts it. Makes nothing twice.
    async fn ensure(&self) -> Result<VmFacts, VmError>;

    /// What is true now; `None` when the domain does not exist. Changes nothing.
    async fn observe(&self) -> Result<Option<VmFacts>, VmError>;

    /// Takes a point, or answers the one of this name when it exists and is whole; half a point is
    /// removed and taken anew.
    async fn take_point(&self, request: &PointRequest) -> Result<PointTaken, VmError>;

    /// Goes back to a point: paused, link down, metadata (epoch, owner) rewritten, then resumed
    /// with the link up. A Disk point boots. `epoch` is written before the guest runs.
    async fn revert(&self, point: &str, epoch: i64) -> Result<(), VmError>;

    /// Sets the guest's clock through the guest agent; answers false when there is no agent.
    async fn set_clock(&self) -> Result<bool, VmError>;

    /// Removes a point that is no branch point; a missing one is success.
    async fn delete_point(&self, name: &str) -> Result<(), VmError>;

    /// Writes the epoch into the domain's metadata.
    async fn claim(&self, epoch: i64) -> Result<(), VmError>;

    /// Removes domain, points, overlay and seed that we made, and nothing else. An adopted domain
    /// only loses our metadata. Missing is success.
    async fn delete(&self) -> Result<(), VmError>;
}
