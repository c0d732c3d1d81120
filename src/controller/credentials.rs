//! Client certificates of hypervisors: Secrets of the controller's namespace, named by classes.
//!
//! They are read anew by every reconcile that needs one, never listed or watched: a Secret that
//! appears or changes is found by the next look at its class.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::api;
use super::error::Error;
use crate::vm::TlsCredentials;

/// Key of the Secret: certificate authority of the hypervisor.
pub const CA: &str = "ca.crt";
/// Key of the Secret: client certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the Secret: client key.
pub const KEY: &str = "tls.key";

/// The client certificate in a Secret.
///
/// # Errors
/// There is no such Secret, or it is not whole; the message names Secret and key.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<TlsCredentials, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api::read("read the class's credentials", &secrets, name).await? {
        Some(secret) => from_secret(&secret),
        None => Err(missing(format!(
            "Secret {namespace}/{name} does not exist: create it with {CA}, {CERTIFICATE} and {KEY}"
        ))),
    }
}

/// The client certificate that a Secret holds. Whether key and certificate belong together, and
/// whether they are valid now, is for those to judge who use them.
///
/// # Errors
/// A key is missing or holds something else; the message names it.
pub fn from_secret(secret: &Secret) -> Result<TlsCredentials, Error> {
    let origin = format!(
        "Secret {}/{}",
        secret.namespace().unwrap_or_default(),
        secret.name_any()
    );
    let part = |key: &str| match secret.data.as_ref().and_then(|data| data.get(key)) {
        Some(bytes) if !bytes.0.is_empty() => Ok(bytes.0.clone()),
        _ => Err(missing(format!(
            "{origin} lacks {key}: it must hold {CA}, {CERTIFICATE} and {KEY}"
        ))),
    };
    let (ca, certificate, key) = (part(CA)?, part(CERTIFICATE)?, part(KEY)?);
    for (name, pem) in [(CA, &ca), (CERTIFICATE, &certificate)] {
        if CertificateDer::from_pem_slice(pem).is_err() {
            return Err(invalid(format!("{origin}: {name} must be a certificate, PEM")));
        }
    }
    if PrivateKeyDer::from_pem_slice(&key).is_err() {
        return Err(invalid(format!(
            "{origin}: {KEY} must be a private key without a passphrase, PEM"
        )));
    }
    Ok(TlsCredentials {
        origin,
        ca,
        certificate,
        key,
    })
}

fn missing(message: String) -> Error {
    Error::Terminal {
        reason: "CredentialsMissing",
        message,
    }
}

fn invalid(message: String) -> Error {
    Error::Terminal {
        reason: "CredentialsInvalid",
        message,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn secret(parts: &[(&str, &str)]) -> Secret {
        let entry = |(key, text): &(&str, &str)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()));
        Secret {
            metadata: ObjectMeta {
                namespace: Some("safetytwin".into()),
                name: Some("hv1".into()),
                ..ObjectMeta::default()
            },
            data: Some(parts.iter().map(entry).collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_whole_secret_is_read_and_never_printed() {
        let (certificate, key) = pair();
        let parts = [(CA, &*certificate), (CERTIFICATE, &certificate), (KEY, &key)];
        let read = from_secret(&secret(&parts)).unwrap();
        assert_eq!(read.key, key.as_bytes());
        let printed = format!("{read:?}");
        assert!(
            printed.contains("Secret safetytwin/hv1") && !printed.contains("PRIVATE"),
            "{printed}"
        );
    }

    #[test]
    fn what_is_missing_or_wrong_in_a_secret_is_named() {
        let (certificate, key) = pair();
        let (certificate, key) = (certificate.as_str(), key.as_str());
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for (parts, reason, named) in [
            (vec![], "CredentialsMissing", "ca.crt"),
            (
                vec![(CA, certificate), (CERTIFICATE, certificate)],
                "CredentialsMissing",
                "tls.key",
            ),
            (
                vec![(CA, certificate), (CERTIFICATE, ""), (KEY, key)],
                "CredentialsMissing",
                "tls.crt",
            ),
            (
                vec![(CA, "x"), (CERTIFICATE, certificate), (KEY, key)],
                "CredentialsInvalid",
                "ca.crt",
            ),
            (
                vec![(CA, certificate), (CERTIFICATE, key), (KEY, key)],
                "CredentialsInvalid",
                "tls.crt",
            ),
            (
                vec![
                    (CA, certificate),
                    (CERTIFICATE, certificate),
                    (KEY, locked.as_str()),
                ],
                "CredentialsInvalid",
                "tls.key",
            ),
        ] {
            let error = from_secret(&secret(&parts)).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.reason(), reason, "{message}");
            assert!(
                message.starts_with("Secret safetytwin/hv1") && message.contains(named),
                "{message}"
            );
        }
    }
}
