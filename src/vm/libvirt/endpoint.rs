//! Where a hypervisor is, and how it is connected to.

use safetytwin_crds::Digest;
use virt::connect::Connect;

use super::super::{TlsCredentials, VmError};
use super::errors::printable;
use super::pki::Files;

/// A hypervisor to connect to: its URI and, over TLS, the client certificate.
#[derive(Clone, Debug)]
pub struct Endpoint {
    uri: String,
    credentials: Option<TlsCredentials>,
}

/// Endpoints with equal keys share a connection.
pub(super) type Key = (String, Option<Digest>);

impl Endpoint {
    /// `uri` may carry libvirt's own parameters (`socket`): whoever calls has checked it.
    /// Credentials are for TLS only; another transport has no use for them.
    ///
    /// # Errors
    /// [`VmError::NoCredentials`]: libvirt would take whatever certificate this machine has.
    pub fn new(uri: &str, credentials: Option<&TlsCredentials>) -> Result<Self, VmError> {
        let tls = is_tls(uri);
        if tls && credentials.is_none() {
            return Err(VmError::NoCredentials { uri: uri.to_owned() });
        }
        Ok(Self {
            uri: uri.to_owned(),
            credentials: credentials.filter(|_| tls).cloned(),
        })
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    pub(super) fn key(&self) -> Key {
        let credentials = self.credentials.as_ref().map(TlsCredentials::digest);
        (self.uri.clone(), credentials)
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`VmError::Unreachable`] with what libvirt says; [`VmError::Failed`]: no file could be
    /// written for it.
    pub(super) fn open(&self) -> Result<Connect, VmError> {
        let Some(credentials) = &self.credentials else {
            return Connect::open(Some(&self.uri)).map_err(|error| self.unreachable(error.message()));
        };
        let files = Files::write(credentials).map_err(|error| VmError::Failed {
            call: "hand the client certificate to libvirt",
            message: format!("no private folder could be made below $TMPDIR or /tmp: {error}"),
        })?;
        // libvirt reads the files while it connects and never again: they live as long as this call.
        Connect::open(Some(&files.uri(&self.uri))).map_err(|error| {
            let said = files.named(error.message(), &credentials.origin);
            match advice(&said) {
                Some(advice) => self.unreachable(&format!("{said} ({}: {advice})", credentials.origin)),
                None => self.unreachable(&said),
            }
        })
    }

    pub(super) fn unreachable(&self, message: &str) -> VmError {
        VmError::Unreachable {
            uri: self.uri.clone(),
            message: printable(message),
        }
    }
}

/// Whether libvirt speaks TLS there: it does so too when a URI has a host and no transport
/// (libvirt.org/uri.html).
fn is_tls(uri: &str) -> bool {
    let (scheme, rest) = uri.split_once("://").unwrap_or((uri, ""));
    match scheme.split_once('+') {
        Some((_, transport)) => transport == "tls",
        None => !rest.is_empty() && !rest.starts_with('/'),
    }
}

/// What to do about an answer that does not say whose certificate is refused. libvirt has no codes of
/// its own for these.
fn advice(said: &str) -> Option<&'static str> {
    let any = |texts: [&str; 2]| texts.iter().any(|text| said.contains(text));
    if any(["TLS confirmation", "of our certificate"]) {
        return Some(
            "the hypervisor refuses tls.crt; it must be signed by an authority of the hypervisor's ca_file, \
             and fit its tls_allowed_dn_list",
        );
    }
    if any(["verify peer's certificate", "known issuer"]) {
        return Some(
            "ca.crt must hold the authorities of tls.crt and of the hypervisor, whose certificate must be \
             valid for the host in the URI",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(key: &str) -> TlsCredentials {
        TlsCredentials {
            origin: "Secret safetytwin/hv1".into(),
            ca: b"ca".to_vec(),
            certificate: b"certificate".to_vec(),
            key: key.into(),
        }
    }

    #[test]
    fn tls_needs_a_certificate_of_the_class_and_nothing_else_takes_one() {
        for uri in [
            "qemu+tls://hv1/system",
            "qemu+tls:///system",
            "qemu://hv1/system",
            "qemu://[fd00::1]/system",
        ] {
            let without = Endpoint::new(uri, None);
            assert!(matches!(without, Err(VmError::NoCredentials { .. })), "{uri}");
            let with = Endpoint::new(uri, Some(&credentials("a"))).unwrap();
            assert!(with.credentials.is_some(), "{uri}");
        }
        for uri in [
            "qemu:///system",
            "qemu+unix:///session",
            "qemu+tcp://hv1/system",
            "test:///default",
        ] {
            assert!(Endpoint::new(uri, None).is_ok(), "{uri}");
            let with = Endpoint::new(uri, Some(&credentials("a"))).unwrap();
            assert!(with.credentials.is_none(), "{uri}");
        }
    }

    #[test]
    fn another_certificate_means_another_connection() {
        let key = |uri: &str, key: &str| Endpoint::new(uri, Some(&credentials(key))).unwrap().key();
        let first = key("qemu+tls://hv1/system", "a");
        assert_eq!(first, key("qemu+tls://hv1/system", "a"));
        assert_ne!(first, key("qemu+tls://hv1/system", "b"));
        assert_ne!(first, key("qemu+tls://hv2/system", "a"));
        assert_eq!(key("qemu:///system", "a"), key("qemu:///system", "b"));
    }
}
