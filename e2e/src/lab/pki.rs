//! Keys and certificates of one run: an authority of its own, and what each part of the cluster needs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// The lab's certificate authority and the directory it writes to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// Who a certificate is for.
pub struct Subject<'a> {
    /// Name of the files.
    pub file: &'a str,
    /// Common name: the user.
    pub user: &'a str,
    /// Organisation: the group.
    pub group: Option<&'a str>,
    /// Addresses and names; with them it is a server's certificate also.
    pub names: &'a [&'a str],
}

impl Authority {
    /// Makes an authority; `ca.crt` appears in `directory`, its key stays in memory except for `ca.key`, with
    /// which the controller manager signs.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "safetytwin-lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        write_private(&directory.join("ca.key"), &key.serialize_pem())?;
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        std::fs::write(directory.join("ca.crt"), issuer.pem())?;
        Ok(Self {
            issuer,
            directory: directory.to_owned(),
        })
    }

    /// Writes `FILE.crt` and `FILE.key`.
    ///
    /// # Errors
    /// A name is malformed or a file cannot be written.
    pub fn issue(&self, subject: &Subject<'_>) -> Result<()> {
        let names: Vec<String> = subject.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, subject.user);
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.names.is_empty() {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        std::fs::write(self.path(subject.file, "crt"), certificate.pem())?;
        write_private(&self.path(subject.file, "key"), &key.serialize_pem())
    }

    /// Writes the key pair that signs service account tokens: `FILE.key` and `FILE.pub`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn key_pair(&self, file: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        std::fs::write(self.path(file, "pub"), key.public_key_pem())?;
        write_private(&self.path(file, "key"), &key.serialize_pem())
    }

    /// A kubeconfig that holds the certificate of `file`.
    ///
    /// # Errors
    /// The certificate was not issued.
    pub fn kubeconfig(&self, server: &str, file: &str) -> Result<String> {
        let user = json!({
            "client-certificate-data": encode(&self.path(file, "crt"))?,
            "client-key-data": encode(&self.path(file, "key"))?,
        });
        kubeconfig(server, &self.directory.join("ca.crt"), user)
    }

    fn path(&self, file: &str, extension: &str) -> PathBuf {
        self.directory.join(format!("{file}.{extension}"))
    }
}

/// A kubeconfig for one user; JSON, which is YAML also.
///
/// # Errors
/// `authority` cannot be read.
pub fn kubeconfig(server: &str, authority: &Path, user: Value) -> Result<String> {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "clusters": [{"name": "lab", "cluster": {
            "server": server,
            "certificate-authority-data": encode(authority)?,
        }}],
        "users": [{"name": "lab", "user": user}],
    });
    Ok(format!("{text:#}\n"))
}

fn encode(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(STANDARD.encode(bytes))
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}
