//! TLS with the authority that the cluster's configuration names, else with those that the machine trusts.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Config;
use kube::config::AuthInfo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret as _;

use super::ConnectionError;

/// The file of an authority is read again after this time, by the next handshake: a cluster may change it.
const RENEWED: Duration = Duration::from_secs(60);

/// Fields of a kubeconfig.
const AUTHORITY: &str = "certificate-authority";
const CERTIFICATE: &str = "client-certificate";
const KEY: &str = "client-key";

/// The client's side of a handshake.
///
/// # Errors
/// Certificates or a key cannot be read.
pub fn client(config: &Config) -> Result<ClientConfig, ConnectionError> {
    let builder = ClientConfig::builder();
    let builder = match (&config.root_cert_file, &config.root_cert) {
        (Some(path), _) => {
            let authority = Arc::new(Authority::read(path.clone())?);
            builder.dangerous().with_custom_certificate_verifier(authority)
        }
        (None, Some(certificates)) => {
            let certificates = certificates
                .iter()
                .map(|der| CertificateDer::from(der.as_slice()));
            builder.with_webpki_verifier(verifier(certificates)?)
        }
        (None, None) => builder.with_platform_verifier().map_err(unusable(AUTHORITY))?,
    };
    match identity(&config.auth_info)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable(KEY)),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// What the user of a kubeconfig presents of itself.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(user: &AuthInfo) -> Result<Option<Identity>, ConnectionError> {
    let key = user.client_key_data.as_ref().map(|data| data.expose_secret());
    let certificate = pem(
        CERTIFICATE,
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_deref(),
    )?;
    let (certificate, key) = match (certificate, pem(KEY, key, user.client_key.as_deref())?) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(unusable(KEY)("it is missing beside client-certificate")),
        (None, Some(_)) => return Err(unusable(CERTIFICATE)("it is missing beside client-key")),
    };
    let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(unusable(CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(unusable(KEY))?;
    Ok(Some((chain, key)))
}

/// What is in a field of a kubeconfig as base64, or in the file that it names.
fn pem(
    what: &'static str,
    data: Option<&str>,
    path: Option<&str>,
) -> Result<Option<Vec<u8>>, ConnectionError> {
    match (data, path) {
        (Some(data), _) => STANDARD.decode(data).map(Some).map_err(unusable(what)),
        (None, Some(path)) => read(path.as_ref()).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectionError> {
    std::fs::read(path).map_err(|source| ConnectionError::Read {
        path: path.into(),
        source,
    })
}

fn unusable<E: Display>(what: &'static str) -> impl Fn(E) -> ConnectionError {
    move |why| ConnectionError::Certificate {
        what,
        why: why.to_string(),
    }
}

fn verifier<'a>(
    certificates: impl Iterator<Item = CertificateDer<'a>>,
) -> Result<Arc<WebPkiServerVerifier>, ConnectionError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.into_owned()).map_err(unusable(AUTHORITY))?;
    }
    WebPkiServerVerifier::builder(Arc::new(roots))
        .build()
        .map_err(unusable(AUTHORITY))
}

/// An authority in a file, such as that of a pod's service account. All verifying is rustls' own.
#[derive(Debug)]
pub(super) struct Authority {
    path: PathBuf,
    known: RwLock<(Arc<WebPkiServerVerifier>, Instant)>,
}

impl Authority {
    pub(super) fn read(path: PathBuf) -> Result<Self, ConnectionError> {
        let known = RwLock::new((Self::verifier(&path)?, Instant::now()));
        Ok(Self { path, known })
    }

    fn verifier(path: &Path) -> Result<Arc<WebPkiServerVerifier>, ConnectionError> {
        let text = read(path)?;
        let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        verifier(certificates.map_err(unusable(AUTHORITY))?.into_iter())
    }

    /// As the file is now; a file that cannot be used leaves what was read last.
    pub(super) fn at(&self, now: Instant) -> Arc<WebPkiServerVerifier> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(known.1) >= RENEWED {
            known.1 = now;
            match Self::verifier(&self.path) {
                Ok(verifier) => known.0 = verifier,
                Err(error) => tracing::warn!(%error, "the cluster's authority stays as it was read last"),
            }
        }
        Arc::clone(&known.0)
    }

    fn current(&self) -> Arc<WebPkiServerVerifier> {
        self.at(Instant::now())
    }
}

impl ServerCertVerifier for Authority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.current()
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}
