//! What of the selected files looks like a key or credentials: their bytes stay on the host.

use crate::redact::shape;

/// Ends of names.
const ENDS: &[&str] = &[
    ".key",
    ".pem",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".keytab",
    ".gpg",
    ".ppk",
    ".ovpn",
    ".env",
    "_key",
    "-key",
    ".htpasswd",
    ".pgpass",
    ".netrc",
    ".creds",
    ".secret",
    ".token",
    ".jwt",
    ".vault",
];
/// Whole names.
const NAMES: &[&str] = &[
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "kubeconfig",
    "krb5.keytab",
    "wpa_supplicant.conf",
    "htpasswd",
    "netrc",
    "pgpass",
    "passwd.client",
    "sasl_passwd",
    "cookie",
    ".erlang.cookie",
    "ipsec.secrets",
    "chap-secrets",
    "pap-secrets",
    "my.cnf.d/client.cnf",
    "machine-key",
];
/// Parts of paths.
const DIRECTORIES: &[&str] = &[
    "/private/",
    "/.ssh/",
    "/.gnupg/",
    "/.aws/",
    "/.kube/",
    "/.docker/",
    "/secrets/",
    "/credentials/",
    "/credstore/",
    "/credstore.encrypted/",
    "/wireguard/",
    "/system-connections/",
];

/// Password databases: not even a digest, since a weak password could be guessed from it.
pub fn is_password_database(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let databases = ["shadow", "gshadow", "opasswd", "tcb"];
    // `shadow-`, `shadow.bak`, `shadow~`.
    let stem = name.split(['-', '.', '~', '_']).next().unwrap_or_default();
    databases.contains(&stem) || path.contains("/tcb/")
}

/// Whether a path is that of a key or of credentials.
pub fn is_named_so(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or_default();
    let account = path == "/etc/passwd";
    ENDS.iter().any(|end| name.ends_with(end))
        || NAMES.contains(&name)
        || DIRECTORIES.iter().any(|dir| lower.contains(dir))
        || (!account && shape::secret_name(stem))
        || ["credential", "secret", "password"]
            .iter()
            .any(|word| name.contains(word))
}

/// Whether a text is a key as a whole or holds one: PEM, OpenSSH, PGP, age, WireGuard.
pub fn holds_key(text: &str) -> bool {
    let marks = [
        "PRIVATE KEY",
        "AGE-SECRET-KEY-",
        "PuTTY-User-Key-File",
        "\nPrivateKey",
        "client-key-data:",
    ];
    marks.iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_credentials_are_known_by_their_names_and_configuration_is_not_taken_for_them() {
        for secret in [
            "/etc/ssl/private/site.crt",
            "/etc/ssh/ssh_host_ed25519_key",
            "/root/.ssh/authorized_keys",
            "/etc/app/db_password",
            "/etc/app/client-secret.yaml",
            "/etc/app/tls.KEY",
            "/srv/app/.env",
            "/etc/wireguard/wg0.conf",
            "/etc/ppp/chap-secrets",
            "/etc/apt/auth_token",
        ] {
            assert!(is_named_so(secret), "{secret}");
        }
        for plain in [
            "/etc/passwd",
            "/etc/nginx/nginx.conf",
            "/etc/hosts",
            "/etc/keyboard",
            "/etc/default/console-setup",
        ] {
            assert!(!is_named_so(plain), "{plain}");
        }
        for never in [
            "/etc/shadow",
            "/etc/gshadow-",
            "/var/backups/shadow.bak",
            "/etc/security/opasswd",
        ] {
            assert!(is_password_database(never), "{never}");
        }
        assert!(!is_password_database("/etc/passwd"));
    }
}
