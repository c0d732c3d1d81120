//! The client certificate with which a hypervisor is reached over TLS.

use safetytwin_crds::Digest;

/// Client certificate for `qemu+tls`, PEM. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsCredentials {
    /// Where it is from, for messages: `Secret safetytwin/hv1`.
    pub origin: String,
    /// Certificate authority of the hypervisor.
    pub ca: Vec<u8>,
    /// Client certificate.
    pub certificate: Vec<u8>,
    /// Client key.
    pub key: Vec<u8>,
}

impl TlsCredentials {
    /// Tells one content from another, wherever it is from.
    pub fn digest(&self) -> Digest {
        Digest::of_fields([self.ca.as_slice(), &self.certificate, &self.key])
    }
}

impl std::fmt::Debug for TlsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsCredentials")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
