//! Keys of a twin: its SSH key and its guest's host key, made before the VM and kept in a Secret of
//! the controller's namespace, named by the twin's UID. Nothing else holds the private halves; the
//! VM's seed carries the host key, because the guest must show it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use safetytwin_crds::names::{TWIN_LABEL, TWIN_UID_LABEL};

use super::api;
use super::error::Error;

/// Key of the Secret: the login key, OpenSSH private key format.
pub const LOGIN_KEY: &str = "id_ed25519";
/// Key of the Secret: public half of the login key.
pub const LOGIN_KEY_PUBLIC: &str = "id_ed25519.pub";
/// Key of the Secret: the guest's host key, OpenSSH private key format.
pub const HOST_KEY: &str = "ssh_host_key";
/// Key of the Secret: public half of the guest's host key.
pub const HOST_KEY_PUBLIC: &str = "ssh_host_key.pub";

/// What the public key may do in the guest; enough for `twin ssh` and `twin forward`.
const RESTRICTIONS: &str = "restrict,pty,port-forwarding";

/// Keys of one twin. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TwinKeys {
    /// Login key, OpenSSH private key format.
    pub login: String,
    /// Public half of the login key.
    pub login_public: String,
    /// Host key of the guest, OpenSSH private key format; absent for adopted domains.
    pub host: Option<String>,
    /// Public half of the guest's host key: what is pinned.
    pub host_public: String,
}

impl std::fmt::Debug for TwinKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwinKeys")
            .field("host_public", &self.host_public)
            .finish_non_exhaustive()
    }
}

impl TwinKeys {
    /// New random keys. `comment` names the twin in the public halves.
    pub fn generate(comment: &str) -> Result<Self, Error> {
        let (login, login_public) = pair(comment)?;
        let (host, host_public) = pair(comment)?;
        Ok(Self {
            login,
            login_public,
            host: Some(host),
            host_public,
        })
    }

    /// The line of `authorized_keys`.
    pub fn authorized_key(&self) -> String {
        format!("{RESTRICTIONS} {}", self.login_public)
    }

    fn from_secret(secret: &Secret) -> Option<Self> {
        let text = |key: &str| {
            let bytes = &secret.data.as_ref()?.get(key)?.0;
            String::from_utf8(bytes.clone()).ok()
        };
        Some(Self {
            login: text(LOGIN_KEY)?,
            login_public: text(LOGIN_KEY_PUBLIC).unwrap_or_default(),
            host: text(HOST_KEY),
            host_public: text(HOST_KEY_PUBLIC)?.trim().to_owned(),
        })
    }

    fn to_data(&self) -> BTreeMap<String, ByteString> {
        let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
        let mut data = BTreeMap::from([
            entry(LOGIN_KEY, &self.login),
            entry(LOGIN_KEY_PUBLIC, &self.login_public),
            entry(HOST_KEY_PUBLIC, &self.host_public),
        ]);
        data.extend(self.host.as_deref().map(|host| entry(HOST_KEY, host)));
        data
    }
}

fn pair(comment: &str) -> Result<(String, String), Error> {
    let failed = |what: &'static str| Error::NotYet {
        reason: "KeyFailed",
        message: format!("failed to {what} an ed25519 key"),
    };
    let seed: [u8; 32] = rand::random();
    let keypair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(keypair, comment).map_err(|_| failed("make"))?;
    let private = key.to_openssh(LineEnding::LF).map_err(|_| failed("write"))?;
    let public = key.public_key().to_openssh().map_err(|_| failed("write"))?;
    Ok((private.to_string(), public))
}

/// Name of the Secret of a twin.
pub fn secret_name(twin_uid: &str) -> String {
    format!("twin-{twin_uid}")
}

/// The keys of a twin, made and stored when there are none.
pub async fn ensure(client: &Client, namespace: &str, twin: &str, uid: &str) -> Result<TwinKeys, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(keys) = read(client, namespace, &secret_name(uid)).await? {
        return Ok(keys);
    }
    let keys = TwinKeys::generate(twin)?;
    let labels = [(TWIN_UID_LABEL, uid), (TWIN_LABEL, twin)];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(uid)),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: Some(keys.to_data()),
        immutable: Some(true),
        type_: Some("safetytwin.com/twin-keys".into()),
        ..Secret::default()
    };
    if api::create("store the twin's keys", &secrets, &secret).await? {
        return Ok(keys);
    }
    // Somebody was faster: theirs count.
    read(client, namespace, &secret_name(uid))
        .await?
        .ok_or_else(|| Error::Terminal {
            reason: "KeysInvalid",
            message: format!(
                "Secret {} holds no twin keys: put back what it held; without them nobody can log in to a VM that \
                 exists",
                secret_name(uid)
            ),
        })
}

/// The keys of a twin that goes: nobody logs in any more, so missing ones are made up and not stored.
pub async fn remaining(client: &Client, namespace: &str, twin: &str, uid: &str) -> Result<TwinKeys, Error> {
    match read(client, namespace, &secret_name(uid)).await? {
        Some(keys) => Ok(keys),
        None => TwinKeys::generate(twin),
    }
}

/// The keys in a Secret; `None` when it does not exist.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<TwinKeys>, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let Some(secret) = api::read("read the twin's keys", &secrets, name).await? else {
        return Ok(None);
    };
    match TwinKeys::from_secret(&secret) {
        Some(keys) => Ok(Some(keys)),
        None => Err(Error::Terminal {
            reason: "KeysInvalid",
            message: format!("Secret {name} lacks {LOGIN_KEY} or {HOST_KEY_PUBLIC}"),
        }),
    }
}

/// Removes the keys of a twin; missing is success.
pub async fn remove(client: &Client, namespace: &str, uid: &str) -> Result<(), Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    api::delete("remove the twin's keys", &secrets, &secret_name(uid), None).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_keys_read_back_and_differ_from_each_other() {
        let keys = TwinKeys::generate("web-01").unwrap();
        let login: PrivateKey = keys.login.parse().unwrap();
        assert_eq!(login.public_key().to_openssh().unwrap(), keys.login_public);
        assert_ne!(keys.login_public, keys.host_public);
        let secret = Secret {
            data: Some(keys.to_data()),
            ..Secret::default()
        };
        assert_eq!(TwinKeys::from_secret(&secret), Some(keys));
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let keys = TwinKeys::generate("web-01").unwrap();
        assert!(!format!("{keys:?}").contains("PRIVATE"));
    }
}
