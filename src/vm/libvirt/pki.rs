//! The client certificate as files, because libvirt's client takes nothing else: `pkipath=DIR` in
//! the URI (libvirt.org/uri.html), read while it connects.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;

use super::super::TlsCredentials;

/// What libvirt calls each file, and what the Secret calls its content.
const CA: (&str, &str) = ("cacert.pem", "ca.crt");
const CERTIFICATE: (&str, &str) = ("clientcert.pem", "tls.crt");
const KEY: (&str, &str) = ("clientkey.pem", "tls.key");

/// Files of one client certificate, removed on drop.
pub(super) struct Files {
    folder: TempDir,
}

impl Files {
    /// Writes them for this user only, below the temporary folder of this process.
    pub(super) fn write(credentials: &TlsCredentials) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("twin-pki-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        for ((name, _), content) in [
            (CA, &credentials.ca),
            (CERTIFICATE, &credentials.certificate),
            (KEY, &credentials.key),
        ] {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            options.open(folder.path().join(name))?.write_all(content)?;
        }
        Ok(Self { folder })
    }

    /// `uri` with the parameter that names the folder.
    pub(super) fn uri(&self, uri: &str) -> String {
        let separator = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{separator}pkipath={}", encoded(self.folder.path()))
    }

    /// libvirt's `message` with the Secret's keys in place of these files: a user knows only those.
    pub(super) fn named(&self, message: &str, origin: &str) -> String {
        let mut message = message.to_owned();
        for (file, key) in [CA, CERTIFICATE, KEY] {
            let path = self.folder.path().join(file).display().to_string();
            message = message.replace(&path, &format!("{key} of {origin}"));
        }
        message
    }
}

/// A path as part of a URI's query: the temporary folder may have any name.
fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files() -> Files {
        Files::write(&TlsCredentials {
            origin: "Secret safetytwin/hv1".into(),
            ca: b"authority".to_vec(),
            certificate: b"certificate".to_vec(),
            key: b"key".to_vec(),
        })
        .unwrap()
    }

    #[test]
    fn the_key_is_for_this_user_only_and_goes_with_its_connection_attempt() {
        let files = files();
        let folder = files.folder.path().to_owned();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&folder), 0o700);
        for (name, content) in [
            ("cacert.pem", "authority"),
            ("clientcert.pem", "certificate"),
            ("clientkey.pem", "key"),
        ] {
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), content);
        }
        drop(files);
        assert!(!folder.exists());
    }

    #[test]
    fn two_attempts_at_once_have_their_own_files() {
        assert_ne!(files().folder.path(), files().folder.path());
    }

    #[test]
    fn a_folder_of_any_name_is_one_parameter() {
        assert_eq!(encoded(Path::new("/tmp/a b&c=%é")), "/tmp/a%20b%26c%3D%25%C3%A9");
        let files = files();
        let folder = files.folder.path().display();
        assert_eq!(
            files.uri("qemu+tls://hv1/system"),
            format!("qemu+tls://hv1/system?pkipath={folder}")
        );
    }

    #[test]
    fn a_message_names_the_secret_and_no_path_of_this_machine() {
        let files = files();
        let said = format!("Cannot read '{}/clientkey.pem'", files.folder.path().display());
        assert_eq!(
            files.named(&said, "Secret safetytwin/hv1"),
            "Cannot read 'tls.key of Secret safetytwin/hv1'"
        );
    }
}
